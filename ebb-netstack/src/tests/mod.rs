//! Two stacks on a link that loses, repeats, reorders and corrupts, in virtual time; every byte is compared.

extern crate std;

mod attacks;
mod cards;
mod control;
mod copies;
mod datagrams;
mod scale;
mod smoltcp;
mod transfer;
mod undelivered;

use alloc::{collections::BTreeMap, sync::Arc, vec, vec::Vec};
use core::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use bytes::Bytes;

use crate::{
    host::{BUFFER, Host, Limits},
    link::{Capabilities, Frame, Link, Offload},
    queues::Chunk,
    shared::{Secret, Shared},
    time::{MILLISECOND_NS, SECOND_NS},
    wire::{self, Ip, Parsed, flags},
};
use test_support::Random;

use ebb_net::{Configuration, Error, KeepAlive, SocketId, TcpOption};

/// A device that keeps what it is to send.
pub struct TestLink {
    out: RefCell<Vec<Vec<u8>>>,
    mac: [u8; 6],
    offload: bool,
    room: usize,
    /// Where the fragments lay that were to be sent.
    given: RefCell<Vec<core::ops::Range<usize>>>,
}

impl Link for TestLink {
    fn capabilities(&self, _: u8) -> Capabilities {
        Capabilities {
            mac: self.mac,
            mtu: 1500,
            checksum: self.offload,
            segmentation: self.offload,
            fragments: 4,
            spreads: false,
        }
    }

    fn transmit(
        &self,
        _: u8,
        head: usize,
        offload: Offload,
        fragments: &mut Vec<Bytes>,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> bool {
        let mut out = self.out.borrow_mut();
        if out.len() >= self.room {
            return false;
        }
        let mut frame = vec![0; head];
        fill(&mut frame);
        let place = |f: &Bytes| f.as_ptr().addr()..f.as_ptr().addr() + f.len();
        self.given.borrow_mut().extend(fragments.iter().map(place));
        fragments
            .drain(..)
            .for_each(|f| frame.extend_from_slice(&f));
        for mut frame in cut(frame, offload) {
            if let Some((start, offset)) = offload.checksum {
                let (start, offset) = (usize::from(start), usize::from(offset));
                let check = !wire::fold(wire::sum(&frame[start..], 0));
                frame[start + offset..][..2].copy_from_slice(&check.to_ne_bytes());
            }
            out.push(frame);
        }
        true
    }

    fn kick(&self) {}
}

/// What a device does with a segment that is too long.
fn cut(frame: Vec<u8>, offload: Offload) -> Vec<Vec<u8>> {
    let Some((mss, headers, v6)) = offload.segment else {
        return vec![frame];
    };
    let (mss, headers) = (usize::from(mss), usize::from(headers));
    let start = wire::ETHERNET + if v6 { wire::IPV6 } else { wire::IPV4 };
    let seq = u32::from_be_bytes(frame[start + 4..start + 8].try_into().unwrap());
    let parts = frame[headers..].chunks(mss);
    let count = parts.len();
    let mut out = Vec::new();
    for (n, part) in parts.enumerate() {
        let mut one = frame[..headers].to_vec();
        one.extend_from_slice(part);
        let length = one.len() - start;
        let ip = &mut one[wire::ETHERNET..];
        let (source, target) = if v6 {
            ip[4..6].copy_from_slice(&(length as u16).to_be_bytes());
            let at = |n: usize| Ip(u128::from_be_bytes(frame[n..n + 16].try_into().unwrap()));
            (at(22), at(38))
        } else {
            ip[2..4].copy_from_slice(&((wire::IPV4 + length) as u16).to_be_bytes());
            ip[10..12].copy_from_slice(&[0, 0]);
            let check = !wire::fold(wire::sum(&ip[..wire::IPV4], 0));
            ip[10..12].copy_from_slice(&check.to_ne_bytes());
            let at = |n: usize| Ip::v4(u32::from_be_bytes(frame[n..n + 4].try_into().unwrap()));
            (at(26), at(30))
        };
        one[start + 4..start + 8]
            .copy_from_slice(&(seq.wrapping_add((n * mss) as u32)).to_be_bytes());
        if n + 1 < count {
            one[start + 13] &= !(flags::FIN | flags::PSH);
        }
        let pseudo = wire::pseudo_header(source, target, wire::PROTOCOL_TCP, length);
        one[start + 16..start + 18].copy_from_slice(&wire::fold(pseudo).to_ne_bytes());
        out.push(one);
    }
    out
}

/// What a link does to frames, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    lose: u64,
    repeat: u64,
    reorder: u64,
    corrupt: u64,
}

