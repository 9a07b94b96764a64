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

use alloc::{boxed::Box, vec::Vec};

use super::{
    queues::{Chunk, Pool, ReceiveQueue, SendQueue},
    seq::Seq,
    wire::{Path, Tcp, TcpOut, flags},
};
use crate::{Direction, Error, SocketWakers};

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
    /// pieces would cost more than they bring.
    pub fn send_room(&self) -> usize {
        if self.blocked && self.send.len() > self.send_limit / 4 * 3 {
            return 0;
        }
        self.send_limit.saturating_sub(self.send.len())
    }

    /// As [`send_room`](Self::send_room), for a caller who will wait if it is 0.
    pub fn take_send_room(&mut self) -> usize {
        let room = self.send_room();
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

    // --- Segments in ------------------------------------------------------------------------------------

    /// Takes a segment. `payload` is the segment's data in order; what is used of it is taken out. Returns whether the segment
    /// is to be answered with a reset.
    pub fn input(
        &mut self,
        now: u64,
        tcp: &Tcp,
        payload: &mut Vec<Chunk>,
        pool: &mut Pool,
    ) -> bool {
        let seq = Seq(tcp.seq);
        let ack = Seq(tcp.ack);
        let has = |flag: u8| tcp.flags & flag != 0;
        let len: usize = payload.iter().map(Chunk::len).sum();
        let len = len as u32;
        self.heard = now;
        self.probes = 0;

        if self.state == State::SynSent {
            return self.input_syn_sent(now, tcp);
        }

        // Does it lie in the window?
        let end = seq + len + u32::from(has(flags::FIN)) + u32::from(has(flags::SYN));
        if seq.gt(self.rcv_edge) || end.lt(self.rcv_nxt) || end != seq && end.le(self.rcv_nxt) {
            if !has(flags::RST) {
                if len > 0 || has(flags::FIN) {
                    self.ack = Ack::Now;
                } else {
                    self.challenge(now);
                }
            }
            return false;
        }
        if has(flags::RST) {
            if seq == self.rcv_nxt {
                let error = match self.state {
                    State::SynReceived => Some(Error::ConnectionRefused),
                    // The peer had taken everything and has forgotten.
                    State::Closing | State::LastAck | State::TimeWait => None,
                    _ => Some(Error::ConnectionReset),
                };
                self.fail(error);
            } else {
                self.challenge(now);
            }
            return false;
        }
        if has(flags::SYN) {
            self.challenge(now);
            return false;
        }
        if !has(flags::ACK) {
            return false;
        }
        if self.state == State::SynReceived {
            if ack != self.iss + 1 {
                return true;
            }
            self.state = if self.fin {
                State::FinWait1
            } else {
                State::Established
            };
            self.wl1 = seq;
            self.wl2 = ack;
            self.window = u32::from(tcp.window) << self.peer_scale;
            self.max_window = self.window;
            self.wakers.wake(Direction::Write);
        }
        if ack.gt(self.max) || (ack + self.max_window.max(65_535)).lt(self.una) {
            self.challenge(now);
            return false;
        }
        self.input_ack(now, tcp, seq, ack, len);
        if self.state == State::Closed {
            return false;
        }

        if len > 0 {
            if !matches!(
                self.state,
                State::Established | State::FinWait1 | State::FinWait2
            ) {
                // After the peer's FIN there is nothing more.
                return false;
            }
            if !self.owned && end.gt(self.rcv_nxt) {
                // Nobody will ever take it.
                return true;
            }
            self.input_data(now, seq, len, payload, pool);
        }
        if has(flags::FIN) {
            self.peer_fin = Some(seq + len);
            self.ack = Ack::Now;
        }
        if self.peer_fin == Some(self.rcv_nxt) && !self.peer_closed {
            self.input_fin(now);
        }
        false
    }

    fn input_syn_sent(&mut self, now: u64, tcp: &Tcp) -> bool {
        let ack = Seq(tcp.ack);
        let has = |flag: u8| tcp.flags & flag != 0;
        if has(flags::ACK) && (ack.le(self.iss) || ack.gt(self.max)) {
            return !has(flags::RST);
        }
        if has(flags::RST) {
            if has(flags::ACK) {
                self.fail(Some(Error::ConnectionRefused));
            }
            return false;
        }
        if !has(flags::SYN) {
            return false;
        }
        let agreed = Agreed {
            iss: self.iss,
            irs: Seq(tcp.seq),
            mss: tcp.options.mss.unwrap_or(DEFAULT_MSS).max(MIN_MSS),
            peer_scale: tcp.options.window_scale,
            sack: tcp.options.sack_permitted,
        };
        self.agree(&agreed);
        self.wl1 = Seq(tcp.seq);
        self.wl2 = ack;
        self.window = tcp.window.into();
        self.max_window = self.window;
        self.retries = 0;
        self.backoff = 0;
        if has(flags::ACK) {
            self.una = ack;
            if let Some((_, sent)) = self.timed.take() {
                self.sample(now.saturating_sub(sent));
            }
            self.retransmit_at = NEVER;
            self.state = State::Established;
            self.ack = Ack::Now;
            self.wakers.wake(Direction::Write);
        } else {
            // Both sides open at once.
            self.state = State::SynReceived;
            self.nxt = self.iss;
            self.timed = None;
        }
        false
    }

    fn challenge(&mut self, now: u64) {
        if now.saturating_sub(self.last_challenge) >= CHALLENGE_INTERVAL || self.last_challenge == 0
        {
            self.last_challenge = now.max(1);
            self.ack = Ack::Now;
        }
    }

    fn input_ack(&mut self, now: u64, tcp: &Tcp, seq: Seq, ack: Seq, len: u32) {
        let new_sack = self.sack && tcp.options.sack_count > 0 && self.note_sack(tcp, ack);
        let window = u32::from(tcp.window) << self.peer_scale;
        let same_window = window == self.window;
        if self.wl1.lt(seq) || self.wl1 == seq && self.wl2.le(ack) {
            self.window = window;
            self.max_window = self.max_window.max(window);
            self.wl1 = seq;
            self.wl2 = ack;
        }
        if window > 0 {
            self.persist_at = NEVER;
        }
        if ack.gt(self.una) {
            self.acknowledged(now, ack);
        } else if ack == self.una && self.max != self.una {
            let duplicate = len == 0 && same_window && tcp.flags & flags::FIN == 0;
            if if self.sack { new_sack } else { duplicate } {
                self.duplicate();
            }
        }
    }

    /// The peer has everything below `ack`.
    fn acknowledged(&mut self, now: u64, ack: Seq) {
        let mut count = ack - self.una;
        if self.una == self.iss {
            count -= 1;
        }
        let in_queue = (count as usize).min(self.send.len());
        self.send.advance(in_queue);
        if count as usize > in_queue {
            self.fin_acked = true;
        }
        self.una = ack;
        self.nxt = self.nxt.max(ack);
        self.resent = self.resent.max(ack);
        self.retries = 0;
        self.backoff = 0;
        self.progress = now;
        if let Some((until, sent)) = self.timed
            && ack.ge(until)
        {
            self.timed = None;
            self.sample(now.saturating_sub(sent));
        }
        if !self.sacked.is_empty() {
            self.sacked.retain_mut(|(from, to)| {
                *from = from.max(ack);
                from.lt(*to)
            });
        }
        if self.recovering {
            if ack.ge(self.recover) {
                self.recovering = false;
                self.dupacks = 0;
                self.cwnd = self.ssthresh.max(self.mss);
            } else if !self.sack {
                // A partial acknowledgement: the next segment is missing, too (RFC 6582).
                self.cwnd = self.cwnd.saturating_sub(count).max(self.mss) + self.mss;
                self.resent = ack;
                self.force = true;
            }
        } else {
            self.dupacks = 0;
            if self.limited {
                if self.cwnd < self.ssthresh {
                    self.cwnd += count.min(self.cwnd);
                } else {
                    let step = u64::from(self.mss) * u64::from(count.min(self.cwnd));
                    self.cwnd += (step / u64::from(self.cwnd)).max(1) as u32;
                }
                self.cwnd = self.cwnd.min(16 << 20);
            }
        }
        self.retransmit_at = if self.una == self.max {
            NEVER
        } else {
            now + self.rto
        };
        if !self.owned {
            self.linger_at = now + LINGER;
        }
        if self.send.len() <= self.send_limit / 4 * 3 {
            self.wakers.wake(Direction::Write);
        }
        if self.fin_acked {
            match self.state {
                State::FinWait1 => self.state = State::FinWait2,
                State::Closing => self.state = State::TimeWait,
                State::LastAck => {
                    self.fail(None);
                }
                _ => {}
            }
        }
    }

    /// Remembers what the peer has beyond `una`. True when some of it is new.
    fn note_sack(&mut self, tcp: &Tcp, ack: Seq) -> bool {
        let floor = self.una.max(ack);
        let mut new = false;
        for &(from, to) in &tcp.options.sack[..usize::from(tcp.options.sack_count)] {
            let (mut from, mut to) = (Seq(from).max(floor), Seq(to));
            if !from.lt(to) || to.gt(self.max) {
                continue;
            }
            // Merge with what overlaps or touches.
            let known = self.sacked.iter().any(|(f, t)| f.le(from) && to.le(*t));
            if known {
                continue;
            }
            new = true;
            self.sacked.retain(|(f, t)| {
                let apart = t.lt(from) || to.lt(*f);
                if !apart {
                    from = from.min(*f);
                    to = to.max(*t);
                }
                apart
            });
            if self.sacked.len() < MAX_SACKED {
                let at = self.sacked.partition_point(|(f, _)| f.lt(from));
                self.sacked.insert(at, (from, to));
            }
        }
        new
    }

    fn duplicate(&mut self) {
        self.dupacks = self.dupacks.saturating_add(1);
        if self.recovering {
            if !self.sack {
                self.cwnd += self.mss;
            }
            return;
        }
        let sacked: u32 = self.sacked.iter().map(|(f, t)| *t - *f).sum();
        if (self.dupacks >= 3 || sacked > 2 * self.mss) && self.una.ge(self.recover) {
            let flight = self.max - self.una;
            self.ssthresh = (flight / 2).max(2 * self.mss);
            self.cwnd = self.ssthresh + if self.sack { 0 } else { 3 * self.mss };
            self.recovering = true;
            self.recover = self.max;
            self.resent = self.una;
            self.force = true;
            self.timed = None;
        }
    }

    fn sample(&mut self, rtt: u64) {
        if self.srtt == 0 {
            self.srtt = rtt.max(1);
            self.rttvar = rtt / 2;
        } else {
            self.rttvar = (3 * self.rttvar + self.srtt.abs_diff(rtt)) / 4;
            self.srtt = (7 * self.srtt + rtt) / 8;
        }
        self.rto = (self.srtt + (4 * self.rttvar).max(MILLISECOND)).clamp(RTO_MIN, RTO_MAX);
    }

    fn input_data(
        &mut self,
        now: u64,
        seq: Seq,
        len: u32,
        payload: &mut Vec<Chunk>,
        pool: &mut Pool,
    ) {
        let before = self.rcv_nxt;
        let had_early = self.receive.has_early();
        // What lies beyond the window is cut off.
        let beyond = if (seq + len).gt(self.rcv_edge) {
            seq + len - self.rcv_edge
        } else {
            0
        };
        let mut left = len - beyond;
        let mut at = seq;
        for mut chunk in payload.drain(..) {
            let part = (chunk.len() as u32).min(left);
            chunk.end = chunk.start + part;
            left -= part;
            self.rcv_nxt = self.receive.insert(at, chunk, self.rcv_nxt, pool);
            at += part;
        }
        if self.rcv_nxt == before {
            // Early, or nothing fitted: tell the peer at once where we are.
            self.ack = Ack::Now;
            return;
        }
        self.wakers.wake(Direction::Read);
        if had_early || beyond > 0 || self.rcv_nxt - self.acked >= 2 * self.mss {
            self.ack = Ack::Now;
        } else if self.ack == Ack::None {
            self.ack = Ack::Delayed;
            self.ack_at = now + ACK_DELAY;
        }
    }

    fn input_fin(&mut self, now: u64) {
        self.rcv_nxt += 1;
        self.peer_closed = true;
        self.ack = Ack::Now;
        self.wakers.wake(Direction::Read);
        match self.state {
            State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.state = State::TimeWait,
            _ => {}
        }
        if !self.owned {
            self.linger_at = now + LINGER;
        }
    }

    // --- Segments out -----------------------------------------------------------------------------------

    /// True when [`output`](Self::output) has something to do now.
    pub fn wants_output(&self) -> bool {
        self.ack == Ack::Now || self.force || self.has_data()
    }

    fn has_data(&self) -> bool {
        match self.state {
            State::SynSent | State::SynReceived => self.nxt == self.iss,
            State::Closed | State::TimeWait => false,
            _ => self
                .nxt
                .lt(self.data_end() + u32::from(self.fin && !self.fin_acked)),
        }
    }

    #[inline]
    fn data_start(&self) -> Seq {
        if self.una == self.iss {
            self.iss + 1
        } else {
            self.una
        }
    }

    #[inline]
    fn data_end(&self) -> Seq {
        self.data_start() + self.send.len() as u32
    }

    /// Sends what may be sent. False when the device had no room: to be called again then.
    pub fn output(&mut self, now: u64, wire: &mut impl Wire) -> bool {
        if !self.resolved {
            return true;
        }
        let done = match self.state {
            State::Closed => return true,
            State::SynSent | State::SynReceived => {
                self.nxt != self.iss || self.output_syn(now, wire)
            }
            _ => self.output_data(now, wire),
        };
        if done && self.ack == Ack::Now && self.is_connected() {
            // The highest number, also when older ones are being sent again: a lower one the peer would drop.
            let header = self.header(self.max, flags::ACK);
            if !wire.send(&self.path, header, None, 0) {
                return false;
            }
            self.acknowledge_sent();
        }
        done
    }

    fn output_syn(&mut self, now: u64, wire: &mut impl Wire) -> bool {
        let simultaneous = self.state == State::SynReceived;
        let header = TcpOut {
            source: self.key.local_port,
            target: self.key.remote_port,
            seq: self.iss.0,
            ack: if simultaneous { self.rcv_nxt.0 } else { 0 },
            flags: flags::SYN | if simultaneous { flags::ACK } else { 0 },
            window: syn_window(self.receive_limit),
            mss: Some(self.mss as u16),
            window_scale: (!simultaneous || self.scale > 0).then_some(WINDOW_SCALE),
            sack_permitted: !simultaneous || self.sack,
            ..TcpOut::default()
        };
        if !wire.send(&self.path, header, None, 0) {
            return false;
        }
        self.nxt = self.iss + 1;
        if self.max == self.iss {
            self.timed = Some((self.nxt, now));
        }
        self.max = self.max.max(self.nxt);
        self.retransmit_at = now + (self.rto << self.backoff.min(6)).min(RTO_MAX);
        true
    }

    /// Bytes that are thought to be in the network.
    fn pipe(&self) -> u32 {
        let flight = self.nxt - self.una;
        if !self.recovering || self.sacked.is_empty() {
            return flight;
        }
        let mut away = 0;
        let mut from = self.una.max(self.resent);
        for &(start, end) in &self.sacked {
            away += end - start;
            // The hole before it is lost, unless it has been sent again.
            if from.lt(start) {
                away += start - from;
            }
            from = from.max(end);
        }
        flight.saturating_sub(away)
    }

    /// The next hole to be sent again in a recovery.
    fn hole(&self) -> Option<(Seq, u32)> {
        if !self.recovering {
            return None;
        }
        if self.sacked.is_empty() {
            return self.force.then(|| {
                let end = self.data_end() + u32::from(self.fin && !self.fin_acked);
                (self.una, (end.min(self.max) - self.una).min(self.mss))
            });
        }
        let mut from = self.una.max(self.resent);
        for &(start, end) in &self.sacked {
            if from.lt(start) {
                return Some((from, (start - from).min(self.mss)));
            }
            from = from.max(end);
        }
        None
    }

    fn output_data(&mut self, now: u64, wire: &mut impl Wire) -> bool {
        if self.state == State::TimeWait {
            return true;
        }
        self.limited = false;
        // Lost segments first.
        while let Some((seq, len)) = self.hole() {
            if !self.force && self.pipe() + self.mss > self.cwnd {
                self.limited = true;
                break;
            }
            if !self.send_range(now, seq, len, wire) {
                return false;
            }
            self.resent = seq + len;
            self.force = false;
        }
        self.force = false;
        loop {
            let data_end = self.data_end();
            let fin_left = self.fin && !self.fin_acked && self.nxt.le(data_end);
            let left = if self.nxt.lt(data_end) {
                data_end - self.nxt
            } else {
                0
            };
            if left == 0 && !fin_left {
                break;
            }
            let edge = self.una + self.window;
            let window = if self.nxt.lt(edge) {
                edge - self.nxt
            } else {
                0
            };
            let room = self.cwnd.saturating_sub(self.pipe());
            let mut len = left.min(window).min(room);
            len = len.min(wire.longest(self.mss as usize) as u32);
            let idle = self.nxt == self.una;
            if len < left {
                if room < left && room < window {
                    self.limited = true;
                }
                // Part of what there is: whole segments, or what is worth it.
                if len >= self.mss {
                    len -= len % self.mss;
                } else if !(idle && len > 0) && (len == 0 || len < self.max_window / 2) {
                    break;
                }
            } else if left == 0 {
                // Only the FIN.
                if window == 0 && self.max == self.nxt {
                    break;
                }
            } else if left < self.mss && !self.nodelay && !idle && !self.fin {
                break;
            }
            if left > 0 && len == 0 {
                break;
            }
            let fin = fin_left && len == left && (window > len || self.max.gt(self.nxt));
            let total = len + u32::from(fin);
            if total == 0 {
                break;
            }
            if !self.send_range(now, self.nxt, total, wire) {
                return false;
            }
            self.nxt += total;
            self.max = self.max.max(self.nxt);
        }
        // Nothing in flight that would bring a window: ask for one.
        let waiting = self
            .nxt
            .lt(self.data_end() + u32::from(self.fin && !self.fin_acked));
        if waiting && self.retransmit_at == NEVER && self.persist_at == NEVER {
            self.persist_at = now + (self.rto << self.backoff.min(6)).min(RTO_MAX);
        } else if !waiting {
            self.persist_at = NEVER;
        }
        true
    }

    /// Sends numbers `seq..seq + len`, of which the last may be the FIN's.
    fn send_range(&mut self, now: u64, seq: Seq, len: u32, wire: &mut impl Wire) -> bool {
        let data_end = self.data_end();
        let end = seq + len;
        let fin = end.gt(data_end);
        let data = if fin { len - 1 } else { len };
        let mut header = self.header(seq, flags::ACK);
        if fin {
            header.flags |= flags::FIN;
        }
        if end.ge(data_end) {
            header.flags |= flags::PSH;
        }
        let offset = seq - self.data_start();
        let payload = (data > 0).then_some((&mut self.send, offset as usize, data as usize));
        if !wire.send(&self.path, header, payload, self.mss as usize) {
            return false;
        }
        self.acknowledge_sent();
        if end.gt(self.max) {
            if self.timed.is_none() {
                self.timed = Some((end, now));
            }
        } else if self.timed.is_some_and(|(until, _)| seq.lt(until)) {
            // Karn: what was sent twice measures nothing.
            self.timed = None;
        }
        if self.una == self.max {
            self.progress = now;
        }
        if self.retransmit_at == NEVER {
            self.retransmit_at = now + (self.rto << self.backoff.min(8)).min(RTO_MAX);
        }
        true
    }

    fn header(&mut self, seq: Seq, flags: u8) -> TcpOut {
        let edge = self.rcv_nxt + self.receive_room();
        let least = self.mss.min(self.receive_limit as u32 / 2);
        if edge.gt(self.rcv_edge) && edge - self.rcv_edge >= least {
            self.rcv_edge = edge;
        }
        let window = if self.rcv_nxt.lt(self.rcv_edge) {
            (self.rcv_edge - self.rcv_nxt).div_ceil(1 << self.scale)
        } else {
            0
        };
        let window = window.min(65_535);
        let reach = self.rcv_nxt + (window << self.scale);
        self.rcv_edge = if self.scale == 0 {
            self.rcv_edge.min(reach)
        } else {
            reach
        };
        let (sack, sack_count) = if self.sack && self.receive.has_early() {
            self.receive.islands()
        } else {
            ([(0, 0); 3], 0)
        };
        TcpOut {
            source: self.key.local_port,
            target: self.key.remote_port,
            seq: seq.0,
            ack: self.rcv_nxt.0,
            flags,
            window: window as u16,
            sack,
            sack_count,
            ..TcpOut::default()
        }
    }

    #[inline]
    fn acknowledge_sent(&mut self) {
        self.ack = Ack::None;
        self.ack_at = NEVER;
        self.acked = self.rcv_nxt;
    }

    // --- Time -------------------------------------------------------------------------------------------

    /// When [`timer`](Self::timer) is to be called.
    #[inline]
    pub fn deadline(&self) -> u64 {
        self.retransmit_at
            .min(self.persist_at)
            .min(self.ack_at)
            .min(self.keepalive_at)
            .min(self.linger_at)
    }

    /// Something may be due. Returns a segment without data that is to be sent now, besides what
    /// [`output`](Self::output) sends.
    pub fn timer(&mut self, now: u64) -> Option<TcpOut> {
        let mut probe = None;
        if self.linger_at <= now {
            self.fail(Some(Error::TimedOut));
            return None;
        }
        if self.ack_at <= now {
            self.ack_at = NEVER;
            self.ack = Ack::Now;
        }
        if self.retransmit_at <= now {
            self.retransmit(now);
        }
        if self.persist_at <= now {
            self.backoff = self.backoff.saturating_add(1);
            self.persist_at = now + (self.rto << self.backoff.min(8)).min(RTO_MAX);
            if now.saturating_sub(self.progress) >= self.user_timeout {
                self.fail(Some(Error::TimedOut));
                return None;
            }
            probe = Some(self.probe());
        }
        if self.keepalive_at <= now {
            let due = self.heard.saturating_add(self.keepalive);
            let interval = (self.keepalive / 4).max(SECOND);
            if due > now && self.probes == 0 {
                self.keepalive_at = due;
            } else if self.probes >= KEEPALIVE_PROBES {
                self.fail(Some(Error::TimedOut));
                return None;
            } else if self.is_connected() {
                self.probes += 1;
                self.keepalive_at = now + interval;
                probe = Some(self.probe());
            } else {
                self.keepalive_at = now + self.keepalive;
            }
        }
        probe
    }

    /// A segment just before the window, which the peer answers with its state.
    fn probe(&mut self) -> TcpOut {
        let before = Seq(self.una.0.wrapping_sub(1));
        self.header(before, flags::ACK)
    }

    fn retransmit(&mut self, now: u64) {
        self.retransmit_at = NEVER;
        if self.una == self.max {
            return;
        }
        self.retries += 1;
        let most = if self.is_connected() {
            RETRIES
        } else {
            SYN_RETRIES
        };
        if self.retries > most || now.saturating_sub(self.progress) >= self.user_timeout {
            self.fail(Some(Error::TimedOut));
            return;
        }
        self.backoff = self.backoff.saturating_add(1);
        if self.is_connected() {
            if self.retries == 1 {
                let flight = self.max - self.una;
                self.ssthresh = (flight / 2).max(2 * self.mss);
            }
            self.cwnd = self.mss;
        }
        self.nxt = self.una;
        self.recovering = false;
        self.recover = self.max;
        self.dupacks = 0;
        self.sacked.clear();
        self.resent = self.una;
        self.timed = None;
    }

    /// Retransmission timeouts since the peer last acknowledged something new.
    pub fn timeouts(&self) -> u8 {
        self.retries
    }

    /// When it was begun, of one that is being opened.
    pub fn started(&self) -> u64 {
        self.progress
    }
}

/// The window of a SYN, which is never scaled.
pub fn syn_window(limit: usize) -> u16 {
    limit.min(65_535) as u16
}
