//! HTTPS.

use alloc::boxed::Box;

use ebb_net::{
    Stream,
    http::{Limits, Request, Response, serve_connection},
    tcp::{self, ToBindAddress},
};

use crate::Acceptor;

/// The name of HTTP/1.1 in ALPN.
pub const HTTP_1_1: &[u8] = b"http/1.1";

/// As [`ebb_net::http::listen`], behind TLS.
///
/// # Errors
/// As [`tcp::listen_on_all_cores`].
pub async fn listen<H>(
    address: impl ToBindAddress,
    acceptor: Acceptor,
    limits: Limits,
    handler: H,
) -> ebb_net::Result<tcp::Server>
where
    H: AsyncFn(&mut Request<'_>) -> Response + Clone + Send + 'static,
{
    tcp::listen_on_all_cores(address, async move |tcp| {
        // In a box, which is gone when the handshake is: the connection's task is there for as long as the connection.
        let accepted = Box::pin(async { acceptor.accept(tcp).await.ok().map(Stream::from) });
        // How a connection ended is the client's affair, and what its handshake lacked was said to it.
        if let Some(stream) = accepted.await {
            let _ = serve_connection(stream, &limits, &handler).await;
        }
    })
    .await
}
