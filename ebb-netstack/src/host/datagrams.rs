//! UDP, and frames that are sent whole.

use super::{
    Host, Inner, LOOPBACK_MTU, MAX_DATAGRAM_BYTES, MAX_DATAGRAMS, MAX_LOOPBACK, MAX_UDP,
    MAX_WAITING, RESOLVE_AGAIN, RESOLVE_LIMIT, Socket, Waiting, input::is_plausible,
};
use crate::{
    connection::FlowKey,
    frame::{Frame, Offload, Port},
    queues::Chunk,
    shared::{Hop, Protocol},
    wire::{self, Ip, Packet, Path},
};
use alloc::vec::Vec;
use bytes::Bytes;
use ebb_net::{Direction, Error};

impl<P: Port> Host<P> {
    pub(super) fn input_udp(
        &self,
        inner: &mut Inner,
        frame: Frame,
        packet: Packet,
        key: FlowKey,
        may_steer: bool,
    ) {
        if !Self::is_checked(&frame, &packet, false) {
            inner.stats.malformed += 1;
            return inner.recycle(frame);
        }
        self.refresh(inner);
        if !is_plausible(&inner.routes, &key, frame.local) && !key.local.is_multicast() {
            return inner.recycle(frame);
        }
        let found = inner.datagrams(key.local, key.local_port);
        let Some(id) = found else {
            if may_steer && self.shared.cores > 1 {
                if let Some(frame) = self.steer(inner, frame, Protocol::Udp, &key, true) {
                    inner.recycle(frame);
                }
                return;
            }
            return inner.recycle(frame);
        };
        let Some(Socket::Datagrams(socket)) = inner.sockets.get_mut(id as usize) else {
            return inner.recycle(frame);
        };
        let length = packet.payload.len();
        let held = frame.first.buffer.len().max(length);
        if socket.queue.len() >= MAX_DATAGRAMS || socket.bytes + held > MAX_DATAGRAM_BYTES {
            inner.stats.dropped += 1;
            return inner.recycle(frame);
        }
        inner.stats.bytes_in += length as u64;
        let chunk = if frame.more.is_empty() {
            let start = frame.first.start as usize;
            let mut chunk = frame.first;
            chunk.start = (start + packet.payload.start) as u32;
            chunk.end = (start + packet.payload.end) as u32;
            chunk
        } else {
            let whole = frame.flatten();
            let body = whole[packet.payload.clone()].to_vec().into_boxed_slice();
            inner.pool.give(frame.first.buffer);
            frame
                .more
                .into_iter()
                .for_each(|c| inner.pool.give(c.buffer));
            Chunk::new(body, 0, length)
        };
        socket.bytes += chunk.buffer.len();
        socket.queue.push_back((chunk, key.remote, key.remote_port));
        socket.wakers.wake(Direction::Read);
    }

    /// Sends a datagram.
    pub(crate) fn send_datagram(
        &self,
        inner: &mut Inner,
        local: (Ip, u16),
        to: (Ip, u16),
        bytes: &[u8],
        now: u64,
    ) -> Result<(), Error> {
        if bytes.len() > MAX_UDP {
            return Err(Error::MessageTooLong);
        }
        self.refresh(inner);
        let (source, hop) = self.route(inner, to.0)?;
        let source = if local.0.is_unspecified() {
            source
        } else {
            local.0
        };
        if source.is_v4() != to.0.is_v4() {
            return Err(Error::InvalidInput);
        }
        let loopback = hop == Hop::Local;
        let mac = match hop {
            Hop::Local => Some([0; 6]),
            Hop::Via(hop) => self.hardware_address(hop, now),
        };
        let path = Path {
            source_mac: self.port.capabilities().mac,
            target_mac: mac.unwrap_or_default(),
            source,
            target: to.0,
            loopback,
        };
        let ip_header = path.headers() - wire::ETHERNET;
        let mtu = if loopback {
            LOOPBACK_MTU
        } else {
            self.port.capabilities().mtu
        };
        let length = wire::UDP + bytes.len();
        let mut datagram = Vec::with_capacity(length);
        datagram.extend_from_slice(&local.1.to_be_bytes());
        datagram.extend_from_slice(&to.1.to_be_bytes());
        datagram.extend_from_slice(&(length as u16).to_be_bytes());
        datagram.extend_from_slice(&[0, 0]);
        datagram.extend_from_slice(bytes);
        let pseudo = wire::pseudo_header(source, to.0, wire::PROTOCOL_UDP, length);
        let check = match !wire::fold(wire::sum(&datagram, pseudo)) {
            0 => 0xffff,
            check => check,
        };
        datagram[6..8].copy_from_slice(&check.to_ne_bytes());
        if ip_header + length > mtu {
            // Only IPv4 is cut up here; for IPv6 the application keeps to the MTU.
            if !source.is_v4() {
                return Err(Error::MessageTooLong);
            }
            return self.send_fragments(inner, &path, hop, mac.is_some(), &datagram, mtu, now);
        }
        let mut frame = alloc::vec![0; path.headers()];
        path.write(&mut frame, wire::PROTOCOL_UDP, length);
        frame.extend_from_slice(&datagram);
        self.send_frame(inner, &path, hop, mac.is_some(), frame, now)
    }

