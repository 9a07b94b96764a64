//! One connection of a socket device: what it may send, what it has received, how it ends. No I/O.
//!
//! What must hold: what is received and not read is at most [`WINDOW`] bytes, whatever the peer sends; what is sent and not read by
//! the peer is at most the peer's window, whatever it says of it later.

use alloc::collections::VecDeque;

use ebb_net::{Error, Ready, Result, SocketWakers, vsock::Address};

use super::packet::{Header, STREAM, end, op};

/// Bytes that a connection keeps until they are read.
pub const WINDOW: u32 = 64 << 10;
/// The peer is told of room when there is so much more than it knows of.
const NEWS: u32 = WINDOW / 4;
/// How long a peer may take to answer a request.
pub const CONNECT_NS: u64 = 5_000_000_000;
/// How long a peer may take to read what was sent before the end, without reading any of it.
pub const CLOSE_NS: u64 = 60_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The peer has not answered.
    Connecting,
    Open,
    /// This side is gone; the peer has to confirm that it has all.
    Closing,
    /// Nothing is sent or received any more; why, if not as both have agreed.
    Ended(Option<Error>),
}

/// What has to be sent besides data, in this order.
#[derive(Clone, Copy, Debug, Default)]
struct Owed {
    request: bool,
    response: bool,
    credit: bool,
    ask: bool,
    shutdown: bool,
}

pub struct Connection {
    pub local: u32,
    pub peer: Address,
    pub state: State,
    pub wakers: SocketWakers,
    /// It waits for room in the device's queue, not for the peer.
    pub wants_room: bool,
    /// When it has waited for long enough, connecting or closing.
    pub until_ns: u64,
    /// Bytes to be read.
    pub received: VecDeque<u8>,
    /// Bytes that came, that were read, and how many of those the peer knows of.
    arrived: u32,
    consumed: u32,
    told: u32,
    /// Bytes sent, read by the peer, and what it keeps until it reads.
    sent: u32,
    peer_consumed: u32,
    peer_window: u32,
    /// Directions that the peer has ended, as it says it, and this side.
    peer_ended: u32,
    ended: u32,
    owed: Owed,
    /// The peer was asked for room, or has asked.
    has_asked: bool,
    was_asked: bool,
}

impl Connection {
    fn new(local: u32, peer: Address, state: State) -> Self {
        Self {
            local,
            peer,
            state,
            wakers: SocketWakers::default(),
            wants_room: false,
            until_ns: 0,
            received: VecDeque::new(),
            arrived: 0,
            consumed: 0,
            told: 0,
            sent: 0,
            peer_consumed: 0,
            peer_window: 0,
            peer_ended: 0,
            ended: 0,
            owed: Owed::default(),
            has_asked: false,
            was_asked: false,
        }
    }

    /// One that is to be opened.
    pub fn to(peer: Address, local: u32, now_ns: u64) -> Self {
        let mut this = Self::new(local, peer, State::Connecting);
        this.owed.request = true;
        this.until_ns = now_ns + CONNECT_NS;
        this
    }

    /// One that the peer asks for.
    pub fn from(request: &Header) -> Self {
        let mut this = Self::new(request.to.port, request.from, State::Open);
        this.peer_window = request.window;
        this.owed.response = true;
        this
    }

    fn unread(&self) -> u32 {
        self.arrived.wrapping_sub(self.consumed)
    }

    /// Bytes that the peer has room for.
    fn room(&self) -> u32 {
        let under_way = self.sent.wrapping_sub(self.peer_consumed);
        self.peer_window.saturating_sub(under_way)
    }

    /// The next packet that is not data: its kind and flags.
    pub fn next_control(&mut self) -> Option<(u16, u32)> {
        let owed = &mut self.owed;
        let next = [
            (&mut owed.request, op::REQUEST, 0),
            (&mut owed.response, op::RESPONSE, 0),
            (&mut owed.credit, op::CREDIT_UPDATE, 0),
            (&mut owed.ask, op::CREDIT_REQUEST, 0),
            (&mut owed.shutdown, op::SHUTDOWN, self.ended),
        ]
        .into_iter()
        .find(|(is_owed, ..)| **is_owed);
        next.map(|(is_owed, op, flags)| {
            *is_owed = false;
            (op, flags)
        })
    }

