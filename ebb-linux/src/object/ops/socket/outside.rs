//! Sockets that leave the UC, over a network made up by the test.

use alloc::{collections::VecDeque, vec, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    net::{IpAddr, SocketAddr},
};

use super::message::MessageFlags;
use crate::object::{
    Objects,
    env::{Carried, Env, KeepAlive, NetSocket, Network, ProcInfo, Report},
    errno::{Errno, Result},
    id::Fd,
    kind::socket::address::Address,
    testing::{World, objects},
    wait::Events,
};

/// A network whose one peer echoes; it remembers what was opened and closed.
#[derive(Default)]
struct Echo {
    world: World,
    open: RefCell<Vec<(u32, VecDeque<u8>)>>,
    next: RefCell<u32>,
    shared: Cell<bool>,
    peer: Cell<Option<SocketAddr>>,
    error: Cell<Option<Errno>>,
    report: RefCell<Option<Report>>,
    groups: RefCell<Vec<IpAddr>>,
    senders: RefCell<(bool, Vec<IpAddr>)>,
    aborted: Cell<u32>,
    keeps_alive: Cell<Option<KeepAlive>>,
    only_v6: Cell<bool>,
    /// Who waits to be accepted; one and the same for ever if `None`.
    callers: RefCell<Option<VecDeque<SocketAddr>>>,
}

impl Echo {
    fn open(&self) -> NetSocket {
        *self.next.borrow_mut() += 1;
        let number = *self.next.borrow();
        self.open.borrow_mut().push((number, VecDeque::new()));
        NetSocket(number)
    }

    fn with<T>(&self, socket: NetSocket, f: impl FnOnce(&mut VecDeque<u8>) -> T) -> Result<T> {
        let mut open = self.open.borrow_mut();
        let found = open.iter_mut().find(|(n, _)| *n == socket.0);
        found.map(|(_, bytes)| f(bytes)).ok_or(Errno::EBADF)
    }
}

