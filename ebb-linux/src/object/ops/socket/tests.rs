//! Sockets by behaviour.

use core::net::SocketAddr;

use super::message::MessageFlags;
use crate::object::{
    Objects,
    errno::{Errno, Result},
    id::{DescId, Fd},
    kind::socket::address::{Address, Domain},
    testing::{World, objects},
    wait::Events,
};

const STREAM: u32 = 1;
const DGRAM: u32 = 2;
const NONBLOCK: u32 = 0o4000;

fn inet(text: &str) -> Address {
    Address::Inet(text.parse::<SocketAddr>().unwrap())
}

fn desc(o: &Objects, fd: Fd) -> DescId {
    o.lookup_fd(fd).unwrap()
}

fn read(o: &mut Objects, w: &World, fd: Fd, n: usize) -> Result<alloc::vec::Vec<u8>> {
    let mut buffer = alloc::vec![0; n];
    let n = o.read(w, fd, &mut &mut buffer[..])?;
    buffer.truncate(n);
    Ok(buffer)
}

fn listener(o: &mut Objects, w: &World, domain: u32, at: Address) -> Fd {
    let fd = o.socket_create(domain, STREAM, 0).unwrap();
    let d = desc(o, fd);
    o.bind(w, d, at).unwrap();
    o.listen(w, d, 8).unwrap();
    fd
}

#[test]
fn loopback_tcp_connects_carries_bytes_both_ways_and_ends() {
    let (mut o, w) = (objects(), World::default());
    let l = listener(&mut o, &w, 2, inet("0.0.0.0:0"));
    let Address::Inet(at) = o.socket_name(desc(&o, l)).unwrap().1 else {
        panic!()
    };
    assert!(at.port() >= 32768);
    let d = desc(&o, l);
    assert_eq!(o.accept(&w, d, 0), Err(Errno::EAGAIN));
    let c = o.socket_create(2, STREAM | NONBLOCK, 0).unwrap();
    let to = inet(&alloc::format!("127.0.0.1:{}", at.port()));
    let dc = desc(&o, c);
    assert_eq!(o.connect(&w, dc, to.clone()), Err(Errno::EINPROGRESS));
    assert!(o.poll(&w, dc).contains(Events::OUT));
    assert_eq!(o.connect_result(&w, dc), Ok(()));
    assert_eq!(o.connect(&w, dc, to.clone()), Err(Errno::EISCONN));
    let (s, from) = o.accept(&w, d, 0).unwrap();
    assert_eq!(from, o.socket_name(dc).unwrap().1);
    assert_eq!(o.peer_name(&w, dc).unwrap().1, to);
    assert_eq!(o.write(&w, c, &mut &b"GET /"[..]), Ok(5));
    assert_eq!(read(&mut o, &w, s, 3).unwrap(), b"GET");
    assert_eq!(read(&mut o, &w, s, 9).unwrap(), b" /");
    assert_eq!(read(&mut o, &w, s, 9), Err(Errno::EAGAIN));
    assert_eq!(o.write(&w, s, &mut &b"200"[..]), Ok(3));
    let ds = desc(&o, s);
    o.shutdown(&w, ds, 1).unwrap();
    assert_eq!(read(&mut o, &w, c, 9).unwrap(), b"200");
    assert_eq!(read(&mut o, &w, c, 9).unwrap(), b"");
    assert!(o.poll(&w, dc).contains(Events::RDHUP | Events::IN));
    o.close(s).unwrap();
    assert_eq!(
        o.write(&w, c, &mut &b"late"[..]),
        Ok(4),
        "the reset is yet to come"
    );
    assert_eq!(o.write(&w, c, &mut &b"late"[..]), Err(Errno::EPIPE));
    o.close(c).unwrap();
    o.close(l).unwrap();
    assert!(o.kinds.sockets.is_empty() && o.sockets.bytes == 0);
}

