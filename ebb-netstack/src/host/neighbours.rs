//! Routes, and what waits for hardware addresses.

use super::{Cx, Inner, RESOLVE_AGAIN_NS, RESOLVE_LIMIT_NS, Socket};
use crate::{
    connection::State,
    link::Link,
    shared::{Hop, Message, Route},
    time::NEVER_NS,
    wire::{self, Ip, Path},
};
use core::sync::atomic::Ordering;
use ebb_net::Error;

impl Inner {
    /// Takes over changed routes.
    #[inline]
    pub(crate) fn refresh<L: Link>(&mut self, cx: &Cx<'_, L>) {
        let version = cx.shared.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            self.routes = cx.shared.routes();
        }
    }

    /// The way to an address, from one of this machine's or (unspecified) whichever is best.
    pub(crate) fn route(&self, to: Ip, from: Ip) -> Result<Route, Error> {
        if to.is_unspecified() {
            return Err(Error::InvalidInput);
        }
        let route = self.routes.route(to, from);
        route.ok_or(Error::NetworkUnreachable)
    }

    pub(crate) fn wait_for_neighbour<L: Link>(&mut self, cx: &Cx<'_, L>, id: u32) {
        self.unresolved.push(id);
        self.resolve_soon(cx);
    }

    pub(super) fn resolve_soon<L: Link>(&mut self, cx: &Cx<'_, L>) {
        self.resolve_at_ns = self.resolve_at_ns.min(cx.now_ns + RESOLVE_AGAIN_NS);
    }

    /// Sends whatever was waiting for a hardware address that is now known.
    pub(super) fn resolve<L: Link>(&mut self, cx: &Cx<'_, L>) {
        self.refresh(cx);
        for id in core::mem::take(&mut self.unresolved) {
            let Some(Socket::Connection(connection)) = self.sockets.get_mut(id as usize) else {
                continue;
            };
            if connection.resolved || connection.state == State::Closed {
                continue;
            }
            let (card, path) = (connection.path.card, connection.path);
            let found = match self.routes.route(path.target, path.source) {
                Some(Route {
                    hop: Hop::Via(hop),
                    card: by,
                    ..
                }) if by == card => cx.hardware_address(card, hop),
                _ => None,
            };
            match found {
                Some(mac) => {
                    connection.path.target_mac = mac;
                    connection.resolved = true;
                }
                None if cx.now_ns.saturating_sub(connection.started_ns()) > RESOLVE_LIMIT_NS => {
                    connection.fail(Some(Error::HostUnreachable));
                }
                None => {
                    self.unresolved.push(id);
                    continue;
                }
            }
            self.settle(cx, id);
        }
        for _ in 0..self.waiting.len() {
            let Some(mut packet) = self.waiting.pop_front() else {
                break;
            };
            match cx.hardware_address(packet.card, packet.hop) {
                Some(mac) => {
                    packet.frame[..6].copy_from_slice(&mac);
                    self.transmit(cx, packet.card, packet.frame);
                }
                None if packet.until_ns <= cx.now_ns => self.stats.dropped += 1,
                None => self.waiting.push_back(packet),
            }
        }
        let left = !self.unresolved.is_empty() || !self.waiting.is_empty();
        self.resolve_at_ns = if left {
            cx.now_ns + RESOLVE_AGAIN_NS
        } else {
            NEVER_NS
        };
    }
}

impl<L: Link> Cx<'_, L> {
    /// A neighbour's hardware address; has it asked for if it is not known.
    pub(crate) fn hardware_address(&self, card: u8, hop: Ip) -> Option<wire::Mac> {
        if let Some(mac) = hop.group_mac() {
            return Some(mac);
        }
        let known = self.shared.neighbour(card, hop, self.now_ns);
        if known.is_none() && self.shared.want(card, hop) {
            self.shared.tell(super::CONTROL, Message::Reconfigured);
        }
        known
    }

    /// The headers of what goes from `source` to `target`, and whether the next hop's hardware address is known: else
    /// it is asked for.
    pub(crate) fn path(&self, source: Ip, target: Ip, route: Route) -> (Path, bool) {
        let (hop, card) = (route.hop, route.card);
        let loopback = hop == Hop::Local;
        let target_mac = match hop {
            Hop::Local => Some([0; 6]),
            Hop::Via(hop) => self.hardware_address(card, hop),
        };
        let path = Path {
            source_mac: if loopback {
                [0; 6]
            } else {
                self.link.capabilities(card).mac
            },
            target_mac: target_mac.unwrap_or_default(),
            source,
            target,
            loopback,
            card,
        };
        (path, target_mac.is_some())
    }

    /// The longest IP packet on a path.
    pub(crate) fn mtu(&self, path: &Path) -> usize {
        if path.loopback {
            super::LOOPBACK_MTU
        } else {
            let mtu = self.link.capabilities(path.card).mtu;
            let known = self.shared.path_mtu(path.target, self.now_ns);
            known.map_or(mtu, |known| known.min(mtu))
        }
    }

    /// The largest segment on a path.
    pub(crate) fn mss(&self, path: &Path) -> u16 {
        let headers = path.headers() - wire::ETHERNET + wire::TCP;
        self.mtu(path).saturating_sub(headers).min(65_000) as u16
    }
}