impl Network for Echo {
    fn addresses(&self) -> Vec<IpAddr> {
        vec![[10, 0, 0, 2].into()]
    }
    fn listen(&self, _: SocketAddr, only_v6: bool, _: usize) -> Result<NetSocket> {
        self.only_v6.set(only_v6);
        Ok(self.open())
    }
    fn accept(&self, listener: NetSocket) -> Result<(NetSocket, SocketAddr)> {
        self.with(listener, |_| ())?;
        let from = match &mut *self.callers.borrow_mut() {
            Some(callers) => callers.pop_front().ok_or(Errno::EAGAIN)?,
            None => ([10, 0, 0, 9], 999).into(),
        };
        Ok((self.open(), from))
    }
    fn connect(&self, _: Option<SocketAddr>, _: SocketAddr) -> Result<NetSocket> {
        Ok(self.open())
    }
    fn connected(&self, socket: NetSocket) -> Result<()> {
        // Established when it is asked for the second time.
        let asked = self.with(socket, |b| core::mem::replace(b, VecDeque::from([b'h'])))?;
        if asked.is_empty() {
            Err(Errno::EAGAIN)
        } else {
            Ok(())
        }
    }
    fn receive(&self, socket: NetSocket, buffer: &mut [u8], _: bool) -> Result<usize> {
        if let Some(errno) = self.error.get() {
            return Err(errno);
        }
        let n = self.with(socket, |bytes| {
            let n = bytes.len().min(buffer.len());
            for (to, from) in buffer.iter_mut().zip(bytes.drain(..n)) {
                *to = from;
            }
            n
        })?;
        if n == 0 { Err(Errno::EAGAIN) } else { Ok(n) }
    }
    fn send(&self, socket: NetSocket, bytes: &[u8]) -> Result<usize> {
        self.with(socket, |echo| echo.extend(bytes))?;
        Ok(bytes.len())
    }
    fn shutdown(&self, _: NetSocket) -> Result<()> {
        Ok(())
    }
    fn bind(&self, _: SocketAddr, only_v6: bool, shared: bool) -> Result<NetSocket> {
        self.only_v6.set(only_v6);
        self.shared.set(shared);
        Ok(self.open())
    }
    fn set_peer(&self, _: NetSocket, peer: Option<SocketAddr>) -> Result<()> {
        self.peer.set(peer);
        Ok(())
    }
    fn receive_from(
        &self,
        socket: NetSocket,
        buffer: &mut [u8],
        peek: bool,
    ) -> Result<(usize, SocketAddr, Carried)> {
        let bytes = self.with(socket, |b| b.clone())?;
        if bytes.is_empty() {
            return Err(Errno::EAGAIN);
        }
        for (to, from) in buffer.iter_mut().zip(&bytes) {
            *to = *from;
        }
        if !peek {
            self.with(socket, VecDeque::clear)?;
        }
        let carried = Carried {
            to: [10, 0, 0, 2].into(),
            hop_limit: 9,
            traffic_class: 0,
        };
        Ok((bytes.len(), ([10, 0, 0, 9], 53).into(), carried))
    }
    fn send_to(
        &self,
        socket: NetSocket,
        bytes: &[u8],
        _: SocketAddr,
        _: Option<IpAddr>,
    ) -> Result<usize> {
        self.with(socket, |echo| echo.extend(bytes))?;
        Ok(bytes.len())
    }
    fn queued(&self, socket: NetSocket) -> (usize, usize) {
        let held = self.with(socket, |b| b.len()).unwrap_or(0);
        (held, held)
    }
    fn take_error(&self, _: NetSocket) -> Option<Errno> {
        self.error.take()
    }
    fn take_report(&self, _: NetSocket) -> Option<Report> {
        self.report.borrow_mut().take()
    }
    fn set_senders(&self, _: NetSocket, _: IpAddr, only: bool, all: &[IpAddr]) -> Result<()> {
        *self.senders.borrow_mut() = (only, all.to_vec());
        Ok(())
    }
    fn set_member(&self, _: NetSocket, group: IpAddr, enter: bool) -> Result<()> {
        let mut groups = self.groups.borrow_mut();
        groups.retain(|g| *g != group);
        if enter {
            groups.push(group);
        }
        Ok(())
    }
    fn abort(&self, socket: NetSocket) {
        self.aborted.set(self.aborted.get() + 1);
        self.close(socket);
    }
    fn local(&self, _: NetSocket) -> Result<SocketAddr> {
        Ok(([10, 0, 0, 2], 40_000).into())
    }
    fn set_option(&self, _: NetSocket, _: u32, _: u32, _: i32) {}
    fn set_keep_alive(&self, _: NetSocket, how: Option<KeepAlive>) {
        self.keeps_alive.set(how);
    }
    fn readiness(&self, socket: NetSocket) -> Events {
        let readable = self.with(socket, |b| !b.is_empty()).unwrap_or(false);
        if readable {
            Events::READ | Events::WRITE
        } else {
            Events::WRITE
        }
    }
    fn close(&self, socket: NetSocket) {
        self.open.borrow_mut().retain(|(n, _)| *n != socket.0);
    }
}

impl Env for Echo {
    fn monotonic(&self) -> u64 {
        self.world.monotonic()
    }
    fn realtime(&self) -> u64 {
        self.world.realtime()
    }
    fn random(&self, bytes: &mut [u8]) {
        self.world.random(bytes);
    }
    fn process(&self) -> &dyn ProcInfo {
        &self.world
    }
    fn network(&self) -> Option<&dyn Network> {
        Some(self)
    }
}

fn at(text: &str) -> Address {
    Address::Inet(text.parse().unwrap())
}

