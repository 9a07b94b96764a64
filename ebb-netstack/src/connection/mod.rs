//! One TCP connection: the state machine of RFC 9293 from the established state (or an active SYN) on.
//!
//! It does no I/O of its own: [`Connection::input`] takes a segment, [`Connection::output`] gives what is to be sent to a
//! [`SegmentSink`], [`Connection::timer`] is called when [`Connection::deadline_ns`] has come.
//!
//! | file | what | source |
//! |---|---|---|
//! | `input.rs` | segments in; blind attacks: RST, SYN, ACK | RFC 9293, 5961 |
//! | `output.rs` | segments out; Nagle, silly windows | RFC 9293, 1122 |
//! | `timeout.rs` | retransmission, zero windows, keep-alive | RFC 6298, 9293 |
//! | `send.rs`, `receive.rs` | the two directions; window scaling | RFC 9293, 7323 |
//! | `congestion.rs` | slow start to fast recovery, with and without SACK | RFC 5681, 6582, 2018, 6675 |
//! | `info.rs` | what is told of all that | |
//! | `timers.rs` | round-trip time, deadlines | RFC 6298 |
//!
//! Timestamps (RFC 7323) are not offered: they cost 12 bytes and their handling in each segment.

mod congestion;
mod info;
mod input;
mod output;
mod receive;
mod send;
#[cfg(test)]
mod tests;
mod timeout;
mod timers;

use alloc::boxed::Box;

use core::time::Duration;
use ebb_net::{Error, KeepAlive, SocketWakers};

pub use self::receive::{DEFAULT_LIMIT as DEFAULT_RECEIVE_LIMIT, WINDOW_SCALE, syn_window};
use self::{
    congestion::Congestion,
    receive::{Ack, ReceiveSide},
    send::SendSide,
    timers::Timers,
};
use crate::{
    queues::SendQueue,
    seq::Seq,
    time::{NEVER_NS, SECOND_NS},
    wire::{FlowKey, Path, TcpOut},
};

/// What an orphan (closed by the application) may take without progress.
const LINGER_NS: u64 = 60 * SECOND_NS;
/// What every host must take (RFC 9293, 3.7.1).
pub const DEFAULT_MSS: u16 = 536;
/// The smallest that is believed: smaller ones cost too much per byte.
pub const MIN_MSS: u16 = 88;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}

/// Where segments go.
pub trait SegmentSink {
    /// Sends a segment whose payload is `len` bytes of `queue` from `offset` on. False when the device has no room;
    /// then nothing was sent. A segment longer than `mss` is cut by the device.
    fn send(
        &mut self,
        path: &Path,
        header: TcpOut,
        payload: Option<(&mut SendQueue, usize, usize)>,
        mss: usize,
    ) -> bool;
    /// The longest payload that [`send`](Self::send) takes at once.
    fn longest(&self, path: &Path, mss: usize) -> usize;
}

pub struct Connection {
    pub path: Path,
    pub(super) local_port: u16,
    pub(super) remote_port: u16,
    pub state: State,
    /// Whether the next hop's hardware address is known.
    pub resolved: bool,
    pub send: SendSide,
    pub receive: ReceiveSide,
    pub congestion: Congestion,
    pub timers: Timers,

    // The application.
    pub wakers: SocketWakers,
    pub error: Option<Error>,
    /// It has failed or ended on this side; stays when the error was reported.
    pub ended: bool,
    pub owned: bool,
    /// On the core's list of those with output.
    pub dirty: bool,
    /// Counted in the listener's queue.
    pub listener: Option<u32>,
}

/// What a handshake has agreed upon.
#[derive(Clone, Copy, Debug)]
pub struct Agreed {
    pub iss: Seq,
    pub irs: Seq,
    pub mss: u16,
    /// The peer's shift; `None` when windows are not scaled.
    pub peer_scale: Option<u8>,
    pub sack: bool,
}

impl Connection {
    fn new(key: FlowKey, path: Path, iss: Seq, mss: u16, now_ns: u64) -> Box<Self> {
        Box::new(Self {
            path,
            local_port: key.local_port,
            remote_port: key.remote_port,
            state: State::SynSent,
            resolved: true,
            send: SendSide::new(iss),
            receive: ReceiveSide::new(),
            congestion: Congestion::new(mss, iss),
            timers: Timers::new(now_ns),
            wakers: SocketWakers::default(),
            error: None,
            ended: false,
            owned: true,
            dirty: false,
            listener: None,
        })
    }

    /// A connection to be opened from this side. `mss` is the most that the link lets it receive and send.
    pub fn connecting(key: FlowKey, path: Path, iss: Seq, mss: u16, now_ns: u64) -> Box<Self> {
        Self::new(key, path, iss, mss, now_ns)
    }

    /// A connection whose handshake a listener has done. `window` is that of the handshake's last segment.
    pub fn accepted(
        key: FlowKey,
        path: Path,
        agreed: &Agreed,
        window: u16,
        now_ns: u64,
    ) -> Box<Self> {
        let mut this = Self::new(key, path, agreed.iss, agreed.mss, now_ns);
        this.send.una = agreed.iss + 1;
        this.send.nxt = this.send.una;
        this.send.max = this.send.una;
        this.agree(agreed);
        let window = u32::from(window) << this.send.peer_scale;
        this.send
            .set_window(this.receive.nxt, this.send.una, window);
        this.state = State::Established;
        this
    }