    /// Whether something other than data has to be sent.
    pub fn owes(&self) -> bool {
        let owed = &self.owed;
        owed.request || owed.response || owed.credit || owed.ask || owed.shutdown
    }

    /// The header of a packet, which tells the peer of the room that there is.
    pub fn header(&mut self, cid: u32, op: u16, flags: u32, length: u32) -> Header {
        self.told = self.consumed;
        let from = Address {
            cid,
            port: self.local,
        };
        Header {
            from,
            to: self.peer,
            length,
            kind: STREAM,
            op,
            flags,
            window: WINDOW,
            consumed: self.consumed,
        }
    }

    /// A packet of the peer. True when it has to be answered by a reset, after which the connection has ended.
    pub fn hear(&mut self, header: &Header, data: &[u8], now_ns: u64) -> bool {
        if header.op == op::RESET {
            self.state = State::Ended(match self.state {
                State::Connecting => Some(Error::ConnectionRefused),
                _ if self.peer_ended == end::BOTH => None,
                _ => Some(Error::ConnectionReset),
            });
            return false;
        }
        if header.kind != STREAM {
            return self.break_off();
        }
        self.hear_room(header, now_ns);
        match (self.state, header.op) {
            (State::Connecting, op::RESPONSE) => self.state = State::Open,
            (State::Connecting, _) => return self.break_off(),
            (State::Open, op::DATA) => {
                let fits = data.len() as u32 <= WINDOW - self.unread();
                if !fits || self.peer_ended & end::SEND != 0 {
                    return self.break_off();
                }
                self.received.extend(data);
                self.arrived = self.arrived.wrapping_add(data.len() as u32);
            }
            (State::Closing, op::DATA) => {
                self.arrived = self.arrived.wrapping_add(data.len() as u32);
                self.consumed = self.arrived;
            }
            (State::Open | State::Closing, op::SHUTDOWN) => {
                self.peer_ended |= header.flags & end::BOTH;
                return self.has_parted();
            }
            (State::Open | State::Closing, op::CREDIT_REQUEST) => {
                self.was_asked = true;
                self.tell_room();
            }
            // What is not known tells of room all the same.
            _ => {}
        }
        false
    }

    /// Its peer is none: it breaks the protocol. True as in [`hear`](Self::hear).
    pub fn break_off(&mut self) -> bool {
        self.state = State::Ended(Some(Error::Protocol));
        true
    }

    /// What every packet says of the peer's room. What it cannot have read it has not.
    fn hear_room(&mut self, header: &Header, now_ns: u64) {
        let under_way = self.sent.wrapping_sub(self.peer_consumed);
        let read = header.consumed.wrapping_sub(self.peer_consumed);
        if read > under_way {
            return;
        }
        self.peer_window = header.window;
        self.peer_consumed = header.consumed;
        if self.room() > 0 {
            self.has_asked = false;
        }
        if self.state == State::Closing && read > 0 {
            self.until_ns = now_ns + CLOSE_NS;
            // vhost-device-vsock 0.3.0 does not hear of an end before it has passed on all.
            self.owed.shutdown |= read == under_way;
        }
    }

    /// Whether all was said on both sides and read on this one: then a reset is the last word.
    fn has_parted(&mut self) -> bool {
        let is_over = self.peer_ended == end::BOTH && self.unread() == 0;
        if is_over && matches!(self.state, State::Open | State::Closing) {
            self.state = State::Ended(None);
            return true;
        }
        false
    }