#[test]
fn a_connection_leaves_by_the_network_and_is_closed_there_with_its_descriptor() {
    let (mut o, net) = (objects(), Echo::default());
    let fd = o.socket_create(2, 1, 0).unwrap();
    let desc = o.lookup_fd(fd).unwrap();
    assert_eq!(
        o.connect(&net, desc, at("10.0.0.9:80")),
        Err(Errno::EINPROGRESS)
    );
    assert_eq!(o.connect_result(&net, desc), Ok(()));
    assert_eq!(o.write(&net, fd, &mut &b"ello"[..]), Ok(4));
    let mut buffer = [0; 9];
    assert_eq!(o.read(&net, fd, &mut &mut buffer[..]), Ok(5));
    assert_eq!(&buffer[..5], b"hello");
    assert_eq!(o.read(&net, fd, &mut &mut buffer[..]), Err(Errno::EAGAIN));
    o.close(fd).unwrap();
    assert!(o.has_closed_network());
    o.sweep_network(&net);
    assert!(net.open.borrow().is_empty() && !o.has_closed_network());
}

#[test]
fn a_clone_listens_by_itself_and_its_parents_connections_are_reset() {
    let (mut o, net) = (objects(), Echo::default());
    let l = o.socket_create(10, 1, 0).unwrap();
    let dl = o.lookup_fd(l).unwrap();
    o.bind(&net, dl, at("[::]:8080")).unwrap();
    o.listen(&net, dl, 5).unwrap();
    let (s, from) = o.accept(&net, dl, 0).unwrap();
    assert_eq!(from, at("10.0.0.9:999"));
    o.write(&net, s, &mut &b"mine"[..]).unwrap();
    let (mut copy, other) = (o.clone(), Echo::default());
    copy.reset_connections(&other);
    let mut buffer = [0; 9];
    assert_eq!(
        copy.read(&other, s, &mut &mut buffer[..]),
        Err(Errno::ECONNRESET)
    );
    assert_eq!(copy.read(&other, s, &mut &mut buffer[..]), Ok(0));
    assert_eq!(copy.write(&other, s, &mut &b"x"[..]), Err(Errno::EPIPE));
    assert!(copy.accept(&other, dl, 0).is_ok());
    copy.close(s).unwrap();
    copy.sweep_network(&other);
    assert_eq!(o.read(&net, s, &mut &mut buffer[..]), Ok(4));
    assert_eq!(
        net.open.borrow().len(),
        2,
        "the parent's listener and connection"
    );
}

#[test]
fn a_connection_to_the_machines_own_address_leaves_unless_the_uc_listens_there() {
    let (mut o, net) = (objects(), Echo::default());
    let stream = |o: &mut Objects| {
        let fd = o.socket_create(2, 1, 0).unwrap();
        o.lookup_fd(fd).unwrap()
    };
    let to_machine = stream(&mut o);
    assert_eq!(
        o.connect(&net, to_machine, at("10.0.0.2:80")),
        Err(Errno::EINPROGRESS)
    );
    assert_eq!(net.open.borrow().len(), 1);
    let listener = stream(&mut o);
    o.bind(&net, listener, at("127.0.0.1:81")).unwrap();
    o.listen(&net, listener, 1).unwrap();
    let to_self = stream(&mut o);
    assert_eq!(o.connect(&net, to_self, at("127.0.0.1:81")), Ok(()));
    let to_nobody = stream(&mut o);
    assert_eq!(
        o.connect(&net, to_nobody, at("127.0.0.1:82")),
        Err(Errno::ECONNREFUSED),
        "loopback is the UC's own"
    );
    assert_eq!(net.open.borrow().len(), 1);
}

/// An option's value as a guest writes it.
fn on() -> [u8; 4] {
    1i32.to_le_bytes()
}

