//! One TCP connection: the state machine of RFC 9293 from the established state (or an active SYN) on.
//!
//! It does no I/O of its own: [`Connection::input`] takes a segment, [`Connection::output`] gives what is to be sent to a
//! [`Wire`], [`Connection::timer`] is called when [`Connection::deadline`] has come. Times are nanoseconds.
//!
//! | what | source |
//! |---|---|
//! | retransmission timer | RFC 6298 |
//! | slow start, congestion avoidance, fast recovery | RFC 5681, 6582 (NewReno), 6675 (with SACK) |
//! | blind attacks: RST, SYN, ACK | RFC 5961 |
//! | window scaling, SACK | RFC 7323, 2018; timestamps are not offered: they cost 12 bytes and their handling per segment |
//! | silly windows, Nagle, keep-alive, zero windows | RFC 1122, 9293 |

mod input;
mod output;
mod timers;

use alloc::{boxed::Box, vec::Vec};

use super::{
    queues::{ReceiveQueue, SendQueue},
    seq::Seq,
    wire::{Path, TcpOut},
};
use ebb_net::{Error, SocketWakers};

pub const MILLISECOND: u64 = 1_000_000;
pub const SECOND: u64 = 1_000_000_000;
/// A timer that is off.
pub const NEVER: u64 = u64::MAX;

const RTO_INITIAL: u64 = SECOND;
const RTO_MIN: u64 = 200 * MILLISECOND;
const RTO_MAX: u64 = 60 * SECOND;
const ACK_DELAY: u64 = 40 * MILLISECOND;
const SYN_RETRIES: u8 = 6;
const RETRIES: u8 = 12;
const KEEPALIVE_PROBES: u8 = 5;
/// What an orphan (closed by the application) may take without progress.
const LINGER: u64 = 60 * SECOND;
/// Least time between two answers to segments that do not fit (RFC 5961, 7).
const CHALLENGE_INTERVAL: u64 = 100 * MILLISECOND;
/// Ranges of the peer's SACK that are remembered.
const MAX_SACKED: usize = 64;
/// The shift of the windows advertised here: windows up to 4 MiB.
pub const WINDOW_SCALE: u8 = 6;
/// What every host must take (RFC 9293, 3.7.1).
pub const DEFAULT_MSS: u16 = 536;
/// The smallest that is believed: smaller ones make much of little data.
pub const MIN_MSS: u16 = 88;

pub const DEFAULT_SEND_LIMIT: usize = 256 << 10;
/// The same where a core is short of memory.
const SHORT_SEND_LIMIT: usize = 4 << 10;
pub const DEFAULT_RECEIVE_LIMIT: usize = 256 << 10;

/// What identifies a connection: addresses and ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowKey {
    pub local: super::wire::Ip,
    pub remote: super::wire::Ip,
    pub local_port: u16,
    pub remote_port: u16,
}

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
pub trait Wire {
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
    fn longest(&self, mss: usize) -> usize;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ack {
    None,
    /// By the time in `ack_at`.
    Delayed,
    Now,
}

pub struct Connection {
    pub key: FlowKey,
    pub path: Path,
    pub state: State,
    /// Whether the next hop's hardware address is known.
    pub resolved: bool,

    // Sending. The first byte of `send` has the number `una`, once the SYN is acknowledged.
    iss: Seq,
    una: Seq,
    nxt: Seq,
    /// One more than the highest number sent; `nxt` is less after a timeout.
    max: Seq,
    window: u32,
    wl1: Seq,
    wl2: Seq,
    max_window: u32,
    peer_scale: u8,
    pub send: SendQueue,
    pub send_limit: usize,
    /// Bytes of the send queue that the core's sum has.
    pub counted: usize,
    /// The application was told that there is no room, and not yet that there is.
    blocked: bool,
    /// The application has ended the sending direction.
    fin: bool,
    fin_acked: bool,
    pub nodelay: bool,

    // Receiving.
    irs: Seq,
    rcv_nxt: Seq,
    /// The right edge of the window that the peer knows; it never moves back.
    rcv_edge: Seq,
    scale: u8,
    pub receive: ReceiveQueue,
    pub receive_limit: usize,
    peer_fin: Option<Seq>,
    pub peer_closed: bool,
    ack: Ack,
    /// `rcv_nxt` of the last acknowledgement sent.
    acked: Seq,
    last_challenge: u64,