struct Net {
    hosts: [Host<TestLink>; 2],
    link: BTreeMap<(u64, u64), (usize, Vec<u8>)>,
    now_ns: u64,
    count: u64,
    faults: Faults,
    random: Random,
    /// Every frame that was put on the link.
    trace: Option<Vec<(usize, Vec<u8>)>>,
}

const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const V4: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
const V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2),
];
const LATENCY_NS: u64 = 5 * MILLISECOND_NS;

pub fn host(n: usize, offload: bool, limits: Limits) -> Host<TestLink> {
    let (sender, receiver) = ebb::sync::queue::queue(256);
    // Nobody reads it: one core tells itself nothing that matters here.
    core::mem::forget(receiver);
    let shared = Arc::new(Shared::new(
        Secret(11 + n as u64, 0x1234_5678_9abc_def1),
        vec![sender],
    ));
    shared.configure(
        0,
        Configuration {
            addresses: vec![(V4[n].into(), 24), (V6[n].into(), 64)],
            ..Configuration::default()
        },
    );
    let port = TestLink {
        out: RefCell::default(),
        mac: MACS[n],
        offload,
        room: 256,
        given: RefCell::default(),
    };
    Host::new(shared, 0, port, limits, n as u64)
}

impl Net {
    fn new(faults: Faults, offload: bool, seed: u64) -> Self {
        Self::with_limits(faults, offload, seed, Limits::default())
    }

    fn with_limits(faults: Faults, offload: bool, seed: u64, limits: Limits) -> Self {
        Self {
            hosts: [host(0, offload, limits), host(1, offload, limits)],
            link: BTreeMap::new(),
            now_ns: SECOND_NS,
            count: 0,
            faults,
            random: Random::new(seed),
            trace: None,
        }
    }

    /// Lets everything go on that goes on by itself until `until`, calling `app` whenever something has happened. `app` returns
    /// whether all is done.
    fn run(&mut self, limit: u64, mut app: impl FnMut(&mut Self) -> bool) {
        let end = self.now_ns + limit;
        loop {
            if app(self) {
                return;
            }
            self.exchange();
            let arrival = self.link.keys().next().map_or(u64::MAX, |(at, _)| *at);
            let timer = self.hosts.iter().filter_map(Host::next_deadline_ns).min();
            // The application may have left something for later.
            let next = arrival
                .min(timer.unwrap_or(u64::MAX))
                .min(self.now_ns + SECOND_NS / 10);
            assert!(next <= end, "not done in time: {}", self.state());
            self.now_ns = self.now_ns.max(next);
            while let Some(entry) = self.link.first_entry()
                && entry.key().0 <= self.now_ns
            {
                let (to, frame) = entry.remove();
                self.hosts[to].input(received(&frame, false), self.now_ns);
            }
            for host in &self.hosts {
                host.timers(self.now_ns);
            }
        }
    }

    fn state(&self) -> alloc::string::String {
        alloc::format!("{:?} {:?}", self.hosts[0].stats(), self.hosts[1].stats())
    }

