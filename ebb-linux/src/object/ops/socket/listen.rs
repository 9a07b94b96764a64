//! Listeners: what waits to be accepted, and how it ends.
//!
//! What must hold: only a socket that is listening has connections in its queue and sockets that wait for room there.

use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{DescId, Fd},
    kind::{
        Object,
        socket::{
            Owner, Port, SocketId, SocketKind, State,
            address::{Address, Domain, canonical},
            option::{IPV6, V6ONLY},
        },
    },
    ops::socket::Ended,
    wait::Events,
};

/// The most connections that wait to be accepted (`somaxconn`).
const SOMAXCONN: usize = 4096;

impl Objects {
    /// `listen`.
    ///
    /// # Errors
    /// `EOPNOTSUPP` (datagrams), `EINVAL` (no name, or connected), `EADDRINUSE`.
    pub fn listen(&mut self, env: &dyn Env, desc: DescId, backlog: i32) -> Result<()> {
        let id = self.socket_of(desc)?;
        let socket = self.socket(id)?;
        if socket.kind == SocketKind::Datagram {
            return Err(Errno::EOPNOTSUPP);
        }
        if !matches!(socket.state, State::Idle | State::Listening) {
            return Err(Errno::EINVAL);
        }
        let backlog = usize::try_from(backlog).unwrap_or(SOMAXCONN).min(SOMAXCONN);
        match &socket.local {
            Address::Unnamed => return Err(Errno::EINVAL),
            Address::Inet(local) if local.port() == 0 || socket.port == Port::LetGo => {
                let any = SocketAddr::new(local.ip(), 0);
                self.take_port(env, id, any)?;
            }
            _ => {}
        }
        if self.socket(id)?.state == State::Idle {
            self.listen_outside(env, id, backlog)?;
        }
        let socket = self.socket_mut(id)?;
        socket.state = State::Listening;
        // What a `shutdown` of a socket that was nowhere has left.
        if socket.domain != Domain::Unix {
            (socket.no_read, socket.no_write) = (false, false);
        }
        socket.backlog_max = backlog;
        socket.owner = Some(Owner::caller(env));
        if socket.domain == Domain::Unix {
            socket.peer_owner = socket.owner.clone();
        }
        let queue = socket.queue;
        self.hub.wake(queue, Events::all());
        Ok(())
    }

    /// Listens in the network too, unless the address is loopback's.
    pub(super) fn listen_outside(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        backlog: usize,
    ) -> Result<()> {
        self.sweep_network(env);
        let Address::Inet(local) = self.socket(id)?.local else {
            return Ok(());
        };
        let Some(network) = env
            .network()
            .filter(|_| !local.ip().to_canonical().is_loopback())
            .filter(|_| self.is_anybodys(env, id, local.ip()))
        else {
            return Ok(());
        };
        if !self.socket(id)?.leads_out() {
            return Ok(());
        }
        if let Some(net) = self.common_listener(id) {
            return self.share_listener(id, net);
        }
        let only_v6 = self.socket(id)?.options.flag(IPV6, V6ONLY);
        let net = network.listen(canonical(local), only_v6, backlog.max(1))?;
        self.sockets.net.insert(net, id);
        self.socket_mut(id)?.net = Some(net);
        Ok(())
    }

    /// `accept4`: the new descriptor and the peer's address. `flags` may hold `SOCK_NONBLOCK` and
    /// `SOCK_CLOEXEC`.
    ///
    /// # Errors
    /// `EAGAIN` when nobody waits; `EOPNOTSUPP`, `EINVAL`, `EMFILE`.
    pub fn accept(&mut self, env: &dyn Env, desc: DescId, flags: u32) -> Result<(Fd, Address)> {
        let flags = OpenFlags::from_bits_retain(flags);
        if !(OpenFlags::NONBLOCK | OpenFlags::CLOEXEC).contains(flags) {
            return Err(Errno::EINVAL);
        }
        let id = self.socket_of(desc)?;
        let socket = self.socket(id)?;
        if socket.kind == SocketKind::Datagram {
            return Err(Errno::EOPNOTSUPP);
        }
        if socket.state != State::Listening {
            return Err(Errno::EINVAL);
        }
        self.files.fds.check_room()?;
        let accepted = self.next_connection(env, id).map_err(|errno| {
            // Linux looks whether there will be any only when it would wait.
            let asks = self.description(desc).map(|d| d.flags);
            let waits = !asks.is_ok_and(|flags| flags.contains(OpenFlags::NONBLOCK));
            match errno {
                Errno::EINVAL if !waits => Errno::EAGAIN,
                errno => errno,
            }
        })?;
        let waiting = core::mem::take(&mut self.socket_mut(id)?.waiting);
        for &next in &waiting {
            self.settle_connect(env, next);
        }
        self.wake_sockets(waiting);
        let owner = self.socket(id)?.owner.clone();
        let found = self.socket_mut(accepted)?;
        found.owner = owner.or_else(|| Some(Owner::caller(env)));
        let from = match (found.domain, found.peer) {
            (Domain::Unix, Some(peer)) => self.socket(peer).map(|p| p.local.clone()),
            _ => Ok(found.remote.clone()),
        };
        let object = Object::Socket(accepted);
        let fd = self.open_object(object, flags | OpenFlags::RDWR, None)?;
        Ok((fd, from.unwrap_or_default()))
    }

    pub(super) fn accept_outside(&mut self, env: &dyn Env, listener: SocketId) -> Result<SocketId> {
        self.sweep_network(env);
        let socket = self.socket(listener)?;
        if socket.no_read {
            return Err(Errno::EINVAL);
        }
        let net = socket.net.ok_or(Errno::EAGAIN)?;
        let (domain, options) = (socket.domain, socket.options.clone());
        let network = env.network().ok_or(Errno::EAGAIN)?;
        let (net, from) = network.accept(net)?;
        options.tell(network, net);
        let accepted = match self.new_socket(domain, SocketKind::Stream) {
            Ok(accepted) => accepted,
            Err(errno) => {
                network.close(net);
                return Err(errno);
            }
        };
        if let Ok(local) = network.local(net) {
            self.note_port(accepted, local)?;
        }
        self.sockets.net.insert(net, accepted);
        let socket = self.socket_mut(accepted)?;
        (socket.net, socket.state, socket.options) = (Some(net), State::Connected, options);
        socket.remote = Address::Inet(from);
        Ok(accepted)
    }

    /// A port that the system has chosen is anybody's from now on; the name is told still.
    pub(super) fn let_port_go(&mut self, id: SocketId) -> Result<()> {
        let socket = self.kinds.sockets.get_mut(id).ok_or(Errno::EBADF)?;
        if socket.port == Port::Chosen {
            self.sockets.ports.release(id, socket);
            socket.port = Port::LetGo;
        }
        Ok(())
    }

    /// An Internet listener listens no more, and may again: who was not accepted is reset, who waits for room is refused.
    pub(super) fn end_listening(&mut self, id: SocketId) -> Result<()> {
        self.give_up_net(id);
        self.let_port_go(id)?;
        let socket = self.socket_mut(id)?;
        socket.state = State::Idle;
        let unaccepted = core::mem::take(&mut socket.backlog);
        let waiting = core::mem::take(&mut socket.waiting);
        for next in unaccepted {
            // Descriptors travel in messages of Unix sockets only.
            self.close_sockets(Vec::from([(next, Ended::Unaccepted)]));
        }
        self.wake_sockets(waiting);
        Ok(())
    }
}
