//! Routes, and what waits for hardware addresses.

use super::{CONTROL, Host, Inner, RESOLVE_AGAIN, RESOLVE_LIMIT, Socket};
use crate::{
    connection::{NEVER, State},
    frame::Port,
    shared::{Hop, Message},
    wire::{self, Ip},
};
use core::sync::atomic::Ordering;
use ebb_net::Error;

impl<P: Port> Host<P> {
    /// Takes over changed routes.
    #[inline]
    pub(crate) fn refresh(&self, inner: &mut Inner) {
        let version = self.shared.version.load(Ordering::Acquire);
        if version != inner.version {
            inner.version = version;
            inner.routes = self.shared.routes();
        }
    }

    pub(crate) fn route(&self, inner: &Inner, to: Ip) -> Result<(Ip, Hop), Error> {
        if to.is_unspecified() {
            return Err(Error::InvalidInput);
        }
        inner.routes.route(to).ok_or(Error::NetworkUnreachable)
    }

    pub(crate) fn accepts(&self, inner: &Inner, ip: Ip) -> bool {
        inner.routes.accepts(ip)
    }

    /// A neighbour's hardware address; has it asked for if it is not known.
    pub(crate) fn hardware_address(&self, hop: Ip, now: u64) -> Option<wire::Mac> {
        if hop == Ip::v4(u32::MAX) {
            return Some([0xff; 6]);
        }
        let known = self.shared.neighbour(hop, now);
        if known.is_none() && self.shared.want(hop) {
            self.shared.tell(CONTROL, Message::Changed);
        }
        known
    }

    pub(crate) fn wait_for_neighbour(&self, inner: &mut Inner, id: u32, now: u64) {
        inner.unresolved.push(id);
        inner.resolve_at = inner.resolve_at.min(now + RESOLVE_AGAIN);
    }

    /// Looks whether what waits for hardware addresses may go.
    pub fn resolve(&self, now: u64) {
        let inner = &mut *self.inner.borrow_mut();
        self.refresh(inner);
        for id in core::mem::take(&mut inner.unresolved) {
            let Some(Socket::Connection(connection)) = inner.sockets.get_mut(id as usize) else {
                continue;
            };
            if connection.resolved || connection.state == State::Closed {
                continue;
            }
            let target = connection.path.target;
            let started = connection.started();
            let hop = inner.routes.route(target);
            let found = match hop {
                Some((_, Hop::Via(hop))) => self.hardware_address(hop, now),
                _ => None,
            };
            match found {
                Some(mac) => {
                    connection.path.target_mac = mac;
                    connection.resolved = true;
                }
                None if now.saturating_sub(started) > RESOLVE_LIMIT => {
                    connection.fail(Some(Error::HostUnreachable));
                }
                None => {
                    inner.unresolved.push(id);
                    continue;
                }
            }
            self.touch(inner, id, now);
        }
        for _ in 0..inner.waiting.len() {
            let Some(mut packet) = inner.waiting.pop_front() else {
                break;
            };
            match self.hardware_address(packet.hop, now) {
                Some(mac) => {
                    packet.path.target_mac = mac;
                    packet.head[..6].copy_from_slice(&mac);
                    self.transmit(inner, packet.head);
                }
                None if packet.until <= now => inner.stats.dropped += 1,
                None => inner.waiting.push_back(packet),
            }
        }
        let left = !inner.unresolved.is_empty() || !inner.waiting.is_empty();
        inner.resolve_at = if left { now + RESOLVE_AGAIN } else { NEVER };
    }
}
