//! The sockets, over whatever stack the program has: Linux's, or the image's own.

use alloc::{collections::VecDeque, vec, vec::Vec};
use core::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use ebb::{
    net::{
        Bytes, Error, Interest, tcp,
        tcp::{Shutdown, TcpListener, TcpStream},
        udp::UdpSocket,
    },
    spawn, time,
};

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(local(0)).unwrap();
    let address = listener.local_addr();
    let client = spawn(async move { TcpStream::connect(address).await.unwrap() });
    let (server, peer) = listener.accept().await.unwrap();
    let client = client.await.unwrap();
    assert_eq!(client.local_addr().unwrap(), peer);
    assert_eq!(client.peer_addr().unwrap(), address);
    (client, server)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| ((n * 31) ^ (n >> 8)) as u8).collect()
}

#[ebb::test]
async fn bytes_arrive_as_they_were_sent_and_end_with_a_half_close() {
    let (client, server) = pair().await;
    let data = pattern(3_000_000);
    let sent = data.clone();
    let sender = spawn(async move {
        client.write_all(&sent[..1_000_000]).await.unwrap();
        client
            .send(sent[1_000_000..2_000_000].to_vec())
            .await
            .unwrap();
        let pieces = sent[2_000_000..].chunks(777).map(Bytes::copy_from_slice);
        client.send_all(pieces).await.unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = [0; 2];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"ok");
        assert_eq!(client.read(&mut answer).await.unwrap(), 0);
    });
    let mut received = Vec::new();
    while let Some(()) = server
        .recv_with(|bytes| {
            // Not all of it, to see the rest again.
            let n = bytes.len().div_ceil(2);
            received.extend_from_slice(&bytes[..n]);
            (n, ())
        })
        .await
        .unwrap()
    {}
    assert!(received == data);
    server.write_all(b"ok").await.unwrap();
    drop(server);
    sender.await.unwrap();
}

#[ebb::test]
async fn readiness_is_what_the_try_functions_then_find() {
    let (client, server) = pair().await;
    assert_eq!(server.try_read(&mut [0; 8]), Err(Error::WouldBlock));
    assert!(!server.readiness().readable && server.readiness().writable);
    client.write_all(b"hello").await.unwrap();
    assert!(server.ready(Interest::READ).await.readable);
    let mut buffer = [0; 8];
    assert_eq!(server.try_peek(&mut buffer), Ok(5));
    assert_eq!(server.try_read(&mut buffer), Ok(5));
    assert_eq!(&buffer[..5], b"hello");
    // A peer that never reads stops the sender, and nothing else.
    let mut queue = VecDeque::new();
    loop {
        queue.push_back(Bytes::from(vec![7; 1 << 16]));
        if server.try_send(&mut queue) == Err(Error::WouldBlock) {
            assert!(!server.readiness().writable);
            let room = server.ready(Interest::WRITE);
            if time::timeout(Duration::from_millis(50), room)
                .await
                .is_err()
            {
                break;
            }
        }
    }
    let waited = time::timeout(Duration::from_millis(20), server.write_all(&[1])).await;
    assert_eq!(waited, Err(time::Elapsed));
    drop(client);
    let error = loop {
        if let Err(error) = server.write(&[1]).await {
            break error;
        }
    };
    assert!(
        matches!(error, Error::ConnectionReset | Error::BrokenPipe),
        "{error}"
    );
}

#[ebb::test]
async fn connecting_to_a_port_without_a_listener_is_refused() {
    let listener = TcpListener::bind(local(0)).unwrap();
    let address = listener.local_addr();
    drop(listener);
    assert_eq!(
        TcpStream::connect(address).await.unwrap_err(),
        Error::ConnectionRefused
    );
}

#[ebb::test]
async fn an_abort_resets_the_peer() {
    let (client, server) = pair().await;
    client.abort();
    assert_eq!(server.read(&mut [0; 8]).await, Err(Error::ConnectionReset));
}

#[ebb::test]
async fn a_core_listens_on_an_address_once() {
    let listener = TcpListener::bind(local(0)).unwrap();
    let again = TcpListener::bind(listener.local_addr()).unwrap_err();
    assert_eq!(again, Error::AddressInUse);
}

