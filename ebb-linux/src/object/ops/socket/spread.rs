//! Sockets that share a port (`SO_REUSEPORT`): each connection and each datagram is for one of them, chosen by who sends it.
//!
//! The stack below has one listener for an address. Listeners of a UC that share the address have that one in common, and
//! what waits there goes to their queues. What must hold: `groups` has the sockets of a listener of the stack when there is more
//! than one, and `net` names one of these.

use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::object::{
    Objects,
    env::{Env, NetSocket},
    errno::{Errno, Result},
    kind::socket::{
        SocketId, State,
        address::{Address, canonical},
        option::{IPV6, REUSEPORT, SOCKET, V6ONLY},
    },
    wait::Events,
};

/// Chooses among those that are offered one after another: each with the same share of senders, the same one for a sender.
pub(super) struct Choice {
    state: u64,
    offered: u64,
}

impl Choice {
    pub(super) fn of(from: SocketAddr) -> Self {
        let ip = match canonical(from) {
            SocketAddr::V4(from) => u128::from(from.ip().to_bits()),
            SocketAddr::V6(from) => from.ip().to_bits(),
        };
        let folded = ip as u64 ^ (ip >> 64) as u64;
        Self {
            state: folded.rotate_left(16) ^ u64::from(from.port()),
            offered: 0,
        }
    }

    /// The one of several that hears a sender.
    fn among<T: Copy>(from: SocketAddr, all: &[T]) -> Option<T> {
        let mut choice = Self::of(from);
        let mut chosen = None;
        for &next in all {
            if choice.takes_next() {
                chosen = Some(next);
            }
        }
        chosen
    }

    /// Whether the next one is chosen instead of those before it.
    pub(super) fn takes_next(&mut self) -> bool {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        self.offered += 1;
        mixed.is_multiple_of(self.offered)
    }
}

impl Objects {
    /// The listener of the stack below that a socket is to have in common with another of its address.
    pub(super) fn common_listener(&self, id: SocketId) -> Option<NetSocket> {
        let socket = self.socket(id).ok()?;
        let Address::Inet(local) = socket.local else {
            return None;
        };
        let shares = |flags: &[(u32, u32)]| flags.iter().all(|&(l, n)| socket.options.flag(l, n));
        if !shares(&[(SOCKET, REUSEPORT)]) {
            return None;
        }
        let only_v6 = shares(&[(IPV6, V6ONLY)]);
        let others = self.sockets.ports.at(true, local.port()).iter();
        let mut others = others.filter_map(|other| self.kinds.sockets.get(*other));
        let same = others.find(|other| {
            other.state == State::Listening
                && other.net.is_some()
                && (other.domain, &other.local) == (socket.domain, &socket.local)
                && other.options.flag(SOCKET, REUSEPORT)
                && other.options.flag(IPV6, V6ONLY) == only_v6
        });
        same?.net
    }

    /// Gives a socket a listener that another one has.
    pub(super) fn share_listener(&mut self, id: SocketId, net: NetSocket) -> Result<()> {
        let first = *self.sockets.net.get(&net).ok_or(Errno::EADDRINUSE)?;
        let group = self.sockets.groups.entry(net);
        group.or_insert_with(|| Vec::from([first])).push(id);
        self.socket_mut(id)?.net = Some(net);
        Ok(())
    }

    /// A socket no longer has what it had of the stack below; whether nobody has it now.
    pub(super) fn leave_net(&mut self, id: SocketId, net: NetSocket) -> bool {
        let Some(group) = self.sockets.groups.get_mut(&net) else {
            self.sockets.net.remove(&net);
            return true;
        };
        group.retain(|other| *other != id);
        if let Some(&first) = group.first() {
            self.sockets.net.insert(net, first);
        }
        if group.len() < 2 {
            self.sockets.groups.remove(&net);
        }
        false
    }

    /// Closes what a socket has of the stack below, if nobody else has it.
    pub(super) fn give_up_net(&mut self, id: SocketId) {
        if let Ok(socket) = self.socket_mut(id)
            && let Some(net) = socket.net.take()
            && self.leave_net(id, net)
        {
            self.sockets.net_closed.push(net);
        }
    }

    /// The listener of the stack below that a socket has in common with others.
    pub(super) fn listens_with_others(&self, id: SocketId) -> Option<NetSocket> {
        if self.sockets.groups.is_empty() {
            return None;
        }
        let net = self.socket(id).ok()?.net?;
        self.sockets.groups.contains_key(&net).then_some(net)
    }

    /// The next connection for a listener.
    ///
    /// # Errors
    /// `EAGAIN` when nobody waits, and what [`accept_outside`](Self::accept_outside) says.
    pub(super) fn next_connection(&mut self, env: &dyn Env, id: SocketId) -> Result<SocketId> {
        let shared = self.listens_with_others(id);
        if let Some(net) = shared {
            self.spread(env, net, id);
        }
        match self.socket_mut(id)?.backlog.pop_front() {
            Some(accepted) => Ok(accepted),
            None if shared.is_some() => Err(Errno::EAGAIN),
            None => self.accept_outside(env, id),
        }
    }

    /// Takes what waits at a listener of several to their queues, as far as these have room. `asking` knows of it by itself.
    pub(super) fn spread(&mut self, env: &dyn Env, net: NetSocket, asking: SocketId) {
        let Some(group) = self.sockets.groups.get(&net).cloned() else {
            return;
        };
        loop {
            let has_room = |objects: &Self, id: SocketId| {
                let socket = objects.socket(id);
                socket.is_ok_and(|s| s.backlog.len() <= s.backlog_max)
            };
            let Some(&any) = group.iter().find(|id| has_room(self, **id)) else {
                return;
            };
            let Ok(accepted) = self.accept_outside(env, any) else {
                return;
            };
            let chosen = match self.socket(accepted).map(|s| s.remote.clone()) {
                Ok(Address::Inet(from)) => {
                    Choice::among(from, &group).filter(|id| has_room(self, *id))
                }
                _ => None,
            };
            self.hand_over(env, accepted, chosen.unwrap_or(any), asking);
        }
    }

    /// Puts a connection into a listener's queue.
    fn hand_over(&mut self, env: &dyn Env, accepted: SocketId, to: SocketId, asking: SocketId) {
        let Ok(listener) = self.socket_mut(to) else {
            return;
        };
        listener.backlog.push_back(accepted);
        let (queue, options) = (listener.queue, listener.options.clone());
        if let Ok(socket) = self.socket_mut(accepted) {
            if let (Some(net), Some(network)) = (socket.net, env.network()) {
                options.tell(network, net);
            }
            socket.options = options;
        }
        if to != asking {
            self.hub.wake(queue, Events::READ);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_several_is_chosen_by_as_many_senders_and_by_one_sender_always() {
        let chosen = |port: u16| Choice::among(([127, 0, 0, 1], port).into(), &[0, 1, 2, 3]);
        let mut counts = [0; 4];
        for port in 32_768..36_768 {
            assert_eq!(chosen(port), chosen(port));
            counts[chosen(port).unwrap()] += 1;
        }
        assert!(counts.iter().all(|n| (900..1100).contains(n)), "{counts:?}");
    }
}