#[test]
fn what_waits_beyond_the_uc_is_counted_seen_and_taken() {
    let (mut o, net) = (objects(), Echo::default());
    let fd = o.socket_create(2, 2, 0).unwrap();
    let d = o.lookup_fd(fd).unwrap();
    let to = Some(at("10.0.0.9:53"));
    assert_eq!(
        o.send(&net, d, &mut &b"query"[..], to, &[], MessageFlags::empty()),
        Ok(5)
    );
    assert_eq!(o.bytes_available(&net, d), Ok(5));
    let mut buffer = [0; 9];
    let mut take = |flags| o.receive(&net, d, &mut &mut buffer[..], 0, flags);
    for flags in [MessageFlags::PEEK, MessageFlags::empty()] {
        let received = take(flags).unwrap();
        assert_eq!((received.len, received.from), (5, at("10.0.0.9:53")));
        assert_eq!(received.carried.map(|c| c.hop_limit), Some(9));
    }
    assert_eq!(take(MessageFlags::empty()), Err(Errno::EAGAIN));
    assert_eq!(o.bytes_available(&net, d), Ok(0));
}

#[test]
fn an_error_of_a_connection_is_told_once_and_then_its_end() {
    let (mut o, net) = (objects(), Echo::default());
    let fd = o.socket_create(2, 1, 0).unwrap();
    let d = o.lookup_fd(fd).unwrap();
    o.connect(&net, d, at("10.0.0.9:80")).unwrap_err();
    o.connect_result(&net, d).unwrap();
    net.error.set(Some(Errno::ECONNRESET));
    let mut buffer = [0; 9];
    assert_eq!(
        o.read(&net, fd, &mut &mut buffer[..]),
        Err(Errno::ECONNRESET)
    );
    let so_error = (1, 4);
    assert_eq!(o.socket_option(&net, d, so_error, 4), Ok(vec![0; 4]));
    net.error.set(Some(Errno::ECONNRESET));
    let told = Errno::ECONNRESET.number().to_le_bytes().to_vec();
    assert_eq!(o.socket_option(&net, d, so_error, 4), Ok(told));
    assert_eq!(o.socket_option(&net, d, so_error, 4), Ok(vec![0; 4]));
}

#[test]
fn how_a_connection_is_kept_alive_reaches_the_stack_whenever_it_is_set() {
    let (mut o, net) = (objects(), Echo::default());
    let fd = o.socket_create(2, 1, 0).unwrap();
    let d = o.lookup_fd(fd).unwrap();
    let to = Address::Inet(([10, 0, 0, 9], 80).into());
    assert_eq!(o.connect(&net, d, to), Err(Errno::EINPROGRESS));
    let set = |o: &mut Objects, name, value: i32| {
        o.set_socket_option(&net, d, name, &value.to_le_bytes())
            .unwrap();
        net.keeps_alive
            .get()
            .map(|k| (k.idle_s, k.interval_s, k.count))
    };
    assert_eq!(set(&mut o, (6, 5), 20), None);
    assert_eq!(set(&mut o, (1, 9), 1), Some((7200, 20, 9)));
    assert_eq!(set(&mut o, (6, 4), 60), Some((60, 20, 9)));
    assert_eq!(set(&mut o, (6, 6), 3), Some((60, 20, 3)));
    assert_eq!(set(&mut o, (1, 9), 0), None);
}

#[test]
fn what_listens_on_all_addresses_of_ipv6_says_whether_it_means_both_families() {
    let (mut o, net) = (objects(), Echo::default());
    for only in [false, true] {
        for kind in [1, 2] {
            let fd = o.socket_create(10, kind, 0).unwrap();
            let d = o.lookup_fd(fd).unwrap();
            let value = i32::from(only).to_le_bytes();
            o.set_socket_option(&net, d, (41, 26), &value).unwrap();
            let all = Address::Inet((core::net::Ipv6Addr::UNSPECIFIED, 80).into());
            o.bind(&net, d, all).unwrap();
            if kind == 1 {
                o.listen(&net, d, 5).unwrap();
            }
            assert_eq!(net.only_v6.get(), only);
            o.close(fd).unwrap();
        }
    }
}

/// Connects to the outside, and closes with that value of `SO_LINGER`.
fn close_lingering(o: &mut Objects, net: &Echo, linger: &[u8]) {
    let fd = o.socket_create(2, 1, 0).unwrap();
    let d = o.lookup_fd(fd).unwrap();
    o.connect(net, d, at("10.0.0.9:80")).unwrap_err();
    o.connect_result(net, d).unwrap();
    o.set_socket_option(net, d, (1, 13), linger).unwrap();
    o.close(fd).unwrap();
}

