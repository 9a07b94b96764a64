//! Names and connections: bind, connect, shutdown.

use alloc::sync::Arc;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::object::{
    Objects,
    credentials::cap,
    env::Env,
    errno::{Errno, Result},
    flags::{AT_FDCWD, OpenFlags},
    fs::{InodeKind, NodeKind},
    id::{DescId, NodeRef},
    kind::socket::{
        Owner, Port, Socket, SocketId, SocketKind, State,
        address::{Address, Domain, canonical, is_loopback},
        option::{IPV6, REUSEADDR, REUSEPORT, SOCKET, V6ONLY},
    },
    ops::files::permission::asker,
    wait::Events,
};

/// How many ports are tried that may be taken beyond the UC.
const TRIES: u32 = 16;

impl Objects {
    /// `bind`.
    ///
    /// # Errors
    /// `EINVAL` (has a name already), `EADDRINUSE`, `EADDRNOTAVAIL`, and for a path those of
    /// `mknod`.
    pub fn bind(&mut self, env: &dyn Env, desc: DescId, address: Address) -> Result<()> {
        let id = self.socket_of(desc)?;
        let socket = self.socket(id)?;
        match (socket.domain, address) {
            (Domain::Unix, address) => {
                if socket.local != Address::Unnamed {
                    // To ask for any name is to have one already.
                    return match address {
                        Address::Unnamed => Ok(()),
                        _ => Err(Errno::EINVAL),
                    };
                }
                self.bind_unix(env, id, address)
            }
            (Domain::Netlink, address) => self.bind_netlink(env, id, address),
            (domain, Address::Inet(at)) => {
                let named = matches!(socket.local, Address::Inet(l) if l.port() != 0);
                if named && socket.port != Port::LetGo {
                    return Err(Errno::EINVAL);
                }
                if domain == Domain::Inet && at.is_ipv6() {
                    return Err(Errno::EAFNOSUPPORT);
                }
                // A datagram socket may be bound to a group, and then hears only that.
                let group =
                    socket.kind == SocketKind::Datagram && at.ip().to_canonical().is_multicast();
                if !group && !socket.options.binds_freely() && !self.is_local(env, at.ip()) {
                    return Err(Errno::EADDRNOTAVAIL);
                }
                // As `ip_unprivileged_port_start` says.
                if (1..1024).contains(&at.port()) && !asker(env).has(cap::NET_BIND_SERVICE) {
                    return Err(Errno::EACCES);
                }
                self.bind_inet(env, id, at)
            }
            // AF_UNSPEC is taken for AF_INET, as long as the address is any.
            (domain, _) => {
                let Address::Inet(any) = domain.unspecified() else {
                    return Err(Errno::EINVAL);
                };
                self.bind_inet(env, id, any)
            }
        }
    }

    /// Whether anything could come from beyond the machine for a socket that is bound to this address: it is not one that
    /// nobody has.
    pub(super) fn is_anybodys(&self, env: &dyn Env, id: SocketId, ip: IpAddr) -> bool {
        let freely = self
            .socket(id)
            .is_ok_and(|socket| socket.options.binds_freely());
        !freely || ip.to_canonical().is_multicast() || self.is_local(env, ip)
    }

    /// Gives an internet socket its address, in the UC and beyond. Port 0 is one that is free in both.
    pub(super) fn bind_inet(&mut self, env: &dyn Env, id: SocketId, at: SocketAddr) -> Result<()> {
        let before = self.socket(id)?.local.clone();
        let mut tries = if at.port() == 0 { TRIES } else { 1 };
        loop {
            self.take_port(env, id, at)?;
            let result = self.bind_outside(env, id);
            tries -= 1;
            if result.is_ok() {
                return result;
            }
            let socket = self.kinds.sockets.get_mut(id).ok_or(Errno::EBADF)?;
            self.sockets.ports.release(id, socket);
            socket.local = before.clone();
            if tries == 0 || result != Err(Errno::EADDRINUSE) {
                return result;
            }
        }
    }

