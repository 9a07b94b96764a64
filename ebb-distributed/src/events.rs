//! What a connection is told and what it tells: limits, requests, events, why it ended.

use crate::{failure::Failure, frame::Payload};

/// What a connection may cost. The first three are told to the peer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls of the peer that are worked on at a time.
    pub calls: u32,
    /// Bytes of payload that these have together.
    pub call_bytes: u32,
    /// Bytes of a frame.
    pub frame_bytes: u32,
    /// Own calls that wait for the peer's credits.
    pub waiting: usize,
    /// Bytes of payload that these have together.
    pub waiting_bytes: usize,
    /// Items of a stream that are on the way or not yet taken.
    pub stream_items: u32,
    /// Bytes that wait for the transport before calls wait instead.
    pub output_bytes: usize,
    /// A ping after so much silence.
    pub heartbeat_ns: u64,
    /// The end after so much silence, of which the other side has the part after the ping to answer it.
    pub death_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 1024,
            call_bytes: 32 << 20,
            frame_bytes: 16 << 20,
            waiting: 4096,
            waiting_bytes: 32 << 20,
            stream_items: 32,
            output_bytes: 256 << 10,
            heartbeat_ns: 500_000_000,
            death_ns: 2_000_000_000,
        }
    }
}

/// What somebody wants to be called.
#[derive(Clone, Debug)]
pub struct Request {
    /// Hash of the Ebb's name.
    pub ebb: u64,
    /// Hash of the method's name and signature.
    pub method: u64,
    /// [`ONEWAY`](crate::frame::ONEWAY), [`STREAM_UP`](crate::frame::STREAM_UP), [`STREAM_DOWN`](crate::frame::STREAM_DOWN).
    pub flags: u8,
    /// When it is too late, on the clock that the connection is given.
    pub deadline_ns: Option<u64>,
    /// The arguments.
    pub payload: Payload,
}

/// What a connection tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer has greeted.
    Ready {
        /// Which node it is.
        node: u64,
        /// Which of its lives.
        incarnation: u64,
    },
    /// The outcome of an own call.
    Answered {
        /// What `Connection::call` gave.
        id: u64,
        /// The outcome.
        result: Result<Payload, Failure>,
    },
    /// The peer calls. `Connection::answer` ends it, once.
    Called {
        /// The peer's number for it.
        id: u64,
        /// Hash of the Ebb's name.
        ebb: u64,
        /// Hash of the method's name and signature.
        method: u64,
        /// As in [`Request::flags`].
        flags: u8,
        /// On this side's clock.
        deadline_ns: Option<u64>,
        /// The arguments.
        payload: Payload,
    },
    /// Stop working on a call of the peer; it has been answered.
    Cancelled(u64),
    /// An item of a call of the peer.
    Up(u64, Payload),
    /// The last item of a call of the peer has come.
    UpEnd(u64),
    /// Items of an own call can be sent again.
    UpWritable(u64),
    /// An item of an own call's answer.
    Down(u64, Payload),
    /// Items of the answer of a peer's call can be sent again.
    DownWritable(u64),
    /// The end; nothing comes after it.
    Closed(Closed),
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The transport did.
    Transport,
    /// The peer was silent for too long.
    Silence,
    /// The peer broke a rule.
    Protocol,
    /// The peer does not have the key, or somebody changed what it sent.
    Untrusted,
    /// There is no common version of the protocol.
    Version,
    /// This side wanted it.
    Here,
}

/// Why an item was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemError {
    /// No credit: wait for `UpWritable` or `DownWritable`.
    Full,
    /// The call is over.
    Over,
    /// It is larger than the peer accepts.
    TooLarge,
}

/// What a connection holds; see `Connection::held`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Own calls that wait for credits.
    pub waiting: usize,
    /// Own calls that are not answered.
    pub in_flight: usize,
    /// Calls of the peer that are not answered.
    pub running: usize,
    /// Bytes of payload that wait or run, and of both buffers.
    pub bytes: usize,
    /// Deadlines that are watched.
    pub deadlines: usize,
}

/// An own call that has been sent.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) bytes: usize,
    pub(crate) deadline_ns: Option<u64>,
    /// The outcome has been told, or nobody wants it: only the credit is waited for.
    pub(crate) forgotten: bool,
    pub(crate) up: bool,
    pub(crate) up_credit: u32,
    pub(crate) down: u32,
}

/// A call of the peer that has not been answered.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) bytes: usize,
    pub(crate) deadline_ns: Option<u64>,
    pub(crate) up: bool,
    pub(crate) up_credit: u32,
    pub(crate) down: bool,
    pub(crate) down_credit: u32,
}
