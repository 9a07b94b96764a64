//! The program: serves HTTP on every core.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::{format, string::String};

use ebb::{
    net::http::{self, Limits},
    println,
};

// What the runner makes of the image's port unless EBB_FORWARD says otherwise: port 8080 of this machine.
ebb_archive::variables!("EBB_FORWARD=8080:80");

#[ebb::main]
async fn main() -> Result<u8, String> {
    let port = match ebb::args() {
        [] => 80,
        [port] if let Ok(port) = port.parse() => port,
        other => {
            println!("usage: {{name}} [PORT]   (0 to 65535; 80 when left out)");
            return Ok(if other == ["--help"] { 0 } else { 2 });
        }
    };
    let server = http::listen(port, Limits::default(), {{crate}}::answer)
        .await
        .map_err(|error| format!("listening on port {port}: {error}"))?;
    println!(
        "serving HTTP on {} with {} cores",
        server.local_addr(),
        ebb::core_count()
    );
    let failed = server.failed().await;
    failed.map_err(|error| format!("the server failed: {error}"))?;
    Ok(0)
}
