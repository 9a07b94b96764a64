//! The program: a node that serves, or one that asks others.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::{format, string::String, vec::Vec};
use core::{net::SocketAddr, time::Duration};

use ebb::{EbbRef, println, time};
use ebb_distributed::{Config, Key, NodeId, RemoteRef, State, introduce, join, watch};

use {{crate}}::{Counter, total};

// What the runner makes of the image's port unless EBB_FORWARD says otherwise: port 7000 of this machine.
ebb_archive::variables!("EBB_FORWARD=7000:7000");

const USAGE: &str = "usage: {{name}} serve NODE KEY [PORT]     (KEY: 64 hexadecimal digits)\n       {{name}} add N KEY ADDRESS...       (of nodes 1, 2, ...)";

#[ebb::main]
async fn main() -> Result<u8, String> {
    match ebb::args() {
        ["serve", node, key, rest @ ..] => {
            let port = rest.first().map_or(Ok(7000), |port| port.parse());
            match (node.parse(), Key::from_hex(key), port) {
                (Ok(node), Some(key), Ok(port)) => serve(NodeId(node), key, port).await,
                _ => usage(),
            }
        }
        ["add", n, key, addresses @ ..] if !addresses.is_empty() => {
            let addresses: Result<Vec<SocketAddr>, _> =
                addresses.iter().map(|a| a.parse()).collect();
            match (n.parse(), Key::from_hex(key), addresses) {
                (Ok(n), Some(key), Ok(addresses)) => add(n, key, &addresses).await,
                _ => usage(),
            }
        }
        // Alone: a node with a key of its own, to look at.
        [] => serve(NodeId(1), Key::random(), 7000).await,
        ["--help"] => usage().map(|_| 0),
        _ => usage(),
    }
}

fn usage() -> Result<u8, String> {
    println!("{USAGE}");
    Ok(2)
}

async fn serve(node: NodeId, key: Key, port: u16) -> Result<u8, String> {
    EbbRef::<Counter>::new().serve();
    let server = join(Config::new(node, key, ([0, 0, 0, 0], port))).await;
    let server = server.map_err(|error| format!("listening on port {port}: {error}"))?;
    println!(
        "serving the counter as node {} on {}",
        node.0,
        server.local_addr()
    );
    let failed = server.failed().await;
    failed.map_err(|error| format!("the listener failed: {error}"))?;
    Ok(0)
}

async fn add(n: u64, key: Key, addresses: &[SocketAddr]) -> Result<u8, String> {
    let _listening = join(Config::new(NodeId(0), key, ([127, 0, 0, 1], 0)))
        .await
        .map_err(|error| format!("joining: {error}"))?;
    let mut nodes = Vec::new();
    for (number, address) in (1..).zip(addresses) {
        let node = NodeId(number);
        introduce(node, *address);
        let up = async { while watch(node).next().await == State::Down {} };
        if time::timeout(Duration::from_secs(10), up).await.is_err() {
            return Err(format!("node {number} at {address} does not answer"));
        }
        nodes.push(node);
        let counter = EbbRef::<Counter>::new()
            .at(node)
            .within(Duration::from_secs(1));
        let sum = counter
            .add(n)
            .await
            .map_err(|failure| format!("node {number}: {failure}"))?;
        println!("node {number} has {sum}");
    }
    let total = total(&nodes)
        .await
        .map_err(|failure| format!("{failure}"))?;
    println!("together {total}");
    Ok(0)
}
