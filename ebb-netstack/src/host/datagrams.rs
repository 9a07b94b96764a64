//! UDP.

use super::{
    Cx, Inner, MAX_DATAGRAM_BYTES, MAX_DATAGRAMS, MAX_LOOPBACK, MAX_UDP, MAX_WAITING,
    RESOLVE_LIMIT_NS, Socket, Waiting, input::is_checked,
};
use crate::{
    link::{Frame, Link},
    queues::Chunk,
    shared::{Hop, Protocol},
    wire::{self, Ip, Packet, Path},
};
use alloc::vec::Vec;
use ebb_net::{Direction, Error};

/// Where a datagram goes: its headers, the next hop, and whether that one's hardware address is known.
struct Way {
    path: Path,
    hop: Hop,
    resolved: bool,
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
        if !self.routes.is_plausible(&key, frame.local) && !key.local.is_multicast() {
            return self.recycle(frame);
        }
        let Some(id) = self.datagrams(key.local, key.local_port) else {
            let left = if may_steer && cx.shared.cores > 1 {
                self.steer(cx, frame, Protocol::Udp, &key)
            } else {
                Some(frame)
            };
            if let Some(frame) = left {
                self.recycle(frame);
            }
            return;
        };
        let Some(Socket::Datagrams(socket)) = self.sockets.get_mut(id as usize) else {
            return self.recycle(frame);
        };
        let length = packet.payload.len();
        let held = frame.first.buffer.len().max(length);
        if socket.queue.len() >= MAX_DATAGRAMS || socket.bytes + held > MAX_DATAGRAM_BYTES {
            self.stats.dropped += 1;
            return self.recycle(frame);
        }
        self.stats.bytes_in += length as u64;
        let chunk = if frame.more.is_empty() {
            let start = frame.first.start as usize;
            let mut chunk = frame.first;
            chunk.start = (start + packet.payload.start) as u32;
            chunk.end = (start + packet.payload.end) as u32;
            chunk
        } else {
            let whole = frame.flatten();
            let body = whole[packet.payload.clone()].to_vec().into_boxed_slice();
            self.pool.give(frame.first.buffer);
            frame
                .more
                .into_iter()
                .for_each(|c| self.pool.give(c.buffer));
            Chunk::new(body, 0, length)
        };
        socket.bytes += chunk.buffer.len();
        socket.queue.push_back((chunk, key.remote, key.remote_port));
        socket.wakers.wake(Direction::Read);
    }

    /// Sends a datagram.
    pub(crate) fn send_datagram<L: Link>(
        &mut self,
        cx: &Cx<'_, L>,
        local: (Ip, u16),
        to: (Ip, u16),
        bytes: &[u8],
    ) -> Result<(), Error> {
        if bytes.len() > MAX_UDP {
            return Err(Error::MessageTooLong);
        }
        self.refresh(cx);
        let (source, hop) = self.route(to.0)?;
        let source = if local.0.is_unspecified() {
            source
        } else {
            local.0
        };
        if source.is_v4() != to.0.is_v4() {
            return Err(Error::InvalidInput);
        }
        let (path, resolved) = cx.path(source, to.0, hop);
        let way = Way {
            path,
            hop,
            resolved,
        };
        let datagram = udp(&path, local.1, to.1, bytes);
        let mtu = cx.mtu(&path);
        if path.headers() - wire::ETHERNET + datagram.len() > mtu {
            // Only IPv4 is cut up here; for IPv6 the application keeps to the MTU.
            if !source.is_v4() {
                return Err(Error::MessageTooLong);
            }
            return self.send_fragments(cx, &way, &datagram, mtu);
        }
        let mut frame = alloc::vec![0; path.headers()];
        path.write(&mut frame, wire::PROTOCOL_UDP, datagram.len());
        frame.extend_from_slice(&datagram);
        self.send_frame(cx, &way, frame)
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
            ip[10..12].copy_from_slice(&[0, 0]);
            let check = !wire::fold(wire::sum(ip, 0));
            ip[10..12].copy_from_slice(&check.to_ne_bytes());
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
                if !self.transmit(cx, frame) {
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