    /// Its entry in the flow table.
    pub fn key(&self) -> FlowKey {
        FlowKey {
            local: self.path.source,
            remote: self.path.target,
            local_port: self.local_port,
            remote_port: self.remote_port,
        }
    }

    fn agree(&mut self, agreed: &Agreed) {
        self.send.peer_scale = agreed.peer_scale.unwrap_or(0);
        self.receive.begin(agreed.irs, agreed.peer_scale.is_some());
        self.congestion
            .begin(agreed.mss, agreed.sack, self.send.una);
    }

    /// The link takes no larger segments.
    pub fn limit_mss(&mut self, mss: u16) {
        self.congestion.mss = self.congestion.mss.min(mss.into());
    }

    /// Whether a segment with this number may be on its way.
    pub fn is_in_flight(&self, seq: Seq) -> bool {
        self.send.una.le(seq) && seq.lt(self.send.max)
    }

    /// Somebody on the way has not let a segment through. While the connection is being opened that ends it; later it may pass
    /// (RFC 1122, 4.2.3.9; RFC 5461).
    pub fn not_delivered(&mut self, error: Error) {
        if !self.is_connected() {
            self.fail(Some(error));
        }
    }

    /// The path takes segments of at most `mss` bytes: what is in flight and was longer is lost (RFC 1191, 6.4).
    pub fn path_takes_less(&mut self, mss: u16) {
        if u32::from(mss) >= self.congestion.mss || !self.is_connected() {
            return self.limit_mss(mss);
        }
        self.congestion.mss = mss.max(MIN_MSS).into();
        self.send.nxt = self.send.una;
        self.congestion.restart(&self.send);
        self.timers.round_trip.abandon();
    }

    // --- The application's side -----------------------------------------------------------------------

    pub fn is_connected(&self) -> bool {
        !matches!(self.state, State::SynSent | State::SynReceived)
    }

    pub fn can_send(&self) -> bool {
        matches!(self.state, State::Established | State::CloseWait) && !self.send.fin
    }

    pub fn unacknowledged(&self) -> usize {
        self.send.queue.len()
    }

    /// As [`unacknowledged`](Self::unacknowledged); the end, once it was said, counts as one, as in Linux.
    pub fn unacknowledged_with_end(&self) -> usize {
        let end = self.state != State::Closed && self.send.fin && !self.send.fin_acked;
        self.unacknowledged() + usize::from(end)
    }

    /// Ends the sending direction.
    pub fn shutdown(&mut self) {
        if self.send.fin {
            return;
        }
        self.send.fin = true;
        match self.state {
            State::Established | State::SynReceived => self.state = State::FinWait1,
            State::CloseWait => self.state = State::LastAck,
            State::SynSent => self.fail(None),
            _ => {}
        }
    }

    /// The application gave the socket up. Returns whether the peer is to be reset instead of seeing a graceful
    /// end: received bytes are lost (RFC 2525, 2.17).
    pub fn orphan(&mut self, now_ns: u64) -> bool {
        self.owned = false;
        self.wakers.wake_all();
        if self.state == State::Closed {
            return false;
        }
        if self.receive.queue.len() > 0 || self.receive.queue.has_early() {
            return true;
        }
        self.shutdown();
        self.timers.progress_ns = now_ns;
        self.timers.linger_at_ns = now_ns + LINGER_NS;
        false
    }

    pub fn set_keepalive(&mut self, how: Option<KeepAlive>, now_ns: u64) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(NEVER_NS);
        let timers = &mut self.timers;
        if let Some(how) = how {
            timers.keepalive_interval_ns = nanos(how.interval);
            timers.keepalive_probes = how.probes;
        }
        timers.keepalive_ns = how.map_or(NEVER_NS, |how| nanos(how.idle));
        timers.probes = 0;
        timers.heard_ns = now_ns;
        timers.keepalive_at_ns = now_ns.saturating_add(timers.keepalive_ns);
    }

    /// Ends the connection on this side.
    pub fn fail(&mut self, error: Option<Error>) {
        self.state = State::Closed;
        self.error = self.error.or(error);
        self.ended = true;
        self.send.queue.clear();
        self.send.fin = true;
        self.receive.ack = Ack::None;
        self.receive.ack_at_ns = NEVER_NS;
        self.timers.stop();
        self.wakers.wake_all();
    }

    /// The numbers that a RST from this side has: its own, and what it acknowledges.
    pub fn reset_numbers(&self) -> (u32, u32) {
        (self.send.max.0, self.receive.nxt.0)
    }

    /// What a TIME-WAIT entry has to know: the next numbers of both sides.
    pub fn final_numbers(&self) -> (Seq, Seq) {
        (self.send.max, self.receive.nxt)
    }

    /// The application has taken bytes. True when the peer is to be told of the room.
    pub fn after_take(&mut self) -> bool {
        self.receive.after_take(self.congestion.mss)
    }

    /// Retransmission timeouts since the peer last acknowledged something new.
    pub fn timeouts(&self) -> u8 {
        self.timers.retries
    }

    /// When it was begun, of one that is being opened.
    pub fn started_ns(&self) -> u64 {
        self.timers.progress_ns
    }
}
