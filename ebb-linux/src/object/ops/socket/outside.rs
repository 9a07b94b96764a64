//! Sockets that leave the UC, over a network made up by the test.

use alloc::{collections::VecDeque, vec, vec::Vec};
use core::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
};

use crate::object::{
    Objects,
    env::{Env, NetSocket, Network, ProcInfo},
    errno::{Errno, Result},
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
    fn listen(&self, _: SocketAddr, _: usize) -> Result<NetSocket> {
        Ok(self.open())
    }
    fn accept(&self, listener: NetSocket) -> Result<(NetSocket, SocketAddr)> {
        self.with(listener, |_| ())?;
        Ok((self.open(), ([10, 0, 0, 9], 999).into()))
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
    fn bind(&self, _: SocketAddr) -> Result<NetSocket> {
        Ok(self.open())
    }
    fn receive_from(&self, _: NetSocket, _: &mut [u8]) -> Result<(usize, SocketAddr)> {
        Err(Errno::EAGAIN)
    }
    fn send_to(&self, _: NetSocket, bytes: &[u8], _: SocketAddr) -> Result<usize> {
        Ok(bytes.len())
    }
    fn local(&self, _: NetSocket) -> Result<SocketAddr> {
        Ok(([10, 0, 0, 2], 40_000).into())
    }
    fn set_option(&self, _: NetSocket, _: u32, _: u32, _: i32) {}
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