    /// Cuts a datagram into IPv4 fragments.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn send_fragments(
        &self,
        inner: &mut Inner,
        path: &Path,
        hop: Hop,
        resolved: bool,
        datagram: &[u8],
        mtu: usize,
        now: u64,
    ) -> Result<(), Error> {
        let most = (mtu - wire::IPV4) & !7;
        let id = inner.handshakes.next_identification(now);
        for (n, part) in datagram.chunks(most).enumerate() {
            let offset = n * most;
            let last = offset + part.len() == datagram.len();
            let mut frame = alloc::vec![0; path.headers()];
            path.write(&mut frame, wire::PROTOCOL_UDP, part.len());
            let ip = &mut frame[wire::ETHERNET..];
            ip[4..6].copy_from_slice(&id.to_be_bytes());
            let field = (offset / 8) as u16 | if last { 0 } else { 0x2000 };
            ip[6..8].copy_from_slice(&field.to_be_bytes());
            ip[10..12].copy_from_slice(&[0, 0]);
            let check = !wire::fold(wire::sum(ip, 0));
            ip[10..12].copy_from_slice(&check.to_ne_bytes());
            frame.extend_from_slice(part);
            self.send_frame(inner, path, hop, resolved, frame, now)?;
        }
        Ok(())
    }

    pub(super) fn send_frame(
        &self,
        inner: &mut Inner,
        path: &Path,
        hop: Hop,
        resolved: bool,
        frame: Vec<u8>,
        now: u64,
    ) -> Result<(), Error> {
        match hop {
            Hop::Local => {
                if inner.loopback.len() >= MAX_LOOPBACK {
                    return Err(Error::WouldBlock);
                }
                inner
                    .loopback
                    .push_back(Frame::to_self(frame.into_boxed_slice()));
            }
            Hop::Via(_) if resolved => {
                if !self.transmit(inner, frame) {
                    inner.stats.dropped += 1;
                }
            }
            Hop::Via(hop) => {
                // The newest push the oldest out.
                if inner.waiting.len() >= MAX_WAITING {
                    inner.waiting.pop_front();
                    inner.stats.dropped += 1;
                }
                inner.waiting.push_back(Waiting {
                    path: *path,
                    hop,
                    until: now + RESOLVE_LIMIT,
                    head: frame,
                });
                inner.resolve_at = inner.resolve_at.min(now + RESOLVE_AGAIN);
            }
        }
        Ok(())
    }

    /// Sends a complete frame.
    pub(crate) fn transmit(&self, inner: &mut Inner, frame: Vec<u8>) -> bool {
        let head = frame.len().min(wire::MAX_HEADERS);
        let frame = Bytes::from(frame);
        inner.fragments.clear();
        if frame.len() > head {
            inner.fragments.push(frame.slice(head..));
        }
        let sent = self
            .port
            .transmit(head, Offload::default(), &mut inner.fragments, &mut |out| {
                out.copy_from_slice(&frame[..head]);
            });
        inner.fragments.clear();
        inner.stats.frames_out += u64::from(sent);
        sent
    }

    /// Sends a complete frame of the slow path.
    pub fn transmit_raw(&self, frame: Vec<u8>) {
        let inner = &mut *self.inner.borrow_mut();
        self.transmit(inner, frame);
    }

    /// Tells the device of what was queued.
    pub fn kick(&self) {
        self.port.kick();
    }
}