    /// Passes time while nothing happens but what the hosts do by themselves.
    fn idle(&mut self, time: u64) {
        let until = self.now_ns + time;
        while self.now_ns < until {
            self.exchange();
            let arrival = self.link.keys().next().map_or(u64::MAX, |(at, _)| *at);
            let timer = self.hosts.iter().filter_map(Host::next_deadline_ns).min();
            self.now_ns = arrival
                .min(timer.unwrap_or(u64::MAX))
                .clamp(self.now_ns, until);
            while let Some(entry) = self.link.first_entry()
                && entry.key().0 <= self.now_ns
            {
                let (to, frame) = entry.remove();
                self.hosts[to].input(received(&frame, false), self.now_ns);
            }
            for host in &self.hosts {
                host.timers(self.now_ns);
            }
        }
    }

    /// Lets both sides send.
    fn exchange(&mut self) {
        for n in 0..2 {
            self.hosts[n]
                .shared
                .learn(0, V4[1 - n].into_ip(), MACS[1 - n], self.now_ns);
            self.hosts[n]
                .shared
                .learn(0, V6[1 - n].into_ip(), MACS[1 - n], self.now_ns);
            self.hosts[n].flush(self.now_ns);
            let frames: Vec<_> = self.hosts[n].link.out.borrow_mut().drain(..).collect();
            for frame in frames {
                if let Some(trace) = &mut self.trace {
                    trace.push((n, frame.clone()));
                }
                self.put(1 - n, frame);
            }
        }
    }

    fn put(&mut self, to: usize, mut frame: Vec<u8>) {
        let faults = self.faults;
        if self.random.chance(faults.lose) {
            return;
        }
        if self.random.chance(faults.repeat) {
            let again = frame.clone();
            self.deliver(to, again);
        }
        if self.random.chance(faults.corrupt) {
            let at = self.random.below(frame.len() as u64) as usize;
            frame[at] ^= 1 << self.random.below(8);
        }
        self.deliver(to, frame);
    }

    fn deliver(&mut self, to: usize, frame: Vec<u8>) {
        self.count += 1;
        let late = if self.random.chance(self.faults.reorder) {
            self.random.below(4 * LATENCY_NS)
        } else {
            0
        };
        self.link
            .insert((self.now_ns + LATENCY_NS + late, self.count), (to, frame));
    }

    fn connect(&mut self, v6: bool) -> (SocketId, SocketId, SocketId) {
        let address: IpAddr = if v6 { V6[1].into() } else { V4[1].into() };
        let listener = self.hosts[1]
            .tcp_listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 80), 16)
            .unwrap();
        let client = self.hosts[0]
            .tcp_connect(None, SocketAddr::new(address, 80), self.now_ns)
            .unwrap();
        let mut server = None;
        self.run(200 * SECOND_NS, |net| {
            if let Ok((id, _)) = net.hosts[1].tcp_accept(listener) {
                server = Some(id);
            }
            server.is_some() && net.hosts[0].tcp_connected(client).is_ok()
        });
        (client, server.unwrap(), listener)
    }
}

/// A frame in a device's buffer.
fn received(bytes: &[u8], checked: bool) -> Frame {
    let mut buffer = vec![0; BUFFER].into_boxed_slice();
    buffer[..bytes.len()].copy_from_slice(bytes);
    Frame {
        first: Chunk::new(buffer, 0, bytes.len()),
        more: Vec::new(),
        checked,
        local: false,
        card: 0,
    }
}

trait IntoIp {
    fn into_ip(self) -> Ip;
}

impl<T: Into<IpAddr>> IntoIp for T {
    fn into_ip(self) -> Ip {
        Ip::from(self.into())
    }
}

fn byte(n: usize) -> u8 {
    (n ^ n >> 8 ^ n >> 16) as u8
}

/// Both sides send `size` bytes, in pieces of all sizes and by all means, and end.
fn talk(net: &mut Net, sockets: [SocketId; 2], size: usize) {
    converse(net, sockets, size, 900);
}

