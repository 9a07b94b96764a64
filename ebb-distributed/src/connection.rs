//! One connection as a state machine: bytes and time go in, bytes and [`Event`]s come out. It does no I/O and reads no clock,
//! so that the same code runs over a socket, in the simulation and under a fuzzer.
//!
//! What must hold:
//! - A call is sent at most once, and has exactly one outcome: an [`Event::Answered`], unless its caller cancelled it.
//! - Ids rise and are never used again, so an answer can only be that of its call. A peer that answers what is not in flight
//!   is not believed any more: the connection ends.
//! - The caller never has more calls, or bytes of calls, in flight than the callee granted; what the caller lets wait is
//!   bounded too. A callee that is sent more ends the connection. A call stays in flight until it is answered, also after its
//!   caller has given up, so that credits never count less than what the callee has to do.
//! - Silence for longer than [`Limits::death_ns`] ends the connection. A side that only hears says something now and then, so that
//!   one with much to say over a slow link is not left in doubt.

mod frames;

use alloc::{
    collections::{BTreeSet, VecDeque},
    vec::Vec,
};
use core::mem;

use bytes::{Buf, Bytes, BytesMut};

pub use crate::events::{Closed, Event, Held, ItemError, Limits, Request};
use crate::events::{Flight, Running};
use crate::{
    channel::{PLAIN, Plain},
    failure::{Failure, NotSent},
    frame::{
        COPIED, Call, Frame, Hello, MOST_BLOBS, OLDEST_VERSION, Payload, STREAM_DOWN, STREAM_UP,
        Status, VERSION,
    },
    ids::Ids,
};

/// Bytes of a frame above which room for it is made as soon as its length is known.
const GROWS: usize = 16 << 10;

/// Makes anew what is empty, without the memory that it keeps.
pub(crate) fn give_back<T: Default>(of: &mut T, is_empty: impl FnOnce(&T) -> bool) {
    if is_empty(of) {
        *of = T::default();
    }
}

/// Takes plaintext into a connection's input.
struct Receiving<'a>(&'a mut Connection, u64);