    fn bind_unix(&mut self, env: &dyn Env, id: SocketId, address: Address) -> Result<()> {
        let kind = self.socket(id)?.kind.number();
        let local = match address {
            Address::Path(path) => {
                let mode = 0o777 & !self.files.umask;
                let made = self.make_node(env, AT_FDCWD, &path, InodeKind::Socket(Some(id)), mode);
                let node = NodeRef::Upper(match made {
                    Err(Errno::EEXIST) => return Err(Errno::EADDRINUSE),
                    made => made?,
                });
                self.fs.open_node(node);
                self.socket_mut(id)?.node = Some(node);
                Address::Path(path)
            }
            Address::Abstract(name) => {
                if self.sockets.abstracts.contains_key(&(kind, name.clone())) {
                    return Err(Errno::EADDRINUSE);
                }
                self.sockets.abstracts.insert((kind, name.clone()), id);
                Address::Abstract(name)
            }
            Address::Unnamed => {
                // Autobind: five hexadecimal digits that nobody has.
                let name: Arc<[u8]> = loop {
                    self.sockets.autobind = (self.sockets.autobind + 1) & 0xf_ffff;
                    let name = alloc::format!("{:05x}", self.sockets.autobind);
                    let name: Arc<[u8]> = name.into_bytes().into();
                    if !self.sockets.abstracts.contains_key(&(kind, name.clone())) {
                        break name;
                    }
                    if self.sockets.abstracts.len() > 0xf_ffff {
                        return Err(Errno::ENOSPC);
                    }
                };
                self.sockets.abstracts.insert((kind, name.clone()), id);
                Address::Abstract(name)
            }
            Address::Inet(_) | Address::Netlink(_) | Address::Unspecified => {
                return Err(Errno::EINVAL);
            }
        };
        self.socket_mut(id)?.local = local;
        Ok(())
    }

    /// Opens a bound datagram socket in the network too, if it is to hear from there.
    pub(super) fn bind_outside(&mut self, env: &dyn Env, id: SocketId) -> Result<()> {
        self.sweep_network(env);
        let socket = self.socket(id)?;
        let (Address::Inet(local), SocketKind::Datagram, None) =
            (&socket.local, socket.kind, socket.net)
        else {
            return Ok(());
        };
        let Some(network) = env
            .network()
            .filter(|_| !local.ip().to_canonical().is_loopback())
            .filter(|_| self.is_anybodys(env, id, local.ip()))
        else {
            return Ok(());
        };
        if !socket.leads_out() {
            return Ok(());
        }
        let options = &socket.options;
        let only_v6 = options.flag(IPV6, V6ONLY);
        let shared = options.flag(SOCKET, REUSEADDR) || options.flag(SOCKET, REUSEPORT);
        let net = network.bind(canonical(*local), only_v6, shared)?;
        options.tell(network, net);
        self.enter_groups_outside(env, id, net)?;
        self.sockets.net.insert(net, id);
        self.socket_mut(id)?.net = Some(net);
        Ok(())
    }

    /// `connect`.
    ///
    /// # Errors
    /// Those of connect(2). `EINPROGRESS`: the caller that may block waits for
    /// [`Events::OUT`] and asks [`connect_result`](Self::connect_result). `EAGAIN`: a Unix
    /// listener's backlog is full; the caller that may block waits and tries again.
    pub fn connect(&mut self, env: &dyn Env, desc: DescId, to: Address) -> Result<()> {
        let id = self.socket_of(desc)?;
        let result = self.connect_to(env, desc, to);
        if result == Err(Errno::EINPROGRESS) {
            self.socket_mut(id)?.untold = true;
        }
        result
    }