    // Congestion.
    pub mss: u32,
    cwnd: u32,
    ssthresh: u32,
    limited: bool,
    dupacks: u8,
    recovering: bool,
    recover: Seq,
    sack: bool,
    sacked: Vec<(Seq, Seq)>,
    /// Everything below has been sent again in this recovery.
    resent: Seq,
    /// The first segment of a recovery leaves whatever the window says.
    force: bool,

    // Time.
    srtt: u64,
    rttvar: u64,
    rto: u64,
    backoff: u8,
    timed: Option<(Seq, u64)>,
    retries: u8,
    retransmit_at: u64,
    persist_at: u64,
    ack_at: u64,
    keepalive: u64,
    keepalive_at: u64,
    probes: u8,
    heard: u64,
    pub user_timeout: u64,
    progress: u64,
    linger_at: u64,
    /// The earliest entry of the core's timer heap for this connection.
    pub armed: u64,

    // The application.
    pub wakers: SocketWakers,
    pub error: Option<Error>,
    /// Why it ended, also after the error was reported.
    pub ended: bool,
    pub owned: bool,
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
    fn new(key: FlowKey, path: Path, iss: Seq, mss: u16, now: u64) -> Box<Self> {
        Box::new(Self {
            key,
            path,
            state: State::SynSent,
            resolved: true,
            iss,
            una: iss,
            nxt: iss,
            max: iss,
            window: 0,
            wl1: Seq(0),
            wl2: Seq(0),
            max_window: 0,
            peer_scale: 0,
            send: SendQueue::default(),
            send_limit: DEFAULT_SEND_LIMIT,
            counted: 0,
            blocked: false,
            fin: false,
            fin_acked: false,
            nodelay: true,
            irs: Seq(0),
            rcv_nxt: Seq(0),
            rcv_edge: Seq(0),
            scale: 0,
            receive: ReceiveQueue::default(),
            receive_limit: DEFAULT_RECEIVE_LIMIT,
            peer_fin: None,
            peer_closed: false,
            ack: Ack::None,
            acked: Seq(0),
            last_challenge: 0,
            mss: mss.into(),
            cwnd: 0,
            ssthresh: u32::MAX / 2,
            limited: false,
            dupacks: 0,
            recovering: false,
            recover: iss,
            sack: false,
            sacked: Vec::new(),
            resent: iss,
            force: false,
            srtt: 0,
            rttvar: 0,
            rto: RTO_INITIAL,
            backoff: 0,
            timed: None,
            retries: 0,
            retransmit_at: NEVER,
            persist_at: NEVER,
            ack_at: NEVER,
            keepalive: NEVER,
            keepalive_at: NEVER,
            probes: 0,
            heard: now,
            user_timeout: NEVER,
            progress: now,
            linger_at: NEVER,
            armed: NEVER,
            wakers: SocketWakers::default(),
            error: None,
            ended: false,
            owned: true,
            dirty: false,
            listener: None,
        })
    }

    /// A connection to be opened from this side. `mss` is the most that the link lets it receive and send.
    pub fn connecting(key: FlowKey, path: Path, iss: Seq, mss: u16, now: u64) -> Box<Self> {
        Self::new(key, path, iss, mss, now)
    }

    /// A connection whose handshake a listener has done.
    pub fn accepted(key: FlowKey, path: Path, agreed: &Agreed, window: u16, now: u64) -> Box<Self> {
        let mut this = Self::new(key, path, agreed.iss, agreed.mss, now);
        this.una = agreed.iss + 1;
        this.nxt = this.una;
        this.max = this.una;
        this.recover = this.una;
        this.agree(agreed);
        this.window = u32::from(window) << this.peer_scale;
        this.max_window = this.window;
        this.wl1 = this.rcv_nxt;
        this.wl2 = this.una;
        this.state = State::Established;
        this
    }

    fn agree(&mut self, agreed: &Agreed) {
        self.irs = agreed.irs;
        self.rcv_nxt = agreed.irs + 1;
        self.acked = self.rcv_nxt;
        self.mss = self.mss.min(agreed.mss.into());
        self.sack = agreed.sack;
        if let Some(scale) = agreed.peer_scale {
            self.peer_scale = scale;
            self.scale = WINDOW_SCALE;
        }
        self.rcv_edge = self.rcv_nxt + syn_window(self.receive_limit).into();
        // RFC 6928.
        self.cwnd = (10 * self.mss).min(14_600.max(2 * self.mss));
    }