impl Plain for Receiving<'_> {
    fn take(&mut self, sealed: &[u8], open: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<()> {
        let Self(connection, now_ns) = self;
        let start = connection.input.len();
        if start == 0 && sealed.len() > PLAIN {
            // A full record: its frame goes on in the next one.
            connection.input.reserve(sealed.len() + SHORT + GROWS);
        }
        connection.input.extend_from_slice(sealed);
        let opened = open(&mut connection.input[start..]).filter(|_| !connection.closed);
        connection.input.truncate(start + opened.unwrap_or(0));
        opened.map(|_| connection.received(*now_ns))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    peer: Option<Hello>,
    closed: bool,
    // Calling.
    next_id: u64,
    waiting: VecDeque<(u64, Request)>,
    waiting_bytes: usize,
    flights: Ids<Flight>,
    flight_bytes: usize,
    // Being called.
    last_call: u64,
    running: Ids<Running>,
    running_bytes: usize,
    /// Of own calls (`false`) and of the peer's (`true`).
    deadlines: BTreeSet<(u64, bool, u64)>,
    // Bytes.
    input: BytesMut,
    /// Small frames behind `output`.
    tail: Vec<u8>,
    output: VecDeque<Bytes>,
    output_bytes: usize,
    pong: Option<u64>,
    // Time.
    now_ns: u64,
    heard_ns: u64,
    said_ns: u64,
    pinged_ns: Option<u64>,
    events: VecDeque<Event>,
}

impl Connection {
    /// A connection whose transport is up. The greeting is its first output.
    #[must_use]
    pub fn new(limits: Limits, node: u64, incarnation: u64, now_ns: u64) -> Self {
        let mut connection = Self {
            limits,
            peer: None,
            closed: false,
            next_id: 1,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            flights: Ids::default(),
            flight_bytes: 0,
            last_call: 0,
            running: Ids::default(),
            running_bytes: 0,
            deadlines: BTreeSet::new(),
            input: BytesMut::new(),
            tail: Vec::new(),
            output: VecDeque::new(),
            output_bytes: 0,
            pong: None,
            now_ns,
            heard_ns: now_ns,
            said_ns: now_ns,
            pinged_ns: None,
            events: VecDeque::new(),
        };
        connection.push(Frame::Hello(Hello {
            oldest: OLDEST_VERSION,
            newest: VERSION,
            node,
            incarnation,
            calls: limits.calls,
            call_bytes: limits.call_bytes,
            frame_bytes: limits.frame_bytes,
        }));
        connection
    }

    // --- Calling -------------------------------------------------------------------------------------

    /// Calls a method of the peer; the outcome comes as an event, with the number that this returns. It is sent when the
    /// peer's credits allow.
    ///
    /// # Errors
    /// [`NotSent`], as the only outcome.
    pub fn call(&mut self, now_ns: u64, request: Request) -> Result<u64, NotSent> {
        self.now_ns = self.now_ns.max(now_ns);
        if self.closed {
            return Err(NotSent::Unreachable);
        }
        let length = request.payload.len();
        let most = self
            .peer
            .map_or(u32::MAX, |p| p.frame_bytes.min(p.call_bytes)) as usize;
        if request.payload.blobs.len() > MOST_BLOBS || length.saturating_add(FRAME_OVERHEAD) > most
        {
            return Err(NotSent::TooLarge);
        }
        if request.deadline_ns.is_some_and(|d| d <= self.now_ns) {
            return Err(NotSent::Deadline);
        }
        if self.waiting.len() >= self.limits.waiting
            || !self.waiting.is_empty() && self.waiting_bytes + length > self.limits.waiting_bytes
        {
            return Err(NotSent::Overload);
        }
        let id = self.next_id;
        self.next_id += 1;
        if let Some(deadline) = request.deadline_ns {
            self.deadlines.insert((deadline, false, id));
        }
        let has_credit = self.peer.is_some_and(|peer| {
            self.flights.len() < peer.calls as usize
                && self.flight_bytes + length <= peer.call_bytes as usize
        });
        if has_credit && self.waiting.is_empty() && self.output_bytes < self.limits.output_bytes {
            self.transmit(id, request, length);
        } else {
            self.waiting_bytes += length;
            self.waiting.push_back((id, request));
            self.send_waiting();
        }
        Ok(id)
    }

    /// Nobody waits for the outcome any more: there will be no event. The peer is told to stop.
    pub fn cancel(&mut self, id: u64) {
        if let Some(place) = self.waiting.iter().position(|(waiting, _)| *waiting == id) {
            let (_, request) = self.waiting.remove(place).expect("it was found there");
            self.forget_waiting(id, &request);
        } else if let Some(flight) = self.flights.get_mut(id)
            && !flight.forgotten
        {
            flight.forgotten = true;
            if let Some(deadline) = flight.deadline_ns {
                self.deadlines.remove(&(deadline, false, id));
            }
            self.push(Frame::Cancel(id));
        }
    }

    /// Sends an item of an own call with [`STREAM_UP`].
    ///
    /// # Errors
    /// [`ItemError`].
    pub fn send_up(&mut self, id: u64, payload: Payload) -> Result<(), ItemError> {
        self.fits(&payload)?;
        match self.flights.get_mut(id) {
            Some(flight) if !flight.up || flight.forgotten => return Err(ItemError::Over),
            Some(flight) if flight.up_credit == 0 => return Err(ItemError::Full),
            Some(flight) => flight.up_credit -= 1,
            None if self.waiting.iter().any(|(waiting, _)| *waiting == id) => {
                return Err(ItemError::Full);
            }
            None => return Err(ItemError::Over),
        }
        self.push(Frame::Up(id, payload));
        Ok(())
    }

    /// Ends the items of an own call.
    ///
    /// # Errors
    /// [`ItemError::Full`]: the call has not been sent; wait for `UpWritable`. [`ItemError::Over`]: it needs no end any more.
    pub fn end_up(&mut self, id: u64) -> Result<(), ItemError> {
        match self.flights.get_mut(id) {
            Some(flight) if !flight.up || flight.forgotten => return Err(ItemError::Over),
            Some(flight) => flight.up = false,
            None if self.waiting.iter().any(|(waiting, _)| *waiting == id) => {
                return Err(ItemError::Full);
            }
            None => return Err(ItemError::Over),
        }
        self.push(Frame::UpEnd(id));
        Ok(())
    }

    /// Items of a stream that may be on the way.
    #[must_use]
    pub fn stream_items(&self) -> u32 {
        self.limits.stream_items
    }

    /// `items` of an own call's answer have been taken: the peer may send as many more.
    pub fn grant_down(&mut self, id: u64, items: u32) {
        if let Some(flight) = self.flights.get_mut(id)
            && !flight.forgotten
        {
            flight.down = flight.down.saturating_add(items);
            self.push(Frame::DownCredit(id, items));
        }
    }

    // --- Being called --------------------------------------------------------------------------------

    /// Answers a call of the peer. Does nothing when it was cancelled, or its deadline has passed.
    pub fn answer(&mut self, id: u64, result: Result<Payload, Status>) {
        let (status, payload) = match result {
            Ok(payload) if self.fits(&payload).is_ok() => (Status::Ok, payload),
            // The peer would have to end the connection.
            Ok(_) => (Status::NoAnswer, Payload::default()),
            Err(status) => (status, Payload::default()),
        };
        if self.finish(id).is_some() {
            self.push(Frame::Answer(id, status, payload));
        }
    }

    /// Sends an item of the answer to a call of the peer with [`STREAM_DOWN`].
    ///
    /// # Errors
    /// [`ItemError`].
    pub fn send_down(&mut self, id: u64, payload: Payload) -> Result<(), ItemError> {
        self.fits(&payload)?;
        let running = self
            .running
            .get_mut(id)
            .filter(|r| r.down)
            .ok_or(ItemError::Over)?;
        if running.down_credit == 0 {
            return Err(ItemError::Full);
        }
        running.down_credit -= 1;
        self.push(Frame::Down(id, payload));
        Ok(())
    }

    /// `items` of a call of the peer have been taken: it may send as many more.
    pub fn grant_up(&mut self, id: u64, items: u32) {
        if let Some(running) = self.running.get_mut(id)
            && running.up
        {
            running.up_credit = running.up_credit.saturating_add(items);
            self.push(Frame::UpCredit(id, items));
        }
    }

    // --- Bytes, time, events -------------------------------------------------------------------------

    /// Takes bytes of the transport.
    pub fn receive(&mut self, now_ns: u64, bytes: &[u8]) {
        if self.closed {
            return;
        }
        self.input.extend_from_slice(bytes);
        self.received(now_ns);
    }

    /// What the channel below decrypts, at this time.
    pub fn receiving(&mut self, now_ns: u64) -> impl Plain {
        Receiving(self, now_ns)
    }

    fn received(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        self.heard_ns = self.now_ns;
        self.pinged_ns = None;
        // What a frame does ends the connection at most, and does not look at its input.
        let mut input = mem::take(&mut self.input);
        // What lies before has been read.
        let mut at = 0;
        while !self.closed {
            let Some(length) = input[at..].first_chunk::<4>() else {
                break;
            };
            let length = u32::from_le_bytes(*length);
            // Before the greeting nothing is longer than a greeting.
            let most = if self.peer.is_some() {
                self.limits.frame_bytes
            } else {
                LONGEST_HELLO
            };
            if length > most {
                self.close(Closed::Protocol);
                break;
            }
            let whole = 4 + length as usize;
            if input.len() - at < whole {
                if whole > GROWS {
                    // At once, instead of moving it as it grows; its last record may begin the next frame.
                    input.advance(mem::take(&mut at));
                    input.reserve(whole - input.len() + GROWS);
                }
                break;
            }
            let frame = if whole <= COPIED {
                let frame = Frame::decode_copied(&input[at..][4..whole]);
                at += whole;
                frame
            } else {
                input.advance(mem::take(&mut at));
                Frame::decode(input.split_to(whole).freeze().slice(4..))
            };
            let taken = frame.map_err(|_| Closed::Protocol);
            if let Err(why) = taken.and_then(|frame| self.take(frame)) {
                self.close(why);
            }
        }
        if at == input.len() {
            input.clear();
        } else {
            input.advance(at);
        }
        // It would keep the memory of a frame that is elsewhere.
        let is_large = input.is_empty() && input.capacity() > GROWS / 4;
        if !self.closed && !is_large {
            self.input = input;
        }
        self.send_waiting();
    }

    /// Tells the time: deadlines, heartbeats, death. To be called no later than [`next_ns`](Self::next_ns) says.
    pub fn tick(&mut self, now_ns: u64) {
        if self.closed {
            return;
        }
        self.now_ns = self.now_ns.max(now_ns);
        if self
            .death_due_ns()
            .is_some_and(|due_ns| due_ns <= self.now_ns)
        {
            self.close(Closed::Silence);
            return;
        }
        if self.pinged_ns.is_none() && self.ping_due_ns() <= self.now_ns {
            self.pinged_ns = Some(self.now_ns);
            self.push(Frame::Ping(self.now_ns));
        }
        if self.nod_ns().is_some_and(|due_ns| due_ns <= self.now_ns) {
            self.push(Frame::Pong(self.now_ns));
        }
        while let Some(&(deadline_ns, theirs, id)) = self.deadlines.first() {
            if deadline_ns > self.now_ns {
                break;
            }
            self.deadlines.pop_first();
            if theirs {
                self.stop(id, Status::Late);
            } else {
                self.expire(id);
            }
        }
    }

    /// When the peer, which has been sending ever since this side said anything, is to hear something: its ping would wait behind all that.
    fn nod_ns(&self) -> Option<u64> {
        let due_ns = self.said_ns.saturating_add(self.limits.heartbeat_ns);
        // One that has fallen silent is asked soon, which tells it the same.
        let is_sending = self.heard_ns.saturating_add(self.limits.heartbeat_ns / 2) > due_ns;
        is_sending.then_some(due_ns)
    }

    /// When a peer that has said nothing is asked.
    fn ping_due_ns(&self) -> u64 {
        let limits = &self.limits;
        self.heard_ns
            .saturating_add(limits.heartbeat_ns.min(limits.death_ns))
    }

    /// When one that was asked is taken for dead. It has its time from the question on: this side may not have run for longer than that
    /// itself, and what arrived meanwhile is still to be read.
    fn death_due_ns(&self) -> Option<u64> {
        let limits = &self.limits;
        let patience_ns = limits.death_ns.saturating_sub(limits.heartbeat_ns);
        let asked_ns = self.pinged_ns?;
        Some(
            self.heard_ns
                .saturating_add(limits.death_ns)
                .max(asked_ns.saturating_add(patience_ns)),
        )
    }

    /// When [`tick`](Self::tick) has something to do next.
    #[must_use]
    pub fn next_ns(&self) -> u64 {
        if self.closed {
            return u64::MAX;
        }
        let silence_ns = self.death_due_ns().unwrap_or_else(|| self.ping_due_ns());
        let deadline_ns = self.deadlines.first().map_or(u64::MAX, |d| d.0);
        let nod_ns = self.nod_ns().unwrap_or(u64::MAX);
        deadline_ns.min(nod_ns).min(silence_ns)
    }

    /// Gives back the memory of what is empty: an empty map keeps the node of its last entry, with room for eleven.
    pub fn rest(&mut self) {
        give_back(&mut self.flights, Ids::is_empty);
        give_back(&mut self.running, Ids::is_empty);
        give_back(&mut self.deadlines, BTreeSet::is_empty);
        give_back(&mut self.waiting, VecDeque::is_empty);
        give_back(&mut self.output, VecDeque::is_empty);
        give_back(&mut self.events, VecDeque::is_empty);
        give_back(&mut self.input, |input| input.is_empty());
        give_back(&mut self.tail, |tail| tail.is_empty());
    }

    /// The next bytes for the transport. What this has returned counts as sent.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        if let Some(number) = self.pong.take() {
            self.push(Frame::Pong(number));
        }
        if self.output.is_empty() && !self.tail.is_empty() {
            self.output.push_back(mem::take(&mut self.tail).into());
        }
        let bytes = self.output.pop_front()?;
        self.output_bytes -= bytes.len();
        self.send_waiting();
        Some(bytes)
    }

    /// As [`poll_output`](Self::poll_output), for what is small: the bytes are lent, and their memory is used again. False when there is
    /// nothing, or something large comes first.
    pub fn lend_output(&mut self, take: impl FnOnce(&[u8])) -> bool {
        if let Some(number) = self.pong.take() {
            self.push(Frame::Pong(number));
        }
        if !self.output.is_empty() || self.tail.is_empty() {
            return false;
        }
        take(&self.tail);
        self.output_bytes -= self.tail.len();
        self.tail.clear();
        self.send_waiting();
        true
    }

    /// Whether there is something for the transport.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.pong.is_some() || !self.output.is_empty() || !self.tail.is_empty()
    }

    /// Whether it goes on, and no event waits.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.closed && self.events.is_empty()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Ends the connection: each call that is not answered has its outcome now.
    pub fn close(&mut self, why: Closed) {
        if mem::replace(&mut self.closed, true) {
            return;
        }
        let unsent = match why {
            Closed::Version => Failure::Version,
            _ => Failure::NotSent(NotSent::Unreachable),
        };
        for (id, flight) in mem::take(&mut self.flights) {
            if !flight.forgotten {
                self.events.push_back(Event::Answered {
                    id,
                    result: Err(Failure::NoAnswer),
                });
            }
        }
        for (id, _) in mem::take(&mut self.waiting) {
            self.events.push_back(Event::Answered {
                id,
                result: Err(unsent),
            });
        }
        for (id, _) in mem::take(&mut self.running) {
            self.events.push_back(Event::Cancelled(id));
        }
        self.deadlines.clear();
        (self.waiting_bytes, self.flight_bytes, self.running_bytes) = (0, 0, 0);
        self.input = BytesMut::new();
        self.events.push_back(Event::Closed(why));
    }

    /// Whether there is one own call in flight and nothing else: a second one would not be sent with it.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.flights.len() == 1 && self.running.is_empty() && self.output.is_empty()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Who the peer is, once it has greeted.
    #[must_use]
    pub fn peer(&self) -> Option<Hello> {
        self.peer
    }

    /// What it holds: calls that wait, in flight, of the peer; bytes of all of them and of both directions' buffers.
    #[must_use]
    pub fn held(&self) -> Held {
        Held {
            waiting: self.waiting.len(),
            in_flight: self.flights.len(),
            running: self.running.len(),
            bytes: self.waiting_bytes + self.running_bytes + self.input.len() + self.output_bytes,
            deadlines: self.deadlines.len(),
        }
    }

    // --- Within --------------------------------------------------------------------------------------

    fn fits(&self, payload: &Payload) -> Result<(), ItemError> {
        let most = self.peer.map_or(u32::MAX, |p| p.frame_bytes) as usize;
        if payload.blobs.len() > MOST_BLOBS || payload.len().saturating_add(FRAME_OVERHEAD) > most {
            return Err(ItemError::TooLarge);
        }
        Ok(())
    }

    fn push(&mut self, frame: Frame) {
        if self.closed {
            return;
        }
        self.said_ns = self.now_ns;
        if self.tail.capacity() == 0 {
            self.tail.reserve(SHORT);
        }
        let before = self.tail.len();
        let (output, bytes) = (&mut self.output, &mut self.output_bytes);
        let mut pushed = 0;
        frame.encode(&mut self.tail, &mut |part| {
            pushed += part.len();
            output.push_back(part);
        });
        // What was in the tail before may be among what was pushed, and had been counted.
        *bytes = *bytes + pushed + self.tail.len() - before;
        if self.tail.len() >= TAIL {
            self.output.push_back(mem::take(&mut self.tail).into());
        }
    }

    /// Sends calls that wait, in their order, as far as credits and the transport allow.
    fn send_waiting(&mut self) {
        let Some(peer) = self.peer else { return };
        while !self.closed
            && self.output_bytes < self.limits.output_bytes
            && self.flights.len() < peer.calls as usize
            && let Some((_, first)) = self.waiting.front()
        {
            let length = first.payload.len();
            let most = peer.call_bytes as usize;
            if self.flight_bytes + length > most && length <= most {
                break;
            }
            let (id, request) = self.waiting.pop_front().expect("there is a first");
            if length.saturating_add(FRAME_OVERHEAD) > most.min(peer.frame_bytes as usize) {
                // It came before the greeting.
                self.forget_waiting(id, &request);
                let result = Err(Failure::NotSent(NotSent::TooLarge));
                self.events.push_back(Event::Answered { id, result });
                continue;
            }
            if request.deadline_ns.is_some_and(|d| d <= self.now_ns) {
                self.forget_waiting(id, &request);
                let result = Err(Failure::NotSent(NotSent::Deadline));
                self.events.push_back(Event::Answered { id, result });
                continue;
            }
            self.waiting_bytes -= length;
            self.transmit(id, request, length);
        }
    }

    /// Sends a call, whose payload has `length` bytes.
    fn transmit(&mut self, id: u64, request: Request, length: usize) {
        self.flight_bytes += length;
        let down = if request.flags & STREAM_DOWN == 0 {
            0
        } else {
            self.limits.stream_items
        };
        let flight = Flight {
            bytes: length,
            deadline_ns: request.deadline_ns,
            forgotten: false,
            up: request.flags & STREAM_UP != 0,
            up_credit: 0,
            down,
        };
        self.flights.insert(id, flight);
        let remaining_us = request
            .deadline_ns
            .map_or(u64::MAX, |d| (d - self.now_ns) / 1000);
        self.push(Frame::Call(Call {
            id,
            ebb: request.ebb,
            method: request.method,
            remaining_us,
            flags: request.flags,
            credit: down,
            payload: request.payload,
        }));
    }

    fn forget_waiting(&mut self, id: u64, request: &Request) {
        self.waiting_bytes -= request.payload.len();
        if let Some(deadline) = request.deadline_ns {
            self.deadlines.remove(&(deadline, false, id));
        }
    }

    /// The deadline of an own call has passed.
    fn expire(&mut self, id: u64) {
        let failure = if let Some(flight) = self.flights.get_mut(id) {
            flight.forgotten = true;
            self.push(Frame::Cancel(id));
            Failure::Late
        } else if let Some(place) = self.waiting.iter().position(|(waiting, _)| *waiting == id) {
            let (_, request) = self.waiting.remove(place).expect("it was found there");
            self.waiting_bytes -= request.payload.len();
            Failure::NotSent(NotSent::Deadline)
        } else {
            return;
        };
        self.events.push_back(Event::Answered {
            id,
            result: Err(failure),
        });
    }

    /// Takes a call of the peer off the books.
    fn finish(&mut self, id: u64) -> Option<()> {
        let running = self.running.remove(id)?;
        self.running_bytes -= running.bytes;
        if let Some(deadline) = running.deadline_ns {
            self.deadlines.remove(&(deadline, true, id));
        }
        Some(())
    }

    /// Stops a call of the peer.
    fn stop(&mut self, id: u64, status: Status) {
        if self.finish(id).is_some() {
            self.events.push_back(Event::Cancelled(id));
            self.push(Frame::Answer(id, status, Payload::default()));
        }
    }
}

/// What a frame has beside its payload, at most.
const FRAME_OVERHEAD: usize = 64;
/// A greeting has at most so many bytes, later versions' included.
const LONGEST_HELLO: u32 = 256;
/// Room for a small frame.
const SHORT: usize = 256;
/// Small frames are gathered until they have so many bytes.
const TAIL: usize = 16 << 10;

/// All output that there is now, for tests and simple transports.
pub fn drain(connection: &mut Connection) -> Vec<Bytes> {
    core::iter::from_fn(|| connection.poll_output()).collect()
}
