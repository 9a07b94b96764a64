//! The sockets of a node: what has come, what may be sent, who waits.

use std::{collections::VecDeque, mem, net::SocketAddr, task::Waker};

use bytes::{Buf, Bytes};
use ebb_net::{Direction, Error, Interest, Ready, Result, SocketId};

use super::WINDOW;
use crate::state::{LinkId, Parcel};

/// Tasks that wait, each with what for.
#[derive(Default)]
pub struct Waiting(Vec<(Interest, Waker)>);

impl Waiting {
    pub fn add(&mut self, interest: Interest, waker: &Waker) {
        let known = self.0.iter_mut().find(|(_, w)| w.will_wake(waker));
        match known {
            Some((known, _)) => {
                known.read |= interest.read;
                known.write |= interest.write;
            }
            None => self.0.push((interest, waker.clone())),
        }
    }

    /// Takes out whom a change in a direction concerns.
    pub fn wake(&mut self, direction: Direction, woken: &mut Vec<Waker>) {
        let concerned = |interest: &Interest| match direction {
            Direction::Read => interest.read,
            Direction::Write => interest.write,
        };
        let (wake, keep) = mem::take(&mut self.0)
            .into_iter()
            .partition(|(interest, _)| concerned(interest));
        let wake: Vec<_> = wake;
        self.0 = keep;
        woken.extend(wake.into_iter().map(|(_, waker)| waker));
    }
}

pub enum Socket {
    Listener(Listener),
    Stream(Stream),
}

pub struct Listener {
    pub at: SocketAddr,
    pub core: usize,
    pub backlog: usize,
    pub queue: VecDeque<(SocketId, SocketAddr)>,
    pub waiting: Waiting,
}

impl Listener {
    /// Whether a connection to this address is its.
    pub fn hears(&self, at: SocketAddr) -> bool {
        let ip = self.at.ip();
        let is_its = ip.is_unspecified() || ip.is_loopback() || ip == at.ip();
        self.at.port() == at.port() && is_its
    }

    /// Whether no other one may be at this address.
    pub fn overlaps(&self, at: SocketAddr) -> bool {
        let (one, other) = (self.at.ip(), at.ip());
        let meet = one.is_unspecified() || other.is_unspecified() || one == other;
        self.at.port() == at.port() && meet
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Connecting,
    Open,
    /// Nothing comes or goes any more.
    Over,
}

pub struct Stream {
    pub link: LinkId,
    pub side: usize,
    pub waiting: Waiting,
    life: Life,
    /// Why it is over, until that has been told.
    error: Option<Error>,
    received: VecDeque<Bytes>,
    received_bytes: usize,
    /// Bytes that have been taken since the peer was told so.
    untold: usize,
    /// Bytes that may be sent.
    room: usize,
    peer_has_ended: bool,
    is_shut: bool,
}

impl Stream {
    pub fn new(link: LinkId, side: usize, is_open: bool) -> Self {
        Self {
            link,
            side,
            waiting: Waiting::default(),
            life: if is_open {
                Life::Open
            } else {
                Life::Connecting
            },
            error: None,
            received: VecDeque::new(),
            received_bytes: 0,
            untold: 0,
            room: WINDOW,
            peer_has_ended: false,
            is_shut: false,
        }
    }

    pub fn is_over(&self) -> bool {
        self.life == Life::Over
    }

    /// Something has come.
    pub fn take(&mut self, parcel: Parcel, woken: &mut Vec<Waker>) {
        match parcel {
            Parcel::Open => {}
            Parcel::Opened => {
                self.life = Life::Open;
                self.waiting.wake(Direction::Write, woken);
            }
            Parcel::Bytes(bytes) => {
                self.received_bytes += bytes.len();
                self.received.push_back(bytes);
                self.waiting.wake(Direction::Read, woken);
            }
            Parcel::Room(bytes) => {
                self.room += bytes;
                self.waiting.wake(Direction::Write, woken);
            }
            Parcel::End => {
                self.peer_has_ended = true;
                self.waiting.wake(Direction::Read, woken);
            }
            Parcel::Reset => {
                let error = match self.life {
                    Life::Connecting => Error::ConnectionRefused,
                    Life::Open | Life::Over => Error::ConnectionReset,
                };
                self.fail(error, woken);
            }
        }
    }

