//! What the fuzz targets drive (`fuzz/fuzz_targets`): a host with sockets of all kinds, given whatever frames.

use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use ebb_net::Configuration;

use crate::{
    address::Address,
    control::Control,
    host::{Host, Limits},
    link::{Capabilities, Frame, Link, Offload},
    shared::{Secret, Shared},
    time::SECOND_NS,
};

struct Nowhere;

impl Link for Nowhere {
    fn capabilities(&self, _: u8) -> Capabilities {
        Capabilities {
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            checksum: false,
            segmentation: true,
            fragments: 4,
            spreads: false,
        }
    }

    fn transmit(
        &self,
        _: u8,
        head: usize,
        _: Offload,
        fragments: &mut Vec<Bytes>,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> bool {
        fill(&mut vec![0; head]);
        fragments.clear();
        true
    }

    fn kick(&self) {}
}

/// Gives a host the frames that `data` consists of: each is preceded by its length (two bytes) and a byte that says
/// whether its checksum counts, whether time passes, and what the application does.
pub fn receive(mut data: &[u8]) {
    let (sender, mut mail) = ebb::sync::queue::queue(64);
    let shared = Arc::new(Shared::new(Secret(1, 2), vec![sender]));
    shared.configure(
        0,
        Configuration {
            addresses: vec![
                (Ipv4Addr::new(10, 0, 0, 1).into(), 24),
                (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into(), 64),
            ],
            ..Configuration::default()
        },
    );
    let limits = Limits {
        connections: 64,
        half_open: 4,
        time_wait: 8,
        received: 1 << 20,
        sent: 1 << 20,
    };
    let host = Host::new(Arc::clone(&shared), 0, Nowhere, limits, 3);
    let mut now_ns = SECOND_NS;
    let address = Address::parse("dhcp").unwrap_or_default();
    let mut control = Control::new(0, ([2, 0, 0, 0, 0, 1], 1500), address, 4, now_ns);
    let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let listener = host.tcp_listen(SocketAddr::new(any, 80), 8);
    let datagrams = host.udp_bind(SocketAddr::new(any, 53), false);
    let peer = SocketAddr::from(([10, 0, 0, 2], 80));
    shared.learn(0, peer.ip().into(), [2, 0, 0, 0, 0, 2], now_ns);
    let mut connections = Vec::new();
    connections.extend(host.tcp_connect(None, peer, now_ns));
    while let [low, high, what, rest @ ..] = data {
        let length = usize::from(u16::from_le_bytes([*low, *high]) % 2048).min(rest.len());
        let (frame, rest) = rest.split_at(length);
        data = rest;
        let mut frame = Frame::new(Box::from(frame), what & 1 != 0);
        if what & 2 != 0 && length > 100 {
            // In two buffers.
            let later = frame.first.buffer[80..length].to_vec().into_boxed_slice();
            frame.first.end = 80;
            frame.more.push(Frame::new(later, true).first);
        }
        host.input(frame, now_ns);
        for frame in host.take_slow() {
            control.input(&frame.flatten(), &shared, now_ns);
        }
        let (_, reassembled) = control.poll(&shared, now_ns);
        reassembled
            .into_iter()
            .for_each(|frame| host.input(frame, now_ns));
        while let Ok(message) = mail.try_recv() {
            host.message(message, now_ns);
        }
        if let Ok(listener) = listener
            && let Ok((id, _)) = host.tcp_accept(listener)
        {
            connections.push(id);
        }
        for id in &connections {
            if what & 4 != 0 {
                let _ = host.tcp_receive(*id, &mut |bytes| bytes.len().div_ceil(2), now_ns);
            }
            if what & 8 != 0 {
                let _ = host.tcp_send(*id, &[7; 3000], now_ns);
            }
            if what & 16 != 0 {
                let _ = host.tcp_shutdown_write(*id, now_ns);
            }
        }
        if what & 32 != 0 {
            connections.drain(..).for_each(|id| host.close(id, now_ns));
        }
        if let Ok(id) = datagrams {
            let _ = host.udp_receive(id, false, &mut |_| ());
        }
        host.flush(now_ns);
        if what & 64 != 0 {
            now_ns += SECOND_NS;
            host.timers(now_ns);
        }
    }
    connections.drain(..).for_each(|id| host.close(id, now_ns));
    drop(mail);
}

#[cfg(test)]
mod tests {
    /// The fuzz target's short form: noise, and frames that begin like real ones.
    #[test]
    fn noise_does_not_panic() {
        let mut seed = 9u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for _ in 0..3000 {
            let mut data = alloc::vec::Vec::new();
            for _ in 0..random() % 12 {
                let length = 14 + random() % 200;
                data.extend_from_slice(&(length as u16).to_le_bytes());
                data.push(random() as u8 | 1);
                let mut frame: alloc::vec::Vec<u8> = (0..length).map(|_| random() as u8).collect();
                frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
                let kinds = [[0x08, 0x00], [0x86, 0xdd], [0x08, 0x06]];
                frame[12..14].copy_from_slice(&kinds[random() as usize % 3]);
                if frame[12] == 8 && frame[13] == 0 && frame.len() > 60 {
                    let ip = &mut frame[14..];
                    ip[..4].copy_from_slice(&[0x45, 0, 0, length as u8 - 14]);
                    ip[6..10].copy_from_slice(&[
                        if random() % 4 == 0 { 0x20 } else { 0 },
                        0,
                        64,
                        [6, 17, 1][random() as usize % 3],
                    ]);
                    ip[10..20].copy_from_slice(&[0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
                    let check = !crate::wire::fold(crate::wire::sum(&ip[..20], 0));
                    ip[10..12].copy_from_slice(&check.to_ne_bytes());
                    ip[22..24].copy_from_slice(&[0, [80, 53][random() as usize % 2]]);
                    ip[32] = 0x50;
                } else if frame[12] == 0x86 && frame.len() > 80 {
                    let ip = &mut frame[14..];
                    ip[0] = 0x60;
                    ip[4..8].copy_from_slice(&[
                        0,
                        length as u8 - 54,
                        [6, 17, 58][random() as usize % 3],
                        255,
                    ]);
                    ip[24..40]
                        .copy_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
                    ip[42..44].copy_from_slice(&[0, 80]);
                }
                data.extend_from_slice(&frame);
            }
            super::receive(&data);
        }
    }
}