#[ebb::test(cores = 2)]
async fn what_serves_a_connection_may_be_an_async_closure_with_captures() {
    let greeting = alloc::string::String::from("hello");
    let server = tcp::listen_on_all_cores(local(0), async move |stream: TcpStream| {
        stream.write_all(greeting.as_bytes()).await
    })
    .await
    .unwrap();
    for _ in 0..3 {
        let stream = TcpStream::connect(server.local_addr()).await.unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");
    }
    server.stop().await;
}

#[ebb::test(cores = 4)]
async fn a_server_on_all_cores_serves_many_connections_at_once() {
    let server = tcp::listen_on_all_cores(local(0), async |stream: TcpStream| {
        let mut buffer = [0; 64];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
    })
    .await
    .unwrap();
    let address = server.local_addr();
    let clients: Vec<_> = ebb::cores()
        .flat_map(|core| [core; 25])
        .map(|core| {
            ebb::spawn_on(core, async move || {
                let stream = TcpStream::connect(address).await.unwrap();
                for n in 0..20u64 {
                    stream.write_all(&n.to_le_bytes()).await.unwrap();
                    let mut answer = [0; 8];
                    stream.read_exact(&mut answer).await.unwrap();
                    assert_eq!(u64::from_le_bytes(answer), n);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    server.stop().await;
    assert_eq!(
        TcpStream::connect(address).await.unwrap_err(),
        Error::ConnectionRefused
    );
}

#[ebb::test]
async fn a_connected_datagram_socket_hears_its_peer_only_and_that_nobody_is_there() {
    let (friend, stranger) = (
        UdpSocket::bind(local(0)).unwrap(),
        UdpSocket::bind(local(0)).unwrap(),
    );
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = socket.local_addr().port();
    socket.connect(friend.local_addr()).unwrap();
    assert_eq!(socket.local_addr(), local(port));
    stranger.send_to(b"no", local(port)).await.unwrap();
    friend.send_to(b"yes", local(port)).await.unwrap();
    let mut buffer = [0; 8];
    assert_eq!(socket.recv(&mut buffer).await, Ok(3));
    assert_eq!(&buffer[..3], b"yes");
    let gone = friend.local_addr();
    drop(friend);
    socket.send_to(b"x", gone).await.unwrap();
    assert_eq!(
        socket.recv(&mut buffer).await,
        Err(Error::ConnectionRefused)
    );
    socket.connect(None).unwrap();
    stranger.send_to(b"again", local(port)).await.unwrap();
    assert_eq!(socket.recv_from(&mut buffer).await.unwrap().0, 5);
}

#[ebb::test]
async fn several_datagram_sockets_share_a_port_if_all_say_so() {
    let first = UdpSocket::bind_shared((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = first.local_addr();
    let second = UdpSocket::bind_shared(at).unwrap();
    assert_eq!(second.local_addr(), at);
}

#[ebb::test]
async fn datagrams_carry_their_sender() {
    let (a, b) = (
        UdpSocket::bind(local(0)).unwrap(),
        UdpSocket::bind(local(0)).unwrap(),
    );
    a.send_to(b"one", b.local_addr()).await.unwrap();
    a.send_to(&[], b.local_addr()).await.unwrap();
    let mut buffer = [0; 16];
    assert_eq!(b.recv_from(&mut buffer).await, Ok((3, a.local_addr())));
    assert_eq!(b.recv_from(&mut buffer).await, Ok((0, a.local_addr())));
    assert_eq!(b.try_recv_from(&mut buffer), Err(Error::WouldBlock));
    b.connect(a.local_addr()).unwrap();
    b.send(b"two").await.unwrap();
    assert_eq!(
        a.recv_with(|bytes, _| bytes.to_vec()).await.unwrap(),
        b"two"
    );
    let seen = |peek| b.try_receive(peek, |datagram| (datagram.bytes.to_vec(), datagram.from));
    a.send_to(b"three", b.local_addr()).await.unwrap();
    b.ready(Interest::READ).await;
    for peek in [true, true, false] {
        assert_eq!(seen(peek), Ok((b"three".to_vec(), a.local_addr())));
    }
    assert_eq!(seen(false), Err(Error::WouldBlock));
    let long = vec![0; 70_000];
    assert_eq!(
        a.send_to(&long, b.local_addr()).await,
        Err(Error::MessageTooLong)
    );
}
