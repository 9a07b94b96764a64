//! What was not delivered: the answers of ICMP that this machine gives, and what those that it gets mean to its sockets.
//!
//! What must hold: an answer about a TCP segment is believed only if its number is in flight (RFC 5927). None is given to a
//! group, or more often than a flood allows.

use super::{Cx, Inner, Socket};
use crate::{
    icmp::report,
    link::{Frame, Link},
    seq::Seq,
    shared::{Protocol, Undelivered},
    wire::{self, FlowKey, Packet},
};
use alloc::vec::Vec;
use ebb_net::{Error, Report};

/// The most that is quoted, so that an answer passes everywhere.
const MOST_QUOTED: usize = 548;

impl Inner {
    /// A datagram came for a port of this machine that nobody has.
    pub(super) fn nobody_hears<L: Link>(&mut self, cx: &Cx<'_, L>, frame: &Frame, packet: &Packet) {
        let key = &packet.key;
        if key.remote.is_unspecified() || key.remote.is_multicast() {
            return;
        }
        let (kind, code) = if key.local.is_v4() { (3, 3) } else { (1, 4) };
        if frame.local {
            // The sender is here, and needs no packet to learn it.
            let sent = FlowKey {
                local: key.remote,
                local_port: key.remote_port,
                remote: key.local,
                remote_port: key.local_port,
            };
            let whole = frame.flatten();
            let payload = whole.get(packet.payload.clone()).unwrap_or_default();
            let report = report(&sent, key.local, kind, code, 0, payload);
            return self.undelivered(
                cx,
                &Undelivered {
                    protocol: Protocol::Udp,
                    key: sent,
                    seq: 0,
                    report,
                },
            );
        }
        if !self.unreachable.allow(cx.now_ns) {
            return;
        }
        let whole = frame.flatten();
        let quoted = &whole[wire::ETHERNET..packet.payload.end.min(whole.len())];
        let quoted = &quoted[..quoted.len().min(MOST_QUOTED)];
        let mut body = Vec::with_capacity(8 + quoted.len());
        body.extend_from_slice(&[kind, code, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(quoted);
        let path = packet.answer_path();
        let (protocol, pseudo) = if key.local.is_v4() {
            (wire::PROTOCOL_ICMP, 0)
        } else {
            let protocol = wire::PROTOCOL_ICMPV6;
            let pseudo = wire::pseudo_header(path.source, path.target, protocol, body.len());
            (protocol, pseudo)
        };
        let check = !wire::fold(wire::sum(&body, pseudo));
        body[2..4].copy_from_slice(&check.to_ne_bytes());
        let mut answer = alloc::vec![0; path.headers()];
        path.write(&mut answer, protocol, body.len());
        answer.extend_from_slice(&body);
        self.transmit(cx, path.card, answer);
    }

    /// Something that was sent from here has met with something.
    pub(super) fn undelivered<L: Link>(&mut self, cx: &Cx<'_, L>, what: &Undelivered) {
        match what.protocol {
            Protocol::Udp => {
                let key = &what.key;
                let ids = self.ports.get(&(Protocol::Udp, key.local_port));
                let ids: Vec<u32> = ids.into_iter().flatten().copied().collect();
                for id in ids {
                    if let Some(Socket::Datagrams(socket)) = self.sockets.get_mut(id as usize)
                        && (socket.address.is_unspecified() || socket.address == key.local)
                        && socket
                            .peer
                            .is_none_or(|peer| peer == (key.remote, key.remote_port))
                    {
                        socket.report(what.report.clone(), is_hard(&what.report));
                    }
                }
            }
            Protocol::Tcp => {
                let Some(id) = self.connection_of(&what.key) else {
                    return;
                };
                let Some(Socket::Connection(connection)) = self.sockets.get_mut(id as usize) else {
                    return;
                };
                if !connection.is_in_flight(Seq(what.seq)) {
                    return;
                }
                if what.report.mtu > 0 {
                    let mss = cx.mss(&connection.path);
                    connection.path_takes_less(mss);
                } else {
                    connection.not_delivered(what.report.error);
                }
                self.settle(cx, id);
            }
        }
    }
}

/// Whether it will not get better by itself.
fn is_hard(report: &Report) -> bool {
    matches!(
        report.error,
        Error::ConnectionRefused | Error::MessageTooLong | Error::PermissionDenied
    )
}
