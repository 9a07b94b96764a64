//! UDP.

use super::{
    Cx, Inner, MAX_DATAGRAM_BYTES, MAX_DATAGRAMS, MAX_LOOPBACK, MAX_UDP, MAX_WAITING,
    RESOLVE_LIMIT_NS, Socket, Waiting, covers, input::is_checked,
};
use crate::{
    link::{Frame, Link},
    queues::{Chunk, Pool},
    shared::{Hop, Message, Protocol},
    wire::{self, FlowKey, Ip, IpOptions, Packet, Path},
};
use alloc::{collections::VecDeque, vec::Vec};
use ebb_net::{Direction, Error, Report, SocketWakers};

/// Answers that wait to be taken by one socket.
const MAX_REPORTS: usize = 16;

/// A UDP socket.
pub(crate) struct Datagrams {
    pub address: Ip,
    pub port: u16,
    /// What it was bound to, before a peer gave it an address.
    pub bound_to: Ip,
    /// The unspecified address means IPv6 alone.
    pub only_v6: bool,
    /// The one it hears, if that is set.
    pub peer: Option<(Ip, u16)>,
    /// Others may be bound to the same.
    pub shared: bool,
    pub queue: VecDeque<ReceivedDatagram>,
    pub bytes: usize,
    /// What a datagram to the peer met with.
    pub error: Option<Error>,
    pub reports: VecDeque<Report>,
    pub wants_reports: bool,
    pub groups: Vec<Member>,
    pub unicast: IpOptions,
    pub group_hop_limit: u8,
    pub group_loop: bool,
    pub dont_fragment: bool,
    pub wakers: SocketWakers,
}

/// A group that a socket hears.
pub(crate) struct Member {
    pub group: Ip,
    /// Whether only those of `listed` are heard, or all but these.
    pub only: bool,
    pub listed: Vec<Ip>,
}

pub(crate) struct ReceivedDatagram {
    pub chunk: Chunk,
    pub from: (Ip, u16),
    pub to: Ip,
    pub ip: IpOptions,
}

impl Datagrams {
    pub fn new(address: Ip, port: u16, shared: bool) -> Self {
        Self {
            address,
            port,
            bound_to: address,
            only_v6: false,
            peer: None,
            shared,
            queue: VecDeque::new(),
            bytes: 0,
            error: None,
            reports: VecDeque::new(),
            wants_reports: false,
            groups: Vec::new(),
            unicast: IpOptions {
                hop_limit: 64,
                traffic_class: 0,
            },
            group_hop_limit: 1,
            group_loop: true,
            dont_fragment: false,
            wakers: SocketWakers::default(),
        }
    }

    /// How exactly a datagram is for this socket; `None` when it does not hear it.
    fn score(&self, key: &FlowKey) -> Option<u8> {
        let exact = match self.address == key.local {
            true => 1,
            false if covers(self.address, self.only_v6, key.local) => 0,
            false => return None,
        };
        match self.peer {
            None => Some(exact),
            Some(peer) if peer == (key.remote, key.remote_port) => Some(exact + 2),
            Some(_) => None,
        }
    }

    /// Whether it hears what is sent to a group or to all. As on Linux, a socket that is no member hears a group that others
    /// of this machine are members of.
    fn hears(&self, key: &FlowKey) -> bool {
        let member = self.groups.iter().find(|m| m.group == key.local);
        self.score(key).is_some() && member.is_none_or(|m| m.listed.contains(&key.remote) == m.only)
    }

    /// Notes what a datagram met with.
    pub fn report(&mut self, report: Report, is_hard: bool) {
        if self.wants_reports || self.peer.is_some() && is_hard {
            self.error = Some(report.error);
        } else {
            return;
        }
        if self.wants_reports && self.reports.len() < MAX_REPORTS {
            self.reports.push_back(report);
        }
        self.wakers.wake_all();
    }

    /// Takes a datagram in. False when there is no room.
    fn push(&mut self, datagram: ReceivedDatagram) -> Result<(), Chunk> {
        let held = datagram.chunk.buffer.len();
        if self.queue.len() >= MAX_DATAGRAMS || self.bytes + held > MAX_DATAGRAM_BYTES {
            return Err(datagram.chunk);
        }
        self.bytes += held;
        self.queue.push_back(datagram);
        self.wakers.wake(Direction::Read);
        Ok(())
    }
}

/// Where a datagram goes: its headers, the next hop, and whether that one's hardware address is known.
struct Way {
    path: Path,
    hop: Hop,
    resolved: bool,
    ip: IpOptions,
}