#[test]
fn a_linger_of_zero_resets_the_peer_within_the_uc_and_beyond() {
    let (mut o, net) = (objects(), Echo::default());
    let linger = [1i32.to_le_bytes(), 0i32.to_le_bytes()].concat();
    close_lingering(&mut o, &net, &linger);
    o.sweep_network(&net);
    assert_eq!((net.aborted.get(), net.open.borrow().len()), (1, 0));
    let (client, server) = pair(&mut o, &net);
    let dc = o.lookup_fd(client).unwrap();
    o.write(&net, client, &mut &b"last"[..]).unwrap();
    o.set_socket_option(&net, dc, (1, 13), &linger).unwrap();
    o.close(client).unwrap();
    let mut buffer = [0; 9];
    let mut read = || o.read(&net, server, &mut &mut buffer[..]);
    assert_eq!(read(), Ok(4), "what has come stays");
    assert_eq!(read(), Err(Errno::ECONNRESET));
    assert_eq!(read(), Ok(0));
}

#[test]
fn a_connection_that_lingers_is_closed_when_its_closer_says_so_or_with_all_others() {
    let (mut o, net) = (objects(), Echo::default());
    let linger = [1i32.to_le_bytes(), 7i32.to_le_bytes()].concat();
    let close = |o: &mut Objects| close_lingering(o, &net, &linger);
    close(&mut o);
    let (lingers, seconds) = o.take_lingering(0).expect("it has a time");
    assert_eq!(seconds, 7);
    assert_eq!(o.take_lingering(0), None);
    o.sweep_network(&net);
    assert_eq!(net.open.borrow().len(), 1, "it is not closed yet");
    o.close_network(lingers);
    o.sweep_network(&net);
    assert_eq!(net.open.borrow().len(), 0);
    // One that somebody else has closed is not waited for.
    close(&mut o);
    assert_eq!(o.take_lingering(o.closed_network()), None);
    o.sweep_network(&net);
    assert_eq!((net.open.borrow().len(), net.aborted.get()), (0, 0));
    assert_eq!(o.take_lingering(0), None);
}

/// A connection within the UC: the client's descriptor and the server's.
fn pair(o: &mut Objects, net: &Echo) -> (Fd, Fd) {
    let l = o.socket_create(2, 1, 0).unwrap();
    let dl = o.lookup_fd(l).unwrap();
    o.bind(net, dl, at("127.0.0.1:0")).unwrap();
    o.listen(net, dl, 5).unwrap();
    let (_, listening) = o.socket_name(dl).unwrap();
    let c = o.socket_create(2, 1, 0).unwrap();
    let dc = o.lookup_fd(c).unwrap();
    o.connect(net, dc, listening).unwrap();
    (c, o.accept(net, dl, 0).unwrap().0)
}

#[test]
fn connections_wait_for_room_in_a_full_backlog() {
    let (mut o, net) = (objects(), Echo::default());
    let l = o.socket_create(2, 1, 0).unwrap();
    let dl = o.lookup_fd(l).unwrap();
    o.bind(&net, dl, at("127.0.0.1:8080")).unwrap();
    o.listen(&net, dl, 0).unwrap();
    let connect = |o: &mut Objects| {
        let fd = o.socket_create(2, 1, 0).unwrap();
        let d = o.lookup_fd(fd).unwrap();
        (d, o.connect(&net, d, at("127.0.0.1:8080")))
    };
    assert_eq!(connect(&mut o).1, Ok(()));
    let (waits, result) = connect(&mut o);
    assert_eq!(result, Err(Errno::EINPROGRESS));
    assert_eq!(o.connect_result(&net, waits), Err(Errno::EAGAIN));
    o.accept(&net, dl, 0).unwrap();
    assert_eq!(o.connect_result(&net, waits), Ok(()));
    let (refused, result) = connect(&mut o);
    assert_eq!(result, Err(Errno::EINPROGRESS));
    o.close(l).unwrap();
    assert_eq!(o.connect_result(&net, refused), Err(Errno::ECONNREFUSED));
}