#[test]
fn nobody_listening_is_refused_at_once_or_after_einprogress() {
    let (mut o, w) = (objects(), World::default());
    let c = o.socket_create(2, STREAM, 0).unwrap();
    let d = desc(&o, c);
    assert_eq!(
        o.connect(&w, d, inet("127.0.0.1:9")),
        Err(Errno::ECONNREFUSED)
    );
    let c = o.socket_create(10, STREAM | NONBLOCK, 0).unwrap();
    let d = desc(&o, c);
    assert_eq!(o.connect(&w, d, inet("[::1]:9")), Err(Errno::EINPROGRESS));
    assert!(
        o.poll(&w, d)
            .contains(Events::ERR | Events::HUP | Events::OUT)
    );
    let error = o.socket_option(&w, d, (1, 4), 4).unwrap();
    assert_eq!(error, Errno::ECONNREFUSED.number().to_le_bytes());
    let outside = o.socket_create(2, STREAM, 0).unwrap();
    let d = desc(&o, outside);
    assert_eq!(
        o.connect(&w, d, inet("192.0.2.1:80")),
        Err(Errno::ENETUNREACH)
    );
}

#[test]
fn ports_conflict_as_in_linux() {
    let (mut o, w) = (objects(), World::default());
    listener(&mut o, &w, 10, inet("[::]:8080"));
    let mut attempt = |domain: u32, at: &str, options: &[(u32, u32)]| {
        let fd = o.socket_create(domain, STREAM, 0).unwrap();
        let d = desc(&o, fd);
        for &option in options {
            o.set_socket_option(&w, d, option, &1i32.to_le_bytes())
                .unwrap();
        }
        let result = o.bind(&w, d, inet(at));
        o.close(fd).unwrap();
        result
    };
    assert_eq!(
        attempt(2, "127.0.0.1:8080", &[]),
        Err(Errno::EADDRINUSE),
        "::] hears IPv4 too"
    );
    assert_eq!(
        attempt(10, "[::1]:8080", &[(1, 2)]),
        Err(Errno::EADDRINUSE),
        "it listens"
    );
    assert_eq!(attempt(2, "127.0.0.1:8081", &[]), Ok(()));
    assert_eq!(attempt(2, "10.0.0.1:1", &[]), Err(Errno::EADDRNOTAVAIL));
}

#[test]
fn datagrams_arrive_whole_with_their_senders_address() {
    let (mut o, w) = (objects(), World::default());
    let a = o.socket_create(2, DGRAM, 0).unwrap();
    let b = o.socket_create(2, DGRAM, 0).unwrap();
    let (da, db) = (desc(&o, a), desc(&o, b));
    o.bind(&w, da, inet("127.0.0.1:5353")).unwrap();
    let to = Some(inet("127.0.0.1:5353"));
    let none = MessageFlags::empty();
    assert_eq!(o.send(&w, db, &mut &b"query"[..], to, &[], none), Ok(5));
    let mut buffer = [0; 3];
    let got = o.receive(&w, da, &mut &mut buffer[..], 0, none).unwrap();
    assert_eq!((got.len, got.flags), (3, MessageFlags::TRUNC));
    let Address::Inet(from) = got.from else {
        panic!()
    };
    let Address::Inet(own) = o.socket_name(db).unwrap().1 else {
        panic!()
    };
    assert_eq!(from, SocketAddr::new([127, 0, 0, 1].into(), own.port()));
    o.connect(&w, db, inet("127.0.0.1:1")).unwrap();
    assert_eq!(o.write(&w, b, &mut &b"x"[..]), Ok(1));
    assert_eq!(o.write(&w, b, &mut &b"x"[..]), Err(Errno::ECONNREFUSED));
}