impl Inner {
    pub(super) fn input_udp<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        frame: Frame,
        packet: Packet,
        may_steer: bool,
    ) {
        let key = packet.key;
        if !is_checked(&frame, &packet, Protocol::Udp) {
            return self.malformed(frame);
        }
        self.refresh(cx);
        if key.local.is_multicast() || self.routes.is_broadcast(key.local) {
            return self.input_for_all(cx, frame, &packet, may_steer);
        }
        if !self.routes.is_plausible(&key, frame.local) {
            return self.recycle(frame);
        }
        if let Some(id) = self.datagrams(&key) {
            return self.deliver(id, frame, &packet);
        }
        let left = if may_steer && cx.shared.cores > 1 {
            self.steer(cx, frame, Protocol::Udp, &key)
        } else {
            Some(frame)
        };
        if let Some(frame) = left {
            self.nobody_hears(cx, &frame, &packet);
            self.recycle(frame);
        }
    }

    /// The socket that hears a datagram to one host: the one that is bound most exactly, and of several the newest.
    pub(super) fn datagrams(&self, key: &FlowKey) -> Option<u32> {
        let ids = self.ports.get(&(Protocol::Udp, key.local_port))?;
        let score = |id: &u32| match self.sockets.get(*id as usize) {
            Some(Socket::Datagrams(socket)) => socket.score(key),
            _ => None,
        };
        // `max_by_key` gives the last of the best.
        let scored = ids.iter().filter_map(|id| Some((score(id)?, *id)));
        scored.max_by_key(|(score, _)| *score).map(|(_, id)| id)
    }

    /// A datagram to a group or to everybody: each socket of the port gets its own.
    fn input_for_all<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        frame: Frame,
        packet: &Packet,
        may_steer: bool,
    ) {
        let key = &packet.key;
        let is_heard = !key.local.is_multicast()
            || key.local == Ip::v4(u32::MAX)
            || cx.shared.hears(key.local);
        if !is_heard || self.routes.is_local(key.remote) && !frame.local {
            return self.recycle(frame);
        }
        if may_steer && cx.shared.cores > 1 {
            let cores = cx.shared.cores_of(Protocol::Udp, key.local_port);
            for core in (0..cx.shared.cores).filter(|c| *c != cx.core && cores >> c & 1 == 1) {
                self.stats.steered += 1;
                let mut copy = Frame::new(frame.flatten().into_boxed_slice(), true);
                (copy.local, copy.card) = (frame.local, frame.card);
                if !cx.shared.tell(core, Message::Frame(copy)) {
                    self.stats.dropped += 1;
                }
            }
        }
        let ids = self.ports.get(&(Protocol::Udp, key.local_port));
        let hearers: Vec<u32> = ids
            .into_iter()
            .flatten()
            .copied()
            .filter(|id| match self.sockets.get(*id as usize) {
                Some(Socket::Datagrams(socket)) => socket.hears(key),
                _ => false,
            })
            .collect();
        for id in hearers {
            let copy = Frame::new(frame.flatten().into_boxed_slice(), true);
            self.deliver(id, copy, packet);
        }
        self.recycle(frame);
    }

    fn deliver(&mut self, id: u32, frame: Frame, packet: &Packet) {
        let Some(Socket::Datagrams(socket)) = self.sockets.get_mut(id as usize) else {
            return self.recycle(frame);
        };
        let key = &packet.key;
        let datagram = ReceivedDatagram {
            ip: IpOptions::of(frame.first.bytes()),
            chunk: payload(frame, packet, &mut self.pool),
            from: (key.remote, key.remote_port),
            to: key.local,
        };
        let length = packet.payload.len() as u64;
        match socket.push(datagram) {
            Ok(()) => self.stats.bytes_in += length,
            Err(chunk) => {
                self.stats.dropped += 1;
                self.pool.give(chunk.buffer);
            }
        }
    }

    /// Sends a datagram of a socket.
    pub(crate) fn send_datagram<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        id: u32,
        bytes: &[u8],
        to: (Ip, u16),
        from: Option<Ip>,
    ) -> Result<(), Error> {
        if bytes.len() > MAX_UDP {
            return Err(Error::MessageTooLong);
        }
        self.refresh(cx);
        let Some(Socket::Datagrams(socket)) = self.sockets.get(id as usize) else {
            return Err(Error::InvalidInput);
        };
        let wanted = match from {
            Some(ip) if !self.routes.is_local(ip) => return Err(Error::AddressNotAvailable),
            Some(ip) => ip,
            None if socket.address.is_multicast() => Ip::UNSPECIFIED,
            None => socket.address,
        };
        let route = self.route(to.0, wanted)?;
        let source = if wanted.is_unspecified() {
            route.source
        } else {
            wanted
        };
        if source.is_v4() != to.0.is_v4() {
            return Err(Error::InvalidInput);
        }
        let (path, resolved) = cx.path(source, to.0, route);
        let hop = route.hop;
        let to_group = to.0.is_multicast();
        let way = Way {
            path,
            hop,
            resolved,
            ip: IpOptions {
                hop_limit: if to_group {
                    socket.group_hop_limit
                } else {
                    socket.unicast.hop_limit
                },
                ..socket.unicast
            },
        };
        let loops = to_group && socket.group_loop && cx.shared.hears(to.0);
        let datagram = udp(&path, socket.port, to.1, bytes);
        let mtu = cx.mtu(&path);
        let is_long = path.headers() - wire::ETHERNET + datagram.len() > mtu;
        if is_long && (socket.dont_fragment || !source.is_v4()) {
            // Only IPv4 is cut up here; for IPv6 the application keeps to the MTU.
            return Err(Error::MessageTooLong);
        }
        if loops || self.routes.is_broadcast(to.0) {
            let mut way = Way {
                hop: Hop::Local,
                ..way
            };
            way.path.source_mac = [0; 6];
            let _ = self.send_whole(cx, &way, &datagram);
        }
        if to_group && way.ip.hop_limit == 0 {
            return Ok(());
        }
        if is_long {
            return self.send_fragments(cx, &way, &datagram, mtu);
        }
        self.send_whole(cx, &way, &datagram)
    }

    fn send_whole<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        way: &Way,
        datagram: &[u8],
    ) -> Result<(), Error> {
        let mut frame = alloc::vec![0; way.path.headers()];
        way.path
            .write(&mut frame, wire::PROTOCOL_UDP, datagram.len());
        way.ip.write(&mut frame);
        frame.extend_from_slice(datagram);
        self.send_frame(cx, way, frame)
    }

    /// Cuts a datagram into IPv4 fragments.
    fn send_fragments<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        way: &Way,
        datagram: &[u8],
        mtu: usize,
    ) -> Result<(), Error> {
        let most = (mtu - wire::IPV4) & !7;
        let id = self.handshakes.next_identification();
        for (n, part) in datagram.chunks(most).enumerate() {
            let offset = n * most;
            let last = offset + part.len() == datagram.len();
            let mut frame = alloc::vec![0; way.path.headers()];
            way.path.write(&mut frame, wire::PROTOCOL_UDP, part.len());
            let ip = &mut frame[wire::ETHERNET..];
            ip[4..6].copy_from_slice(&id.to_be_bytes());
            let field = (offset / 8) as u16 | if last { 0 } else { 0x2000 };
            ip[6..8].copy_from_slice(&field.to_be_bytes());
            way.ip.write(&mut frame);
            frame.extend_from_slice(part);
            self.send_frame(cx, way, frame)?;
        }
        Ok(())
    }

    fn send_frame<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        way: &Way,
        frame: Vec<u8>,
    ) -> Result<(), Error> {
        match way.hop {
            Hop::Local => {
                if self.outgoing.loopback.len() >= MAX_LOOPBACK {
                    return Err(Error::WouldBlock);
                }
                let frame = Frame::to_self(frame.into_boxed_slice());
                self.outgoing.loopback.push_back(frame);
            }
            Hop::Via(_) if way.resolved => {
                if !self.transmit(cx, way.path.card, frame) {
                    self.stats.dropped += 1;
                }
            }
            Hop::Via(hop) => {
                // The newest push the oldest out.
                if self.waiting.len() >= MAX_WAITING {
                    self.waiting.pop_front();
                    self.stats.dropped += 1;
                }
                self.waiting.push_back(Waiting {
                    card: way.path.card,
                    hop,
                    until_ns: cx.now_ns + RESOLVE_LIMIT_NS,
                    frame,
                });
                self.resolve_soon(cx);
            }
        }
        Ok(())
    }
}