#[test]
fn the_machines_own_address_is_its_own_peer() {
    let (mut o, net) = (objects(), Echo::default());
    let l = o.socket_create(2, 1, 0).unwrap();
    let dl = o.lookup_fd(l).unwrap();
    o.bind(&net, dl, at("0.0.0.0:8080")).unwrap();
    o.listen(&net, dl, 5).unwrap();
    let c = o.socket_create(2, 1, 0).unwrap();
    let dc = o.lookup_fd(c).unwrap();
    o.connect(&net, dc, at("10.0.0.2:8080")).unwrap();
    let (s, Address::Inet(from)) = o.accept(&net, dl, 0).unwrap() else {
        panic!()
    };
    let own: IpAddr = [10, 0, 0, 2].into();
    assert_eq!(from.ip(), own);
    let ds = o.lookup_fd(s).unwrap();
    assert_eq!(o.socket_name(ds).unwrap().1, at("10.0.0.2:8080"));
    let a = o.socket_create(2, 2, 0).unwrap();
    let b = o.socket_create(2, 2, 0).unwrap();
    let (da, db) = (o.lookup_fd(a).unwrap(), o.lookup_fd(b).unwrap());
    o.bind(&net, db, at("0.0.0.0:53")).unwrap();
    let to = Some(at("10.0.0.2:53"));
    let none = MessageFlags::empty();
    o.send(&net, da, &mut &b"x"[..], to, &[], none).unwrap();
    let mut buffer = [0; 9];
    let got = o.receive(&net, db, &mut &mut buffer[..], 0, none).unwrap();
    assert!(matches!(got.from, Address::Inet(from) if from.ip() == own));
}

#[test]
fn listeners_that_share_a_port_have_one_below_and_each_some_of_its_connections() {
    let (mut o, net) = (objects(), Echo::default());
    let listen = |o: &mut Objects| {
        let fd = o.socket_create(2, 1, 0).unwrap();
        let d = o.lookup_fd(fd).unwrap();
        o.set_socket_option(&net, d, (1, 15), &on()).unwrap();
        o.bind(&net, d, at("0.0.0.0:8080")).unwrap();
        o.listen(&net, d, 50).unwrap();
        (fd, d)
    };
    let listeners = [listen(&mut o), listen(&mut o), listen(&mut o)];
    assert_eq!(net.open.borrow().len(), 1);
    let call = |ports: core::ops::Range<u16>| {
        let callers = ports.map(|port| ([10, 0, 0, 9], port).into());
        *net.callers.borrow_mut() = Some(callers.collect());
    };
    let accept_all = |o: &mut Objects, d| {
        let mut taken = 0;
        while o.accept(&net, d, 0).is_ok() {
            taken += 1;
        }
        taken
    };
    call(4000..4060);
    assert_eq!(o.poll(&net, listeners[2].1), Events::READ);
    let taken = listeners.map(|(_, d)| accept_all(&mut o, d));
    assert_eq!(taken.iter().sum::<usize>(), 60);
    assert!(taken.iter().all(|n| *n > 8), "{taken:?}");
    // A clone's have one of its own.
    let (mut copy, other) = (o.clone(), Echo::default());
    copy.reset_connections(&other);
    assert_eq!(other.open.borrow().len(), 1);
    // Who was the first may be the first that goes.
    o.close(listeners[0].0).unwrap();
    call(4100..4120);
    let taken = [1, 2].map(|n| accept_all(&mut o, listeners[n].1));
    assert!(taken[0] + taken[1] == 20 && taken[0] > 0 && taken[1] > 0);
    o.shutdown(&net, listeners[1].1, 2).unwrap();
    call(4200..4210);
    assert_eq!(accept_all(&mut o, listeners[2].1), 10);
    o.close(listeners[2].0).unwrap();
    o.sweep_network(&net);
    assert_eq!(net.open.borrow().len(), 90, "what was accepted");
    assert!(o.sockets.groups.is_empty());
}

