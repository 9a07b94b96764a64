//! The servers of the bench `net` in an image: what is sent to port 7 comes back (RFC 862), what is sent to port 9 is
//! counted, and port 19 sends as long as somebody reads (in the manner of RFC 863 and 864).

#![no_std]
#![no_main]

extern crate alloc;

use ebb::net::{
    Bytes,
    tcp::{self, TcpStream},
};

/// What port 19 sends, again and again: by reference, as a server sends what it has in memory.
static PATTERN: [u8; 64 << 10] = [b'p'; 64 << 10];

#[ebb::main]
async fn main() -> ebb::net::Result<()> {
    // An error is the end of a connection and of nothing else.
    let echo = tcp::listen_on_all_cores(7, async |stream: TcpStream| {
        let mut buffer = alloc::vec![0; 16 << 10];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
    })
    .await?;
    let _discard = tcp::listen_on_all_cores(9, async |stream: TcpStream| {
        let mut count = 0u64;
        while let Ok(Some(n)) = stream.recv_with(|bytes| (bytes.len(), bytes.len())).await {
            count += n as u64;
        }
        let _ = stream.write_all(&count.to_le_bytes()).await;
    })
    .await?;
    let _source = tcp::listen_on_all_cores(19, async |stream: TcpStream| {
        while stream.send(Bytes::from_static(&PATTERN)).await.is_ok() {}
    })
    .await?;
    echo.failed().await
}
