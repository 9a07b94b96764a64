//! The tasks that wait for a socket. Used by the providers of the stack.

use alloc::{boxed::Box, vec::Vec};
use core::task::Waker;

use crate::Interest;

/// Wakers that wait for the same thing. The first costs no allocation; a task is in it once.
#[derive(Debug, Default)]
pub struct WakerSet {
    first: Option<Waker>,
    #[expect(
        clippy::box_collection,
        reason = "seldom there, and each socket has two"
    )]
    more: Option<Box<Vec<Waker>>>,
}

impl WakerSet {
    /// Adds a waker, unless it is there.
    #[inline]
    pub fn add(&mut self, waker: &Waker) {
        match &self.first {
            None => self.first = Some(waker.clone()),
            Some(first) if first.will_wake(waker) => {}
            Some(_) => {
                let more = self.more.get_or_insert_default();
                if !more.iter().any(|w| w.will_wake(waker)) {
                    more.push(waker.clone());
                }
            }
        }
    }

    /// Takes everybody out and wakes them.
    #[inline]
    pub fn wake(&mut self) {
        if let Some(first) = self.first.take() {
            first.wake();
        }
        if let Some(more) = self.more.take() {
            more.into_iter().for_each(Waker::wake);
        }
    }

    /// True when nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_none()
    }
}

/// One of a socket's two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the peer: data, connections to accept, the end of the stream.
    Read,
    /// To the peer: room to send, the connection established.
    Write,
}

/// The tasks that wait for either direction of a socket.
#[derive(Debug, Default)]
pub struct SocketWakers {
    read: WakerSet,
    write: WakerSet,
}

impl SocketWakers {
    /// Adds a waker to the directions of `interest`.
    #[inline]
    pub fn add(&mut self, interest: Interest, waker: &Waker) {
        if interest.read {
            self.read.add(waker);
        }
        if interest.write {
            self.write.add(waker);
        }
    }

    /// Wakes who waits for one direction.
    #[inline]
    pub fn wake(&mut self, direction: Direction) {
        match direction {
            Direction::Read => self.read.wake(),
            Direction::Write => self.write.wake(),
        }
    }

    /// Wakes everybody.
    pub fn wake_all(&mut self) {
        self.read.wake();
        self.write.wake();
    }
}