#[test]
fn ports_are_shared_beyond_the_uc_too() {
    let (mut o, net) = (objects(), Echo::default());
    let fd = o.socket_create(2, 2, 0).unwrap();
    let d = o.lookup_fd(fd).unwrap();
    o.set_socket_option(&net, d, (1, 2), &on()).unwrap();
    o.bind(&net, d, at("0.0.0.0:5353")).unwrap();
    assert!(net.shared.get());
}

#[test]
fn a_datagram_socket_with_a_peer_beyond_hears_only_that() {
    let (mut o, net) = (objects(), Echo::default());
    let fd = o.socket_create(2, 2, 0).unwrap();
    let d = o.lookup_fd(fd).unwrap();
    o.connect(&net, d, at("10.0.0.9:53")).unwrap();
    assert_eq!(net.peer.get(), Some(([10, 0, 0, 9], 53).into()));
    o.connect(&net, d, Address::Unnamed).unwrap();
    assert_eq!(net.peer.get(), None);
}

#[test]
fn groups_entered_before_the_socket_has_a_port_are_heard_as_well() {
    let (mut o, net) = (objects(), Echo::default());
    let fd = o.socket_create(2, 2, 0).unwrap();
    let d = o.lookup_fd(fd).unwrap();
    let group = [224, 0, 0, 251, 0, 0, 0, 0];
    let (enter, leave) = ((0, 35), (0, 36));
    o.set_socket_option(&net, d, enter, &group).unwrap();
    let again = o.set_socket_option(&net, d, enter, &group);
    assert_eq!(again, Err(Errno::EADDRINUSE));
    o.bind(&net, d, at("0.0.0.0:5353")).unwrap();
    assert_eq!(net.groups.borrow().len(), 1);
    o.set_socket_option(&net, d, leave, &group).unwrap();
    assert_eq!(net.groups.borrow().len(), 0);
    let no_member = o.set_socket_option(&net, d, leave, &group);
    assert_eq!(no_member, Err(Errno::EADDRNOTAVAIL));
    let no_group = o.set_socket_option(&net, d, enter, &[10, 0, 0, 9, 0, 0, 0, 0]);
    assert_eq!(no_group, Err(Errno::EINVAL));
}

#[test]
fn a_member_chooses_whom_it_hears_in_a_group() {
    let (mut o, net) = (objects(), Echo::default());
    let fd = o.socket_create(2, 2, 0).unwrap();
    let d = o.lookup_fd(fd).unwrap();
    let request = |sender: u8| [224, 0, 0, 251, 0, 0, 0, 0, 10, 0, 0, sender];
    let (enter, unblock, block, join, leave) = ((0, 35), (0, 37), (0, 38), (0, 39), (0, 40));
    let refused = o.set_socket_option(&net, d, block, &request(1));
    assert_eq!(refused, Err(Errno::EINVAL), "it is no member");
    o.set_socket_option(&net, d, join, &request(1)).unwrap();
    let again = o.set_socket_option(&net, d, join, &request(1));
    assert_eq!(again, Err(Errno::EADDRNOTAVAIL));
    o.bind(&net, d, at("0.0.0.0:5353")).unwrap();
    assert_eq!(net.groups.borrow().len(), 1);
    let ip = |n: u8| IpAddr::from([10, 0, 0, n]);
    assert_eq!(*net.senders.borrow(), (true, vec![ip(1)]));
    let mixed = o.set_socket_option(&net, d, block, &request(2));
    assert_eq!(mixed, Err(Errno::EINVAL), "the list says who is heard");
    o.set_socket_option(&net, d, join, &request(2)).unwrap();
    o.set_socket_option(&net, d, leave, &request(1)).unwrap();
    assert_eq!(*net.senders.borrow(), (true, vec![ip(2)]));
    o.set_socket_option(&net, d, leave, &request(2)).unwrap();
    assert_eq!(net.groups.borrow().len(), 0, "the last is the membership");
    o.set_socket_option(&net, d, enter, &request(0)[..8])
        .unwrap();
    let unknown = o.set_socket_option(&net, d, unblock, &request(3));
    assert_eq!(unknown, Err(Errno::EADDRNOTAVAIL));
    for n in 0..10 {
        o.set_socket_option(&net, d, block, &request(n)).unwrap();
    }
    let full = o.set_socket_option(&net, d, block, &request(10));
    assert_eq!(full, Err(Errno::ENOBUFS));
    assert_eq!(net.senders.borrow().1.len(), 10);
}

