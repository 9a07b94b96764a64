//! Handshakes that peers have begun: little state for each, and none for those above a bound (SYN cookies, after
//! D. J. Bernstein, 1996).
//!
//! A half-open connection holds no buffers. Its answer is sent again each second. Above the bound the answer's sequence
//! number says all that is needed: a keyed hash of addresses, ports, the peer's number and a clock, and an index into a
//! table of segment sizes; such connections go without window scaling and SACK.

use alloc::collections::VecDeque;
#[allow(deprecated)]
use core::hash::{Hash, Hasher, SipHasher};

use crate::{
    connection::{Agreed, DEFAULT_MSS, DEFAULT_RECEIVE_LIMIT, MIN_MSS, WINDOW_SCALE, syn_window},
    seq::Seq,
    shared::Secret,
    time::{NEVER_NS, SECOND_NS},
    wire::{FlowKey, Path, Tcp, TcpOut, flags},
};

const AGAIN_AFTER_NS: u64 = SECOND_NS;
const ANSWERS: u8 = 5;
/// A cookie is good for this long, and up to twice as long.
const COOKIE_PERIOD_NS: u64 = 60 * SECOND_NS;
/// Segment sizes that a cookie can say.
const SIZES: [u16; 8] = [MIN_MSS, 256, DEFAULT_MSS, 1220, 1360, 1440, 1460, 8960];

/// A connection whose SYN was answered.
#[derive(Clone, Debug)]
pub struct HalfOpen {
    pub path: Path,
    pub agreed: Agreed,
    answers: u8,
    /// Its answer offers no options.
    bare: bool,
}

pub struct Handshakes {
    secret: Secret,
    pub count: usize,
    due: VecDeque<(u64, FlowKey)>,
    /// Cookies were sent until then and may come back.
    cookies_until_ns: u64,
    identification: u16,
}

impl Handshakes {
    pub fn new(secret: Secret) -> Self {
        Self {
            secret,
            count: 0,
            due: VecDeque::new(),
            cookies_until_ns: 0,
            identification: secret.1 as u16,
        }
    }

    /// Bytes of the list.
    pub fn table(&self) -> usize {
        self.due.capacity() * size_of::<(u64, FlowKey)>()
    }

    fn hash(&self, key: &FlowKey, more: u64) -> u64 {
        #[allow(deprecated)]
        let mut hasher = SipHasher::new_with_keys(self.secret.0, self.secret.1);
        key.hash(&mut hasher);
        hasher.write_u64(more);
        hasher.finish()
    }

    /// The number to start with (RFC 6528): unguessable, and ahead of earlier connections between the same ports.
    pub fn initial(&self, key: &FlowKey, now_ns: u64) -> Seq {
        Seq(self.hash(key, 0) as u32) + (now_ns / 4000) as u32
    }

    /// The identification of the next packet that is cut up.
    pub fn next_identification(&mut self) -> u16 {
        self.identification = self.identification.wrapping_add(1);
        self.identification
    }

    /// One has been answered.
    pub fn begin(&mut self, key: FlowKey, now_ns: u64) {
        self.count += 1;
        self.begin_again(key, now_ns);
    }

    pub fn begin_again(&mut self, key: FlowKey, now_ns: u64) {
        self.due.push_back((now_ns + AGAIN_AFTER_NS, key));
    }

    pub fn next_deadline_ns(&self) -> u64 {
        self.due.front().map_or(NEVER_NS, |(at, _)| *at)
    }

    /// The next whose answer may have to be repeated.
    pub fn due(&mut self, now_ns: u64) -> Option<FlowKey> {
        match self.due.front() {
            Some((at, _)) if *at <= now_ns => self.due.pop_front().map(|(_, key)| key),
            _ => None,
        }
    }

    fn cookie(&self, key: &FlowKey, irs: u32, period: u64, size: usize) -> Seq {
        let hash = self.hash(key, u64::from(irs) << 32 | period << 3 | size as u64);
        Seq((hash as u32 & !0xff) | ((period as u32 & 31) << 3) | size as u32)
    }

    /// Whether a segment's acknowledgement is a cookie of ours; what it says.
    pub fn check_cookie(&self, key: &FlowKey, tcp: &Tcp, now_ns: u64) -> Option<Agreed> {
        if now_ns >= self.cookies_until_ns || tcp.flags & (flags::SYN | flags::ACK) != flags::ACK {
            return None;
        }
        let iss = Seq(tcp.ack.wrapping_sub(1));
        let irs = tcp.seq.wrapping_sub(1);
        let size = (iss.0 & 7) as usize;
        let period = now_ns / COOKIE_PERIOD_NS;
        let ours = [period, period.saturating_sub(1)]
            .into_iter()
            .any(|p| self.cookie(key, irs, p, size) == iss);
        ours.then_some(Agreed {
            iss,
            irs: Seq(irs),
            mss: SIZES[size],
            peer_scale: None,
            sack: false,
        })
    }
}

impl HalfOpen {
    pub fn new(all: &Handshakes, key: &FlowKey, path: Path, tcp: &Tcp, now_ns: u64) -> Self {
        Self {
            path,
            agreed: Agreed {
                iss: all.initial(key, now_ns),
                irs: Seq(tcp.seq),
                mss: tcp.options.mss.unwrap_or(DEFAULT_MSS).max(MIN_MSS),
                peer_scale: tcp.options.window_scale,
                sack: tcp.options.sack_permitted,
            },
            answers: 1,
            bare: false,
        }
    }

    pub fn from_cookie(agreed: Agreed, path: Path) -> Self {
        Self {
            path,
            agreed,
            answers: 0,
            bare: true,
        }
    }

    /// Puts what is needed into the number of the answer.
    pub fn make_cookie(&mut self, all: &mut Handshakes, key: &FlowKey, now_ns: u64) {
        let size = SIZES
            .iter()
            .rposition(|s| *s <= self.agreed.mss)
            .unwrap_or(0);
        self.agreed.iss = all.cookie(key, self.agreed.irs.0, now_ns / COOKIE_PERIOD_NS, size);
        self.bare = true;
        all.cookies_until_ns = now_ns + 2 * COOKIE_PERIOD_NS;
    }

    /// Counts one more answer; false when there were enough.
    pub fn again(&mut self) -> bool {
        self.answers += 1;
        self.answers <= ANSWERS
    }

    /// The SYN's answer.
    pub fn answer(&self, key: &FlowKey, mss: u16) -> TcpOut {
        TcpOut {
            source: key.local_port,
            target: key.remote_port,
            seq: self.agreed.iss.0,
            ack: (self.agreed.irs + 1).0,
            flags: flags::SYN | flags::ACK,
            window: syn_window(DEFAULT_RECEIVE_LIMIT),
            mss: Some(mss),
            window_scale: (!self.bare && self.agreed.peer_scale.is_some()).then_some(WINDOW_SCALE),
            sack_permitted: !self.bare && self.agreed.sack,
            ..TcpOut::default()
        }
    }
}