    fn fail(&mut self, error: Error, woken: &mut Vec<Waker>) {
        (self.life, self.error) = (Life::Over, Some(error));
        self.waiting.wake(Direction::Read, woken);
        self.waiting.wake(Direction::Write, woken);
    }

    /// It is over, if it is still being made.
    pub fn fail_to_connect(&mut self, error: Error, woken: &mut Vec<Waker>) -> bool {
        let is_connecting = self.life == Life::Connecting;
        if is_connecting {
            self.fail(error, woken);
        }
        is_connecting
    }

    pub fn connected(&self) -> Result<()> {
        match self.life {
            Life::Connecting => Err(Error::WouldBlock),
            Life::Open => Ok(()),
            Life::Over => Err(self.error.unwrap_or(Error::NotConnected)),
        }
    }

    pub fn received(&mut self) -> Result<Option<Bytes>> {
        if let Some(bytes) = self.received.front() {
            return Ok(Some(bytes.clone()));
        }
        match (self.life, self.error.take()) {
            (Life::Over, Some(error)) => Err(error),
            (Life::Over, None) => Ok(None),
            _ if self.peer_has_ended => Ok(None),
            _ => Err(Error::WouldBlock),
        }
    }

    /// So many bytes have been taken. What the peer is to be told now, once that is so much.
    pub fn consume(&mut self, bytes: usize, enough: usize) -> Option<usize> {
        let front = self.received.front_mut()?;
        let bytes = bytes.min(front.len());
        front.advance(bytes);
        if front.is_empty() {
            self.received.pop_front();
        }
        self.received_bytes -= bytes;
        self.untold += bytes;
        let tells = self.untold >= enough && self.life == Life::Open;
        tells.then(|| mem::take(&mut self.untold))
    }

    /// How many of so many bytes may be sent, which are then on the way.
    pub fn make_room(&mut self, bytes: usize) -> Result<usize> {
        match self.life {
            Life::Connecting => return Err(Error::WouldBlock),
            Life::Over => return Err(self.error.take().unwrap_or(Error::BrokenPipe)),
            Life::Open if self.is_shut => return Err(Error::BrokenPipe),
            Life::Open => {}
        }
        let count = bytes.min(self.room);
        if count == 0 {
            return Err(Error::WouldBlock);
        }
        self.room -= count;
        Ok(count)
    }

    /// Ends the sending direction; whether it had not ended.
    pub fn shut(&mut self) -> Result<bool> {
        match self.life {
            Life::Open => Ok(!mem::replace(&mut self.is_shut, true)),
            Life::Connecting | Life::Over => Err(Error::NotConnected),
        }
    }

    /// What the peer is told when the socket is closed. Bytes that nobody has taken are a reason to reset.
    pub fn farewell(&self, resets: bool) -> Option<Parcel> {
        match self.life {
            Life::Over => None,
            Life::Connecting => Some(Parcel::Reset),
            Life::Open if resets || self.received_bytes > 0 => Some(Parcel::Reset),
            Life::Open => (!self.is_shut).then_some(Parcel::End),
        }
    }

    pub fn readiness(&self) -> Ready {
        let is_over = self.is_over();
        let is_open = self.life == Life::Open;
        Ready {
            readable: !self.received.is_empty() || self.peer_has_ended || is_over,
            writable: is_over || is_open && (self.room > 0 || self.is_shut),
            read_closed: self.peer_has_ended || is_over,
            hung_up: is_over || self.peer_has_ended && self.is_shut,
            error: self.error.is_some(),
        }
    }

    pub fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    pub fn queued(&self) -> (usize, usize) {
        (WINDOW.saturating_sub(self.room), self.received_bytes)
    }
}