    fn connect_to(&mut self, env: &dyn Env, desc: DescId, to: Address) -> Result<()> {
        let id = self.socket_of(desc)?;
        let nonblocking = self.description(desc)?.flags.contains(OpenFlags::NONBLOCK);
        self.settle_connect(env, id);
        let socket = self.socket(id)?;
        let (domain, kind, state) = (socket.domain, socket.kind, socket.state);
        match (domain, kind, to) {
            // AF_UNSPEC ends it.
            (Domain::Unix, SocketKind::Datagram, Address::Unspecified) => {
                let socket = self.socket_mut(id)?;
                (socket.peer, socket.state) = (None, State::Idle);
                Ok(())
            }
            (Domain::Unix, SocketKind::Datagram, to) => self.connect_unix_datagram(env, id, to),
            // The kernel is the only peer, connected or not.
            (Domain::Netlink, _, Address::Netlink(0) | Address::Unspecified) => Ok(()),
            (Domain::Netlink, ..) => Err(Errno::EPERM),
            (Domain::Unix, _, to) => match state {
                State::Listening | State::Connected => {
                    self.find_unix(env, kind, &to)?;
                    Err(match state {
                        State::Listening => Errno::EINVAL,
                        _ => Errno::EISCONN,
                    })
                }
                _ => self.connect_unix(env, id, to),
            },
            (_, SocketKind::Datagram, Address::Inet(to)) => self.connect_datagram(env, id, to),
            (_, SocketKind::Datagram, _) => {
                let socket = self.socket_mut(id)?;
                socket.remote = domain.unspecified();
                socket.state = State::Idle;
                let net = socket.net;
                match (net, env.network()) {
                    (Some(net), Some(network)) => network.set_peer(net, None),
                    _ => Ok(()),
                }
            }
            (_, _, Address::Inet(to)) => {
                match state {
                    State::Connected if core::mem::take(&mut self.socket_mut(id)?.untold) => {
                        return Ok(());
                    }
                    State::Connected | State::Listening => return Err(Errno::EISCONN),
                    State::Connecting => return Err(Errno::EALREADY),
                    State::Idle => {}
                }
                if let Some(errno) = self.socket_mut(id)?.error.take() {
                    return Err(errno);
                }
                if self.leads_within(env, id, true, to)? {
                    self.connect_local(env, id, to, nonblocking)
                } else {
                    self.connect_outside(env, id, to)
                }
            }
            // AF_UNSPEC ends a connection, or a listener.
            _ => self.disconnect(id),
        }
    }

    /// What a TCP socket is already is told before whether an address, which is not `AF_UNSPEC`, is one of its family.
    ///
    /// # Errors
    /// `EISCONN`.
    pub fn check_unconnected(&self, desc: DescId) -> Result<()> {
        let socket = self.socket(self.socket_of(desc)?)?;
        let tcp = matches!(socket.domain, Domain::Inet | Domain::Inet6)
            && socket.kind == SocketKind::Stream;
        match socket.state {
            State::Connected | State::Listening if tcp && !socket.untold => Err(Errno::EISCONN),
            _ => Ok(()),
        }
    }

    fn disconnect(&mut self, id: SocketId) -> Result<()> {
        if self.socket(id)?.state == State::Listening {
            return self.end_listening(id);
        }
        let socket = self.socket_mut(id)?;
        let (peer, queue, cost) = (socket.peer.take(), socket.queue, socket.inbox_cost);
        if socket.state != State::Idle {
            socket.error = Some(Errno::ECONNRESET);
        }
        (socket.state, socket.untold) = (State::Idle, false);
        socket.remote = socket.domain.unspecified();
        (socket.no_read, socket.no_write, socket.peer_closed) = (false, false, false);
        socket.inbox.clear();
        socket.inbox_cost = 0;
        if let Some(net) = socket.net.take()
            && self.leave_net(id, net)
        {
            self.sockets.net_aborted.push(net);
        }
        self.sockets.bytes = self.sockets.bytes.saturating_sub(cost);
        self.hub.wake(queue, Events::all());
        if let Some(peer) = peer {
            self.peer_closed(id, peer, true, true);
        }
        Ok(())
    }

    /// The socket that has a Unix name.
    pub(super) fn find_unix(
        &self,
        env: &dyn Env,
        kind: SocketKind,
        name: &Address,
    ) -> Result<SocketId> {
        let found = match name {
            Address::Path(path) => {
                let node = self.resolve(env, AT_FDCWD, path, true)?;
                if self.node_kind(node)? != NodeKind::Socket {
                    return Err(Errno::ECONNREFUSED);
                }
                self.fs.socket_of(node)
            }
            Address::Abstract(name) => {
                let key = (kind.number(), name.clone());
                self.sockets.abstracts.get(&key).copied()
            }
            _ => return Err(Errno::EINVAL),
        };
        let found = found.ok_or(Errno::ECONNREFUSED)?;
        let socket = self.socket(found).map_err(|_| Errno::ECONNREFUSED)?;
        if socket.kind != kind {
            return Err(Errno::EPROTOTYPE);
        }
        Ok(found)
    }

