//! `bench-tls PEM`: an HTTPS server with a small page and 64 MiB, on port 443.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;

use ebb_net::http::{Limits, Request, Response};
use ebb_tls::{Acceptor, Certificates, Identity, ServerSettings, http::HTTP_1_1};

/// Bytes of `/bulk`.
const BULK: usize = 64 << 20;

#[ebb::main]
async fn main() -> ebb::net::Result<()> {
    let pem = ebb::args().first().expect("a certificate and its key");
    let identity = Identity::from_pem(pem.as_bytes(), pem.as_bytes()).expect("the bench made it");
    let mut settings = ServerSettings::new(Certificates::new(vec![identity]));
    settings.alpn = vec![HTTP_1_1.to_vec()];
    let acceptor = Acceptor::new(settings).expect("TLS 1.3");
    let bulk: &'static [u8] = vec![7; BULK].leak();
    let handler = async move |request: &mut Request<'_>| match request.path() {
        "/bulk" => Response::new(200).body(bulk),
        _ => Response::text("hello\n"),
    };
    let server = ebb_tls::http::listen(443, acceptor, Limits::default(), handler).await;
    server?.failed().await
}
