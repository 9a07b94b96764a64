//! The program: accepts connections on every core.
#![no_std]
#![no_main]

use ebb::{
    net::tcp::{self, TcpStream},
    println,
};

// What the runner makes of the image's port unless EBB_FORWARD says otherwise: port 7007 of this machine.
ebb_archive::variables!("EBB_FORWARD=7007:7007");

#[ebb::main]
async fn main() -> ebb::net::Result<u8> {
    let port = match ebb::args() {
        [] => 7007,
        [port] if let Ok(port) = port.parse() => port,
        other => {
            println!("usage: {{name}} [PORT]   (0 to 65535; 7007 when left out)");
            return Ok(if other == ["--help"] { 0 } else { 2 });
        }
    };
    let server = tcp::listen_on_all_cores(port, async |stream: TcpStream| {
        // An error is the end of this connection and of nothing else.
        let _ = {{crate}}::serve(&stream).await;
    })
    .await?;
    println!(
        "serving on {} with {} cores",
        server.local_addr(),
        ebb::core_count()
    );
    server.failed().await?;
    Ok(0)
}