#[test]
fn a_refused_datagram_is_in_the_queue_of_answers_if_the_sender_wants_it() {
    let (mut o, net) = (objects(), Echo::default());
    let fd = o.socket_create(2, 2, 0).unwrap();
    let d = o.lookup_fd(fd).unwrap();
    let none = MessageFlags::empty();
    let mut buffer = [0; 9];
    let nothing = o.receive(&net, d, &mut &mut buffer[..], 0, MessageFlags::ERRQUEUE);
    assert_eq!(nothing, Err(Errno::EAGAIN), "it is never waited for");
    o.set_socket_option(&net, d, (0, 11), &on()).unwrap();
    let to = Some(at("127.0.0.1:9"));
    o.send(&net, d, &mut &b"hello"[..], to, &[], none).unwrap();
    assert_eq!(o.poll(&net, d) & Events::ERR, Events::ERR);
    let got = o.receive(&net, d, &mut &mut buffer[..], 0, MessageFlags::ERRQUEUE);
    let got = got.unwrap();
    assert_eq!((got.len, got.from), (5, at("127.0.0.1:9")));
    assert!(got.flags.contains(MessageFlags::ERRQUEUE));
    assert_eq!(got.report.unwrap().errno, Errno::ECONNREFUSED);
    assert!(!o.poll(&net, d).contains(Events::ERR));
}

#[test]
fn parts_of_a_datagram_are_sent_together() {
    let (mut o, net) = (objects(), Echo::default());
    let fd = o.socket_create(2, 2, 0).unwrap();
    let d = o.lookup_fd(fd).unwrap();
    o.connect(&net, d, at("10.0.0.9:53")).unwrap();
    let mut send = |bytes: &[u8], flags| o.send(&net, d, &mut &bytes[..], None, &[], flags);
    assert_eq!(send(b"one ", MessageFlags::MORE), Ok(4));
    assert_eq!(net.queued(NetSocket(1)).0, 0);
    assert_eq!(send(b"datagram", MessageFlags::empty()), Ok(8));
    assert_eq!(o.bytes_available(&net, d), Ok(12));
    let cork = (17, 1);
    o.set_socket_option(&net, d, cork, &on()).unwrap();
    let none = MessageFlags::empty();
    o.send(&net, d, &mut &b"more"[..], None, &[], none).unwrap();
    assert_eq!(o.bytes_available(&net, d), Ok(12));
    o.set_socket_option(&net, d, cork, &[0; 4]).unwrap();
    assert_eq!(o.bytes_available(&net, d), Ok(16));
}

#[test]
fn everybody_is_spoken_to_only_on_purpose() {
    let (mut o, net) = (objects(), Echo::default());
    let fd = o.socket_create(2, 2, 0).unwrap();
    let d = o.lookup_fd(fd).unwrap();
    let to = || Some(at("255.255.255.255:9"));
    let none = MessageFlags::empty();
    let sent = o.send(&net, d, &mut &b"x"[..], to(), &[], none);
    assert_eq!(sent, Err(Errno::EACCES));
    o.set_socket_option(&net, d, (1, 6), &on()).unwrap();
    let sent = o.send(&net, d, &mut &b"x"[..], to(), &[], none);
    assert_eq!(sent, Ok(1));
}