#[test]
fn unix_sockets_meet_by_path_and_carry_descriptors() {
    let (mut o, w) = (objects(), World::default());
    let path = Address::Path(b"/tmp/s".as_slice().into());
    let l = listener(&mut o, &w, 1, path.clone());
    let c = o.socket_create(1, STREAM, 0).unwrap();
    let (dl, dc) = (desc(&o, l), desc(&o, c));
    o.connect(&w, dc, path.clone()).unwrap();
    let (s, from) = o.accept(&w, dl, 0).unwrap();
    assert_eq!(from, Address::Unnamed);
    assert_eq!(o.peer_name(&w, dc).unwrap().1, path);
    let (r, p) = o.pipe(0).unwrap();
    let ds = desc(&o, s);
    let none = MessageFlags::empty();
    o.send(&w, ds, &mut &b"take"[..], None, &[p], none).unwrap();
    o.close(p).unwrap();
    let mut buffer = [0; 9];
    let got = o.receive(&w, dc, &mut &mut buffer[..], 8, none).unwrap();
    assert_eq!((got.len, got.fds.len()), (4, 1));
    assert_eq!(o.write(&w, got.fds[0], &mut &b"!"[..]), Ok(1));
    assert_eq!(read(&mut o, &w, r, 9).unwrap(), b"!");
    // In flight to a socket that is closed: closed too.
    o.send(&w, ds, &mut &b"x"[..], None, &got.fds, none)
        .unwrap();
    o.close(got.fds[0]).unwrap();
    o.close(c).unwrap();
    assert_eq!(read(&mut o, &w, r, 9).unwrap(), b"", "no writer is left");
    assert_eq!(read(&mut o, &w, s, 9), Err(Errno::ECONNRESET));
    let again = o.socket_create(1, STREAM, 0).unwrap();
    let d = desc(&o, again);
    assert_eq!(o.bind(&w, d, path.clone()), Err(Errno::EADDRINUSE));
    o.close(l).unwrap();
    assert_eq!(o.connect(&w, d, path), Err(Errno::ECONNREFUSED));
}

#[test]
fn every_socket_is_gone_when_its_descriptors_are() {
    let (mut o, w) = (objects(), World::default());
    let (a, b) = o.socketpair(1, STREAM, 0).unwrap();
    assert_eq!(
        o.write(&w, a, &mut &[1; 500_000][..]).map(|n| n > 50_000),
        Ok(true)
    );
    let l = listener(&mut o, &w, 2, inet("127.0.0.1:80"));
    let c = o.socket_create(2, STREAM, 0).unwrap();
    let d = desc(&o, c);
    o.connect(&w, d, inet("127.0.0.1:80")).unwrap();
    for fd in [a, b, l, c] {
        o.close(fd).unwrap();
    }
    assert_eq!(
        (o.kinds.sockets.len(), o.sockets.bytes, o.descriptions.len()),
        (0, 0, 0)
    );
    assert!(o.sockets.ports.is_empty());
}

#[test]
fn a_clone_keeps_loopback_connections_and_shares_nothing_with_its_parent() {
    let (mut o, w) = (objects(), World::default());
    let (a, b) = o.socketpair(1, STREAM, 0).unwrap();
    o.write(&w, a, &mut &b"before"[..]).unwrap();
    let mut copy = o.clone();
    copy.reset_connections(&w);
    copy.write(&w, a, &mut &b" copy"[..]).unwrap();
    assert_eq!(read(&mut o, &w, b, 20).unwrap(), b"before");
    assert_eq!(read(&mut copy, &w, b, 20).unwrap(), b"before copy");
}

#[test]
fn addresses_of_the_wrong_family_are_refused() {
    let (mut o, w) = (objects(), World::default());
    let fd = o.socket_create(2, STREAM, 0).unwrap();
    let d = desc(&o, fd);
    assert_eq!(o.bind(&w, d, inet("[::1]:80")), Err(Errno::EAFNOSUPPORT));
    assert_eq!(o.socket_create(17, DGRAM, 0), Err(Errno::EAFNOSUPPORT));
    assert_eq!(o.socket_create(2, STREAM, 17), Err(Errno::EPROTONOSUPPORT));
    assert_eq!(o.socketpair(2, STREAM, 0), Err(Errno::EOPNOTSUPP));
    assert_eq!(Address::parse(Domain::Inet, &[]), Err(Errno::EINVAL));
}

#[test]
fn connections_that_nobody_accepts_are_counted() {
    let (mut o, w) = (objects(), World::default());
    o.limits.sockets = 5;
    let path = Address::Abstract(b"x".as_slice().into());
    let l = listener(&mut o, &w, 1, path.clone());
    let mut connected = 0;
    for _ in 0..9 {
        let Ok(fd) = o.socket_create(1, STREAM, 0) else {
            break;
        };
        let d = desc(&o, fd);
        connected += u32::from(o.connect(&w, d, path.clone()).is_ok());
        o.close(fd).unwrap();
    }
    assert_eq!(
        (connected, o.kinds.sockets.len()),
        (3, 4),
        "and the fourth could not be made"
    );
    o.close(l).unwrap();
    assert!(o.kinds.sockets.is_empty());
}
