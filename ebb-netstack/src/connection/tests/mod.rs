//! One connection against a script: one rule of an RFC, one test.
//!
//! Numbers in scripts count from either side's SYN, whose own number is 0; data starts at 1. `send!` is a segment of the
//! peer, `recv!` the next one that the connection sends (PSH is not looked at), `recv!(t, nothing)` says that there is none.

extern crate std;

mod attacks;
mod congestion;
mod info;
mod keepalive;
mod open;
mod retransmission;
mod sack;
mod states;
mod windows;

use alloc::{boxed::Box, collections::VecDeque, vec, vec::Vec};

use ebb_net::Error;

use super::*;
use crate::{
    queues::{Chunk, Pool},
    time::MILLISECOND_NS,
    wire::{Ip, Options, Tcp, flags},
};

const ISS: u32 = 0xffff_fe00;
const IRS: u32 = 0x7fff_ff00;
const MSS: u16 = 1000;

/// What the peer sends.
#[derive(Clone)]
struct In {
    flags: u8,
    seq: u32,
    ack: u32,
    window: u16,
    data: Vec<u8>,
    options: Options,
}

impl Default for In {
    fn default() -> Self {
        Self {
            flags: 0,
            seq: 0,
            ack: 0,
            window: 60_000,
            data: Vec::new(),
            options: Options::default(),
        }
    }
}

/// What the connection sent.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Out {
    flags: u8,
    seq: u32,
    ack: u32,
    len: usize,
}

impl core::fmt::Debug for Out {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (flag, name) in [
            (flags::SYN, "SYN "),
            (flags::FIN, "FIN "),
            (flags::RST, "RST "),
            (flags::ACK, "ACK "),
        ] {
            if self.flags & flag != 0 {
                f.write_str(name)?;
            }
        }
        write!(f, "seq {} ack {} len {}", self.seq, self.ack, self.len)
    }
}

#[derive(Default)]
struct Sink {
    out: VecDeque<(Out, TcpOut)>,
    full: bool,
}

impl SegmentSink for Sink {
    fn send(
        &mut self,
        _: &Path,
        header: TcpOut,
        payload: Option<(&mut SendQueue, usize, usize)>,
        _: usize,
    ) -> bool {
        if self.full {
            return false;
        }
        let out = Out {
            flags: header.flags & !flags::PSH,
            seq: header.seq.wrapping_sub(ISS),
            ack: match header.flags & flags::ACK {
                0 => 0,
                _ => header.ack.wrapping_sub(IRS),
            },
            len: payload.map_or(0, |(.., len)| len),
        };
        self.out.push_back((out, header));
        true
    }

    fn longest(&self, _: &Path, mss: usize) -> usize {
        mss
    }
}

struct Bench {
    c: Box<Connection>,
    now_ns: u64,
    sink: Sink,
    pool: Pool,
    /// The last segment is to be answered with a reset.
    reset: bool,
}

impl Bench {
    fn key() -> (FlowKey, Path) {
        let (local, remote) = (Ip::v4(0x0a00_0001), Ip::v4(0x0a00_0002));
        let key = FlowKey {
            local,
            remote,
            local_port: 80,
            remote_port: 5000,
        };
        let path = Path {
            source_mac: [2, 0, 0, 0, 0, 1],
            target_mac: [2, 0, 0, 0, 0, 2],
            source: local,
            target: remote,
            loopback: false,
            card: 0,
        };
        (key, path)
    }

    fn of(c: Box<Connection>) -> Self {
        Self {
            c,
            now_ns: SECOND_NS,
            sink: Sink::default(),
            pool: Pool::new(2048, 16),
            reset: false,
        }
    }

    /// One that is being opened; its SYN is still to be sent.
    fn connecting() -> Self {
        let (key, path) = Self::key();
        Self::of(Connection::connecting(key, path, Seq(ISS), MSS, SECOND_NS))
    }

    fn established_with(peer_scale: Option<u8>, sack: bool) -> Self {
        let (key, path) = Self::key();
        let agreed = Agreed {
            iss: Seq(ISS),
            irs: Seq(IRS),
            mss: MSS,
            peer_scale,
            sack,
        };
        Self::of(Connection::accepted(key, path, &agreed, 60_000, SECOND_NS))
    }

    /// An accepted connection without options.
    fn established() -> Self {
        Self::established_with(None, false)
    }

    fn input(&mut self, segment: In) {
        let tcp = Tcp {
            seq: IRS.wrapping_add(segment.seq),
            ack: ISS.wrapping_add(segment.ack),
            flags: segment.flags,
            window: segment.window,
            options: segment.options,
        };
        let mut payload = Vec::new();
        if !segment.data.is_empty() {
            let len = segment.data.len();
            payload.push(Chunk::new(segment.data.into_boxed_slice(), 0, len));
        }
        self.reset = self
            .c
            .input(self.now_ns, &tcp, &mut payload, &mut self.pool);
        self.flush();
    }

    fn flush(&mut self) {
        self.c.output(self.now_ns, &mut self.sink);
    }

    /// The application writes.
    fn write(&mut self, count: usize) {
        self.c.send.queue.copy_in(&vec![7; count], &mut self.pool);
        self.flush();
    }

    /// The application takes what has come in order.
    fn read(&mut self) -> usize {
        let mut count = 0;
        while let Some(chunk) = self.c.receive.queue.take_front() {
            count += chunk.len();
        }
        self.c.after_take();
        self.flush();
        count
    }

    fn shutdown(&mut self) {
        self.c.shutdown();
        self.flush();
    }

    /// Lets time pass; what is due happens when it is due.
    fn wait_ms(&mut self, ms: u64) {
        let end_ns = self.now_ns + ms * MILLISECOND_NS;
        while self.c.deadline_ns() <= end_ns {
            self.now_ns = self.now_ns.max(self.c.deadline_ns());
            if let Some(header) = self.c.timer(self.now_ns) {
                let (_, path) = Self::key();
                self.sink.send(&path, header, None, 0);
            }
            self.flush();
        }
        self.now_ns = end_ns;
    }

    fn next(&mut self) -> Option<Out> {
        self.sink.out.pop_front().map(|(out, _)| out)
    }

    /// The next segment with its options.
    fn next_header(&mut self) -> TcpOut {
        self.sink.out.pop_front().expect("a segment").1
    }

    /// How many segments are sent, and how many bytes they carry; they are dropped.
    fn drain(&mut self) -> (usize, usize) {
        let all = self.sink.out.drain(..).map(|(out, _)| out.len);
        all.fold((0, 0), |(n, bytes), len| (n + 1, bytes + len))
    }
}

macro_rules! send {
    ($t:expr, $($flag:ident)|+ seq $seq:tt $(ack $ack:tt)? $(window $window:tt)? $(len $len:tt)? $(options $options:expr)?) => {
        $t.input(In {
            flags: $(flags::$flag)|+,
            seq: $seq,
            $(ack: $ack,)?
            $(window: $window,)?
            $(data: vec![7; $len],)?
            $(options: $options,)?
            ..In::default()
        })
    };
}

macro_rules! recv {
    ($t:expr, nothing) => {
        assert_eq!($t.next(), None)
    };
    ($t:expr, $($flag:ident)|+ seq $seq:tt $(ack $ack:tt)? $(len $len:tt)?) => {{
        #[allow(unused_mut, unused_assignments)]
        let mut expected = Out { flags: $(flags::$flag)|+, seq: $seq, ack: 0, len: 0 };
        $(expected.ack = $ack;)?
        $(expected.len = $len;)?
        assert_eq!($t.next(), Some(expected))
    }};
}
use {recv, send};