    // --- The application's side -----------------------------------------------------------------------

    pub fn is_connected(&self) -> bool {
        !matches!(self.state, State::SynSent | State::SynReceived)
    }

    /// How much may be put into the send queue. Once it was full, a quarter has to be free again: many small
    /// pieces would cost more than they bring. `short` is the core of memory, and each connection has a little of it.
    pub fn send_room(&self, short: bool) -> usize {
        let limit = if short {
            self.send_limit.min(SHORT_SEND_LIMIT)
        } else {
            self.send_limit
        };
        if self.blocked && self.send.len() > limit / 4 * 3 {
            return 0;
        }
        limit.saturating_sub(self.send.len())
    }

    /// As [`send_room`](Self::send_room), for a caller who will wait if it is 0.
    pub fn take_send_room(&mut self, short: bool) -> usize {
        let room = self.send_room(short);
        self.blocked = room == 0;
        room
    }

    pub fn can_send(&self) -> bool {
        matches!(self.state, State::Established | State::CloseWait) && !self.fin
    }

    pub fn unacknowledged(&self) -> usize {
        self.send.len()
    }

    /// Ends the sending direction.
    pub fn shutdown(&mut self) {
        if self.fin {
            return;
        }
        self.fin = true;
        match self.state {
            State::Established | State::SynReceived => self.state = State::FinWait1,
            State::CloseWait => self.state = State::LastAck,
            State::SynSent => self.fail(None),
            _ => {}
        }
    }

    /// The application gave the socket up. Returns whether the peer is to be reset instead of seeing a graceful
    /// end: received bytes are lost (RFC 2525, 2.17).
    pub fn orphan(&mut self, now: u64) -> bool {
        self.owned = false;
        self.wakers.wake_all();
        if self.state == State::Closed {
            return false;
        }
        if self.receive.len() > 0 || self.receive.has_early() {
            return true;
        }
        self.shutdown();
        self.progress = now;
        self.linger_at = now + LINGER;
        false
    }

    pub fn set_keepalive(&mut self, idle: Option<u64>, now: u64) {
        self.keepalive = idle.unwrap_or(NEVER);
        self.probes = 0;
        self.heard = now;
        self.keepalive_at = match idle {
            Some(idle) => now.saturating_add(idle),
            None => NEVER,
        };
    }

    /// Ends the connection on this side.
    pub fn fail(&mut self, error: Option<Error>) {
        self.state = State::Closed;
        self.error = self.error.or(error);
        self.ended = true;
        self.send.clear();
        self.fin = true;
        self.ack = Ack::None;
        self.retransmit_at = NEVER;
        self.persist_at = NEVER;
        self.ack_at = NEVER;
        self.keepalive_at = NEVER;
        self.linger_at = NEVER;
        self.wakers.wake_all();
    }

    /// The number that a RST from this side has.
    pub fn reset_seq(&self) -> (u32, u32) {
        (self.max.0, self.rcv_nxt.0)
    }

    /// What a TIME-WAIT entry has to know: the next numbers of both sides.
    pub fn final_numbers(&self) -> (Seq, Seq) {
        (self.max, self.rcv_nxt)
    }

    /// The application has taken bytes: tells the peer of the room, if it is worth it.
    pub fn after_take(&mut self) -> bool {
        let window = self.rcv_edge - self.rcv_nxt;
        let edge = self.rcv_nxt + self.receive_room();
        if !edge.gt(self.rcv_edge) || self.peer_closed {
            return false;
        }
        let growth = edge - self.rcv_edge;
        let worth = growth >= (self.receive_limit / 4) as u32
            || window < 2 * self.mss && growth >= self.mss;
        if worth {
            self.ack = Ack::Now;
        }
        worth
    }

    fn receive_room(&self) -> u32 {
        self.receive_limit.saturating_sub(self.receive.len()) as u32
    }
}

/// The window of a SYN, which is never scaled.
pub fn syn_window(limit: usize) -> u16 {
    limit.min(65_535) as u16
}