    fn connect_unix(&mut self, env: &dyn Env, id: SocketId, to: Address) -> Result<()> {
        let kind = self.socket(id)?.kind;
        let listener = self.find_unix(env, kind, &to)?;
        let found = self.socket_mut(listener)?;
        if found.state != State::Listening || found.no_read {
            return Err(Errno::ECONNREFUSED);
        }
        if found.backlog.len() > found.backlog_max {
            if !found.waiting.contains(&id) {
                found.waiting.push(id);
            }
            return Err(Errno::EAGAIN);
        }
        let (local, queue, owner) = (found.local.clone(), found.queue, found.owner.clone());
        let server = self.new_socket(Domain::Unix, kind)?;
        let accepted = self.socket_mut(server)?;
        (accepted.local, accepted.peer_owner) = (local, Some(Owner::caller(env)));
        self.pair(id, server);
        self.socket_mut(id)?.peer_owner = owner;
        self.socket_mut(listener)?.backlog.push_back(server);
        self.hub.wake(queue, Events::READ);
        let queue = self.socket(id)?.queue;
        self.hub.wake(queue, Events::WRITE);
        Ok(())
    }

    fn connect_unix_datagram(&mut self, env: &dyn Env, id: SocketId, to: Address) -> Result<()> {
        let peer = self.find_unix(env, SocketKind::Datagram, &to)?;
        let socket = self.socket_mut(id)?;
        socket.peer = Some(peer);
        socket.state = State::Connected;
        Ok(())
    }

    /// The address from which a socket speaks to a local one.
    fn local_source(&mut self, env: &dyn Env, id: SocketId, to: SocketAddr) -> Result<SocketAddr> {
        let own: IpAddr = match to.ip() {
            // The machine's own address speaks to itself.
            ip if !is_loopback(ip) => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
                Ipv4Addr::LOCALHOST.to_ipv6_mapped().into()
            }
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let Address::Inet(local) = self.socket(id)?.local else {
            return Err(Errno::EINVAL);
        };
        // Of a name that an earlier peer's family has left nothing stays: getaddrinfo asks one socket for both.
        let is_v4 = |ip: IpAddr| ip.to_canonical().is_ipv4();
        let ip = if local.ip().is_unspecified() || is_v4(local.ip()) != is_v4(own) {
            own
        } else {
            local.ip()
        };
        let port = match self.socket(id)?.port {
            Port::LetGo => 0,
            _ => local.port(),
        };
        let at = SocketAddr::new(ip, port);
        if port == 0 {
            self.take_port(env, id, at)?;
        } else {
            self.socket_mut(id)?.local = Address::Inet(at);
        }
        match self.socket(id)?.local {
            Address::Inet(local) => Ok(local),
            _ => Err(Errno::EINVAL),
        }
    }

