//! Tests that run as a Linux process (`cargo test`) and in an image (`cargo ebb test`).
#![allow(missing_docs)]

use core::net::{Ipv4Addr, SocketAddr};

use ebb::net::tcp::{self, TcpStream};

use {{crate}}::{answer, serve};

#[ebb::test]
async fn what_was_set_is_read_and_what_was_not_is_missed() {
    assert_eq!(answer("GET colour").await, "NONE\n");
    assert_eq!(answer("SET colour dark blue").await, "OK\n");
    assert_eq!(answer("GET colour").await, "VALUE dark blue\n");
    assert!(answer("PUT x").await.starts_with("ERROR"));
}

#[ebb::test]
async fn lines_are_answered_in_their_order_however_they_arrive() {
    let server = tcp::listen_on_all_cores(0, async |stream: TcpStream| {
        let _ = serve(&stream).await;
    });
    let server = server.await.unwrap();
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, server.local_addr().port()));
    let client = TcpStream::connect(here).await.unwrap();
    client.write_all(b"SET a 1\nGET ").await.unwrap();
    client.write_all(b"a\n").await.unwrap();
    let mut answers = [0; 11];
    let mut filled = 0;
    while filled < answers.len() {
        let n = client.read(&mut answers[filled..]).await.unwrap();
        assert_ne!(n, 0, "ended after {filled} bytes");
        filled += n;
    }
    assert_eq!(&answers, b"OK\nVALUE 1\n");
}
