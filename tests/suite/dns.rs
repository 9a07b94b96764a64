//! The DNS client, against a server that is played here.

use alloc::{vec, vec::Vec};
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use ebb::{
    net::{
        Error, dns,
        dns::Resolver,
        tcp::{TcpListener, TcpStream},
        udp::UdpSocket,
    },
    spawn,
};

const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);

/// An answer to a query. What the name starts with says what it is like.
fn answer(query: &[u8], over_tcp: bool) -> Vec<u8> {
    let name = &query[12..query.len() - 4];
    let kind = query[query.len() - 3];
    let mut out = query.to_vec();
    out[2] = 0x81;
    out[3] = 0x80;
    let record = |out: &mut Vec<u8>, kind: u8, data: &[u8]| {
        // The name by a pointer to the question.
        out.extend_from_slice(&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
        out.extend_from_slice(data);
        out[7] += 1;
    };
    if name[1] == b'n' {
        out[3] |= 3;
    } else if name[1] == b't' && !over_tcp {
        out[2] |= 2;
    } else {
        record(&mut out, 5, &[1, b'x', 0xc0, 12]);
        match kind {
            1 => record(&mut out, 1, &V4.octets()),
            _ => record(&mut out, 28, &V6.octets()),
        }
    }
    out
}

/// Starts a server over UDP and TCP.
fn serve() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr();
    let listener = TcpListener::bind(address).unwrap();
    spawn(async move {
        let mut buffer = [0; 600];
        loop {
            let (n, from) = socket.recv_from(&mut buffer).await.unwrap();
            let query = &buffer[..n];
            if query[13] == b's' {
                continue;
            }
            // A forger is quicker, but does not know the number.
            let mut forged = answer(query, false);
            forged[0] ^= 0xff;
            socket.send_to(&forged, from).await.unwrap();
            socket.send_to(&forged[..7], from).await.unwrap();
            socket.send_to(&answer(query, false), from).await.unwrap();
        }
    });
    spawn(async move {
        loop {
            let (stream, _): (TcpStream, _) = listener.accept().await.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).await.unwrap();
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query).await.unwrap();
            let answer = answer(&query, true);
            stream
                .write_all(&(answer.len() as u16).to_be_bytes())
                .await
                .unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

#[ebb::test]
async fn names_become_addresses_of_both_families() {
    let mut resolver = Resolver::new([serve()]);
    resolver.timeout = Duration::from_millis(200);
    let both = vec![IpAddr::from(V4), V6.into()];
    assert_eq!(resolver.resolve("good.example").await, Ok(both.clone()));
    assert_eq!(resolver.resolve("truncated.example.").await, Ok(both));
    assert_eq!(
        resolver.resolve("none.example").await,
        Err(Error::NameNotFound)
    );
    assert_eq!(
        resolver.resolve("silent.example").await,
        Err(Error::TimedOut)
    );
    for bad in [
        "",
        ".",
        "a..b",
        "a b",
        &alloc::string::String::from_utf8(vec![b'a'; 64]).unwrap(),
    ] {
        assert_eq!(
            resolver.resolve(bad).await,
            Err(Error::InvalidInput),
            "{bad}"
        );
    }
}

#[ebb::test]
async fn an_address_is_its_own_name() {
    assert_eq!(dns::resolve("192.0.2.7").await, Ok(vec![V4.into()]));
    assert_eq!(dns::resolve("2001:db8::7").await, Ok(vec![V6.into()]));
    assert_eq!(
        dns::resolve("localhost").await.unwrap()[0],
        Ipv4Addr::LOCALHOST
    );
}