/// The payload of a datagram, in one piece.
fn payload(frame: Frame, packet: &Packet, pool: &mut Pool) -> Chunk {
    if frame.more.is_empty() {
        let start = frame.first.start as usize;
        let mut chunk = frame.first;
        chunk.start = (start + packet.payload.start) as u32;
        chunk.end = (start + packet.payload.end) as u32;
        return chunk;
    }
    let whole = frame.flatten();
    let body = whole[packet.payload.clone()].to_vec().into_boxed_slice();
    pool.give(frame.first.buffer);
    frame.more.into_iter().for_each(|c| pool.give(c.buffer));
    let length = body.len();
    Chunk::new(body, 0, length)
}

/// A UDP header and what follows it.
fn udp(path: &Path, source_port: u16, target_port: u16, bytes: &[u8]) -> Vec<u8> {
    let length = wire::UDP + bytes.len();
    let mut datagram = Vec::with_capacity(length);
    datagram.extend_from_slice(&source_port.to_be_bytes());
    datagram.extend_from_slice(&target_port.to_be_bytes());
    datagram.extend_from_slice(&(length as u16).to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(bytes);
    let pseudo = wire::pseudo_header(path.source, path.target, wire::PROTOCOL_UDP, length);
    let check = match !wire::fold(wire::sum(&datagram, pseudo)) {
        0 => 0xffff,
        check => check,
    };
    datagram[6..8].copy_from_slice(&check.to_ne_bytes());
    datagram
}