    fn connect_local(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        to: SocketAddr,
        nonblocking: bool,
    ) -> Result<()> {
        // Connecting to any address is connecting to loopback.
        let to = match to.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, to.port()).into(),
            IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, to.port()).into(),
            _ => to,
        };
        self.local_source(env, id, to)?;
        let socket = self.socket_mut(id)?;
        socket.remote = Address::Inet(to);
        socket.state = State::Connecting;
        self.join_listener(id)?;
        let socket = self.socket_mut(id)?;
        let queue = socket.queue;
        match socket.state {
            State::Connecting => Err(Errno::EINPROGRESS),
            _ if nonblocking => {
                self.hub.wake(queue, Events::all());
                Err(Errno::EINPROGRESS)
            }
            State::Connected => Ok(()),
            _ => Err(socket.error.take().unwrap_or(Errno::ECONNREFUSED)),
        }
    }

    /// Lets a socket that connects within the UC into its listener's queue, if that has room; else it waits there.
    fn join_listener(&mut self, id: SocketId) -> Result<()> {
        let socket = self.socket(id)?;
        let (Address::Inet(from), Address::Inet(to)) = (&socket.local, &socket.remote) else {
            return Err(Errno::EINVAL);
        };
        let (from, to, queue) = (*from, *to, socket.queue);
        let Some(listener) = self.find_local(true, from, to) else {
            self.let_port_go(id)?;
            let socket = self.socket_mut(id)?;
            socket.state = State::Idle;
            socket.error = Some(Errno::ECONNREFUSED);
            self.hub.wake(queue, Events::all());
            return Ok(());
        };
        let found = self.socket_mut(listener)?;
        if found.backlog.len() > found.backlog_max {
            if !found.waiting.contains(&id) {
                found.waiting.push(id);
            }
            return Ok(());
        }
        let (domain, options, heard) = (found.domain, found.options.clone(), found.queue);
        let server = self.new_socket(domain, SocketKind::Stream)?;
        self.pair(id, server);
        self.note_port(server, to)?;
        let socket = self.socket_mut(server)?;
        (socket.remote, socket.options) = (Address::Inet(from), options);
        self.socket_mut(listener)?.backlog.push_back(server);
        self.hub.wake(heard, Events::READ);
        self.hub.wake(queue, Events::WRITE);
        Ok(())
    }

    fn connect_outside(&mut self, env: &dyn Env, id: SocketId, to: SocketAddr) -> Result<()> {
        self.sweep_network(env);
        let network = env.network().ok_or(Errno::ENETUNREACH)?;
        let socket = self.socket(id)?;
        let bound = match socket.local {
            Address::Inet(local) if local.port() != 0 && socket.port != Port::LetGo => {
                Some(canonical(local))
            }
            _ => None,
        };
        let wanted = bound.or_else(|| self.device_source(env, id, to));
        let net = network.connect(wanted, canonical(to))?;
        self.sockets.net.insert(net, id);
        if bound.is_none()
            && let Ok(local) = network.local(net)
        {
            self.note_port(id, local)?;
        }
        let socket = self.socket_mut(id)?;
        socket.net = Some(net);
        socket.remote = Address::Inet(to);
        socket.state = State::Connecting;
        socket.options.tell(network, net);
        self.settle_connect(env, id);
        match self.socket(id)?.state {
            State::Connected => Ok(()),
            _ => Err(Errno::EINPROGRESS),
        }
    }

    fn connect_datagram(&mut self, env: &dyn Env, id: SocketId, to: SocketAddr) -> Result<()> {
        let here = self.leads_within(env, id, false, to)?;
        if here {
            self.local_source(env, id, to)?;
        } else {
            let network = env.network().ok_or(Errno::ENETUNREACH)?;
            let Address::Inet(local) = self.socket(id)?.local else {
                return Err(Errno::EINVAL);
            };
            if local.port() == 0 {
                let Address::Inet(any) = self.socket(id)?.domain.unspecified() else {
                    return Err(Errno::EINVAL);
                };
                self.bind_inet(env, id, any)?;
            }
            self.bind_outside(env, id)?;
            let net = self.socket(id)?.net.ok_or(Errno::ENETUNREACH)?;
            network.set_peer(net, Some(canonical(to)))?;
            if let Ok(local) = network.local(net) {
                self.socket_mut(id)?.local = Address::Inet(local);
            }
        }
        if let (true, Some(net), Some(network)) = (here, self.socket(id)?.net, env.network()) {
            // Nobody beyond the UC is its peer.
            let _ = network.set_peer(net, Some(canonical(to)));
        }
        let socket = self.socket_mut(id)?;
        socket.remote = Address::Inet(to);
        socket.state = State::Connected;
        Ok(())
    }

    /// Notes how a connection over the network has come out.
    pub(crate) fn settle_connect(&mut self, env: &dyn Env, id: SocketId) {
        let Ok(socket) = self.socket(id) else { return };
        if socket.state == State::Connecting && socket.net.is_none() {
            let _ = self.join_listener(id);
            return;
        }
        let (State::Connecting, Some(net), Some(network)) =
            (socket.state, socket.net, env.network())
        else {
            return;
        };
        let outcome = network.connected(net);
        let local = network.local(net);
        let Ok(socket) = self.socket_mut(id) else {
            return;
        };
        match outcome {
            Err(Errno::EAGAIN) => {}
            Ok(()) => {
                socket.state = State::Connected;
                if let Ok(local) = local {
                    socket.local = Address::Inet(local);
                }
            }
            Err(errno) => {
                socket.state = State::Idle;
                socket.error = Some(errno);
                socket.net = None;
                self.sockets.net.remove(&net);
                network.close(net);
            }
        }
    }

    /// How a connect that was in progress has come out.
    ///
    /// # Errors
    /// `EAGAIN` while it has not; what went wrong otherwise.
    pub fn connect_result(&mut self, env: &dyn Env, desc: DescId) -> Result<()> {
        let id = self.socket_of(desc)?;
        self.settle_connect(env, id);
        let socket = self.socket_mut(id)?;
        match (socket.state, socket.error.take()) {
            (_, Some(errno)) => Err(errno),
            (State::Connecting, None) => Err(Errno::EAGAIN),
            (State::Connected, None) => {
                socket.untold = false;
                Ok(())
            }
            (_, None) => Err(Errno::ECONNREFUSED),
        }
    }

    /// `shutdown`: `how` is 0 (receiving), 1 (sending) or 2.
    ///
    /// # Errors
    /// `EINVAL`, `ENOTCONN`.
    pub fn shutdown(&mut self, env: &dyn Env, desc: DescId, how: u32) -> Result<()> {
        let id = self.socket_of(desc)?;
        if self.socket(id)?.domain == Domain::Netlink {
            return Err(Errno::EOPNOTSUPP);
        }
        if how > 2 {
            return Err(Errno::EINVAL);
        }
        self.settle_connect(env, id);
        let socket = self.socket(id)?;
        let unix = socket.domain == Domain::Unix;
        let open = matches!(socket.state, State::Connected | State::Listening);
        let (read, write) = (how != 1, how != 0);
        if !unix && socket.state == State::Connecting {
            return self.disconnect(id);
        }
        if !unix && (!open || self.is_over(env, socket)) {
            // Refused and yet done, so that whoever waits at it goes on.
            let socket = self.socket_mut(id)?;
            socket.no_read |= read;
            socket.no_write |= write;
            let queue = socket.queue;
            self.hub.wake(queue, Events::all());
            return Err(Errno::ENOTCONN);
        }
        let socket = self.socket_mut(id)?;
        if socket.state == State::Listening && !unix {
            // Receiving no more means listening no more.
            if read {
                self.end_listening(id)?;
            }
        } else {
            socket.no_read |= read;
            socket.no_write |= write;
        }
        let socket = self.socket(id)?;
        let (queue, peer, net) = (socket.queue, socket.peer, socket.net);
        let stream = socket.kind != SocketKind::Datagram;
        if let (Some(net), Some(network), true) = (net, env.network(), write && stream) {
            network.shutdown(net)?;
        }
        self.hub.wake(queue, Events::all());
        if let Some(peer) = peer.filter(|_| stream)
            && let Ok(peer) = self.socket_mut(peer)
        {
            peer.no_read |= write;
            // A Unix peer learns that nobody reads; a TCP peer does not.
            peer.no_write |= read && unix;
            let queue = peer.queue;
            self.hub.wake(queue, Events::all());
        }
        Ok(())
    }

    /// `getsockname`: the address, and the family in which to write it.
    pub fn socket_name(&self, desc: DescId) -> Result<(Domain, Address)> {
        let socket = self.socket(self.socket_of(desc)?)?;
        Ok((socket.domain, socket.local.clone()))
    }

    /// `getpeername`.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn peer_name(&self, env: &dyn Env, desc: DescId) -> Result<(Domain, Address)> {
        let socket = self.socket(self.socket_of(desc)?)?;
        match (socket.domain, socket.state, socket.peer) {
            (Domain::Netlink, ..) => Ok((Domain::Netlink, Address::Netlink(0))),
            (Domain::Unix, State::Connected, peer) => {
                let peer = peer.and_then(|p| self.socket(p).ok());
                Ok((
                    Domain::Unix,
                    peer.map_or(Address::Unnamed, |p| p.local.clone()),
                ))
            }
            (domain, State::Connected, _) if !self.is_over(env, socket) => {
                Ok((domain, socket.remote.clone()))
            }
            _ => Err(Errno::ENOTCONN),
        }
    }

    /// What a socket is.
    ///
    /// # Errors
    /// `ENOTSOCK`, `EBADF`.
    pub fn socket_kind(&self, desc: DescId) -> Result<(Domain, SocketKind)> {
        let socket = self.socket(self.socket_of(desc)?)?;
        Ok((socket.domain, socket.kind))
    }

    /// Whether both directions of a TCP connection are closed, or it was reset.
    fn is_over(&self, env: &dyn Env, socket: &Socket) -> bool {
        let outside = socket.net.zip(env.network());
        let peer = socket.peer.and_then(|peer| self.socket(peer).ok());
        match (socket.kind, outside) {
            (SocketKind::Datagram, _) => false,
            (_, Some((net, network))) => network.readiness(net).contains(Events::HUP),
            _ => socket.no_write && (socket.peer_closed || peer.is_some_and(|p| p.no_write)),
        }
    }
}