/// As [`talk`]; `eager` is how likely a reader takes the next piece at once, in thousandths.
fn converse(net: &mut Net, sockets: [SocketId; 2], size: usize, eager: u64) {
    let mut sent = [0; 2];
    let mut received = [0; 2];
    let mut ended = [false; 2];
    let mut random = Random::new(net.random.next());
    net.run(3600 * SECOND_NS, |net| {
        let now_ns = net.now_ns;
        for n in 0..2 {
            while sent[n] < size {
                let piece = (random.below(5000) as usize + 1).min(size - sent[n]);
                let bytes: Vec<u8> = (sent[n]..sent[n] + piece).map(byte).collect();
                let result = if random.chance(500) {
                    net.hosts[n].tcp_send(sockets[n], &bytes, now_ns)
                } else {
                    net.hosts[n].tcp_send_buffers(
                        sockets[n],
                        &mut [Bytes::from(bytes)].into(),
                        now_ns,
                    )
                };
                match result {
                    Ok(count) => sent[n] += count,
                    Err(Error::WouldBlock) => break,
                    Err(error) => panic!("sending: {error}; {}", net.state()),
                }
                if sent[n] == size {
                    net.hosts[n].tcp_shutdown_write(sockets[n], now_ns).unwrap();
                }
            }
            // Slowly now and then, so that windows close.
            while random.chance(eager) {
                let at = &mut received[n];
                let most = random.below(8000) as usize + 1;
                let result = net.hosts[n].tcp_receive(
                    sockets[n],
                    &mut |bytes| {
                        let take = bytes.len().min(most);
                        for byte_in in &bytes[..take] {
                            assert_eq!(*byte_in, byte(*at), "at {at}");
                            *at += 1;
                        }
                        take
                    },
                    now_ns,
                );
                match result {
                    Ok(true) => {}
                    Ok(false) => {
                        assert_eq!(received[n], size);
                        ended[n] = true;
                        break;
                    }
                    Err(Error::WouldBlock) => break,
                    Err(error) => panic!("receiving: {error}; {}", net.state()),
                }
            }
        }
        ended == [true, true]
    });
}

fn conversation(faults: Faults, offload: bool, v6: bool, seed: u64, size: usize) {
    let mut net = Net::new(faults, offload, seed);
    let (client, server, listener) = net.connect(v6);
    talk(&mut net, [client, server], size);
    let now_ns = net.now_ns;
    net.hosts[0].close(client, now_ns);
    net.hosts[1].close(server, now_ns);
    net.hosts[1].close(listener, now_ns);
    net.idle(400 * SECOND_NS);
    for host in &net.hosts {
        let inner = host.inner.borrow();
        assert_eq!(inner.connections, 0, "{faults:?} {seed}");
        assert_eq!(inner.received, 0);
        assert_eq!(inner.connected.len() + inner.flows.len(), 0);
        assert_eq!(inner.handshakes.count, 0);
    }
}

/// A frame as a peer would send it.
fn forge(
    source: (Ip, u16),
    target: (Ip, u16),
    change: impl FnOnce(&mut wire::TcpOut),
    payload: &[u8],
) -> Frame {
    let path = wire::Path {
        source_mac: MACS[0],
        target_mac: MACS[1],
        source: source.0,
        target: target.0,
        loopback: false,
        card: 0,
    };
    let mut header = wire::TcpOut {
        source: source.1,
        target: target.1,
        window: 65_535,
        ..Default::default()
    };
    change(&mut header);
    let mut frame = vec![0; path.headers() + header.length() + payload.len()];
    let at = path.write(
        &mut frame,
        wire::PROTOCOL_TCP,
        header.length() + payload.len(),
    );
    let end = at + header.write(&mut frame[at..]);
    frame[end..].copy_from_slice(payload);
    Frame::new(frame.into_boxed_slice(), true)
}