    /// Tells the peer of room when it is worth it. One that has asked while there is none hears of it when there is: an answer
    /// that there is none would only be asked for again.
    fn tell_room(&mut self) {
        let is_news = self.consumed.wrapping_sub(self.told) >= NEWS;
        let can_answer = self.was_asked && WINDOW - self.unread() >= NEWS;
        if is_news || can_answer {
            self.was_asked = false;
            self.owed.credit = true;
        }
    }

    /// That so many bytes were read. True as in [`hear`](Self::hear).
    pub fn consume(&mut self, count: usize) -> bool {
        self.consumed = self.consumed.wrapping_add(count as u32);
        if self.state == State::Open {
            self.tell_room();
        }
        self.has_parted()
    }

    /// Whether a reader that finds no bytes is at the end of the stream.
    pub fn at_end(&self) -> Result<()> {
        match self.state {
            State::Ended(Some(error)) => Err(error),
            State::Ended(None) => Ok(()),
            _ if self.peer_ended & end::SEND != 0 => Ok(()),
            _ => Err(Error::WouldBlock),
        }
    }

    /// How many bytes may be sent now.
    pub fn may_send(&mut self) -> Result<usize> {
        match self.state {
            State::Connecting => return Err(Error::WouldBlock),
            State::Ended(error) => return Err(error.unwrap_or(Error::BrokenPipe)),
            State::Open | State::Closing => {}
        }
        if self.ended & end::SEND != 0 || self.peer_ended & end::RECEIVE != 0 {
            return Err(Error::BrokenPipe);
        }
        match self.room() {
            0 => {
                self.owed.ask |= !self.has_asked;
                self.has_asked = true;
                Err(Error::WouldBlock)
            }
            room => Ok(room as usize),
        }
    }

    /// That so many bytes were sent.
    pub fn has_sent(&mut self, count: usize) {
        self.sent = self.sent.wrapping_add(count as u32);
    }

    /// Ends the sending direction.
    pub fn shutdown_write(&mut self) -> Result<()> {
        match self.state {
            State::Connecting | State::Ended(_) => return Err(Error::NotConnected),
            State::Open | State::Closing => {}
        }
        if self.ended & end::SEND == 0 {
            self.ended |= end::SEND;
            self.owed.shutdown = true;
        }
        Ok(())
    }

    /// Its holder is gone. True as in [`hear`](Self::hear).
    pub fn close(&mut self, now_ns: u64) -> bool {
        self.received = VecDeque::new();
        self.consumed = self.arrived;
        match self.state {
            State::Connecting => {
                self.state = State::Ended(None);
                true
            }
            State::Open if self.peer_ended == end::BOTH => self.has_parted(),
            State::Open => {
                self.state = State::Closing;
                self.ended = end::BOTH;
                self.owed.shutdown = true;
                self.until_ns = now_ns + CLOSE_NS;
                false
            }
            State::Closing | State::Ended(_) => false,
        }
    }

    /// Time goes by. True as in [`hear`](Self::hear).
    pub fn tick(&mut self, now_ns: u64) -> bool {
        let is_late = now_ns >= self.until_ns;
        match self.state {
            State::Connecting if is_late => self.state = State::Ended(Some(Error::TimedOut)),
            State::Closing if is_late => self.state = State::Ended(None),
            State::Closing => {
                self.owed.shutdown = true;
                return false;
            }
            _ => return false,
        }
        true
    }

    /// Whether time matters to it.
    pub fn is_timed(&self) -> bool {
        matches!(self.state, State::Connecting | State::Closing)
    }

    pub fn readiness(&self) -> Ready {
        let (failed, over) = match self.state {
            State::Ended(error) => (error.is_some(), true),
            _ => (false, false),
        };
        let read_closed = over || self.peer_ended & end::SEND != 0;
        let is_open = matches!(self.state, State::Open);
        let is_cut = self.ended & end::SEND != 0 || self.peer_ended & end::RECEIVE != 0;
        Ready {
            readable: !self.received.is_empty() || read_closed,
            writable: over || is_open && (is_cut || self.room() > 0 && !self.wants_room),
            read_closed,
            hung_up: over,
            error: failed,
        }
    }
}
