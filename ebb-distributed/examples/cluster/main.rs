//! A key-value store on several machines: each key is on two of them, chosen by its hash, and finds a new second place when a
//! machine dies.
//!
//! `ebb-distributed/examples/cluster/run` starts four images and the front end as a Linux process: that is all to see it. By hand,
//! with a key of 64 hexadecimal digits:
//!
//!     EBB_FORWARD=7001:7000 cargo run --example cluster -- back 1 KEY
//!     EBB_FORWARD=7002:7000 cargo run --example cluster -- back 2 KEY
//!     cargo hosted cluster -p ebb-distributed -- front KEY 127.0.0.1:7001 127.0.0.1:7002
//!
//! Back ends and front end are the same source. What a back end serves is in `table.rs`.

#![no_std]
#![no_main]

extern crate alloc;

mod table;

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};
use core::{net::SocketAddr, time::Duration};

use ebb::{EbbRef, println, time};
use ebb_distributed::{
    Config, Failure, Key, NodeId, RemoteRef, State, hash, introduce, join, placement, watch,
};
use table::{Table, TableAt};

ebb_archive::variables!("EBB_FORWARD=7000:7000");

const USAGE: &str = "usage: cluster back NODE KEY [PORT]\n       cluster front KEY ADDRESS...   (of nodes 1, 2, ...)";
/// Keys that the front end writes.
const KEYS: usize = 200;
/// Machines that have each of them.
const COPIES: usize = 2;

#[ebb::main]
async fn main() -> Result<u8, String> {
    match ebb::args() {
        ["back", node, key, rest @ ..] => {
            let port = rest.first().map_or(Ok(7000), |port| port.parse());
            match (node.parse(), Key::from_hex(key), port) {
                (Ok(node), Some(key), Ok(port)) => back(NodeId(node), key, port).await,
                _ => Err(String::from(USAGE)),
            }
        }
        ["front", key, addresses @ ..] if !addresses.is_empty() => {
            let key = Key::from_hex(key).ok_or(USAGE)?;
            let addresses: Result<Vec<SocketAddr>, _> =
                addresses.iter().map(|a| a.parse()).collect();
            front(key, &addresses.map_err(|_| USAGE)?).await
        }
        _ => Err(String::from(USAGE)),
    }
}

/// A machine that has a part of the table.
async fn back(node: NodeId, key: Key, port: u16) -> Result<u8, String> {
    EbbRef::<Table>::new().serve();
    let server = join(Config::new(node, key, ([0, 0, 0, 0], port)))
        .await
        .map_err(|error| format!("listening on port {port}: {error}"))?;
    println!(
        "serving the table as node {} on {}",
        node.0,
        server.local_addr()
    );
    server
        .failed()
        .await
        .map_err(|error| format!("the listener failed: {error}"))?;
    Ok(0)
}

/// The table on a node. Whoever asks wants to know within a second.
fn table(node: NodeId) -> TableAt {
    EbbRef::<Table>::new()
        .at(node)
        .within(Duration::from_secs(1))
}

fn name(n: usize) -> String {
    format!("key {n}")
}

async fn front(key: Key, addresses: &[SocketAddr]) -> Result<u8, String> {
    let _listening = join(Config::new(NodeId(0), key, ([127, 0, 0, 1], 0)))
        .await
        .map_err(|error| format!("joining: {error}"))?;
    let mut nodes = Vec::new();
    for (number, address) in (1..).zip(addresses) {
        let node = NodeId(number);
        introduce(node, *address);
        while watch(node).next().await == State::Down {
            time::sleep(Duration::from_millis(100)).await;
        }
        nodes.push(node);
    }
    for n in 0..KEYS {
        put(&nodes, &name(n), n)
            .await
            .map_err(|failure| format!("writing {}: {failure}", name(n)))?;
    }
    println!(
        "{KEYS} keys are on {COPIES} of {} machines each; stop one, and watch",
        nodes.len()
    );
    let mut live: BTreeSet<NodeId> = nodes.into_iter().collect();
    loop {
        let (mut found, mut dead) = (0, BTreeSet::new());
        let nodes: Vec<NodeId> = live.iter().copied().collect();
        for n in 0..KEYS {
            for node in placement::order(&nodes, hash(&name(n))) {
                match table(node).get(name(n)).await {
                    Ok(Some(value)) if *value == *format!("value {n}").as_bytes() => {
                        found += 1;
                        break;
                    }
                    Ok(_) => {}
                    Err(_) => drop(dead.insert(node)),
                }
            }
        }
        println!(
            "{found} of {KEYS} keys are there, on {} machines",
            live.len()
        );
        if !dead.is_empty() {
            live.retain(|node| !dead.contains(node));
            let nodes: Vec<NodeId> = live.iter().copied().collect();
            let copied = heal(&nodes, &dead).await;
            println!("lost {dead:?}; {copied} keys have found another place");
        }
        if live.is_empty() {
            return Err(String::from("no machine is left"));
        }
        time::sleep(Duration::from_secs(1)).await;
    }
}

async fn put(nodes: &[NodeId], key: &str, n: usize) -> Result<(), Failure> {
    for node in placement::order(nodes, hash(key)).into_iter().take(COPIES) {
        table(node)
            .put(key.into(), format!("value {n}").into())
            .await?;
    }
    Ok(())
}

/// Copies what was on the machines that are gone from its other place to a new one.
async fn heal(nodes: &[NodeId], dead: &BTreeSet<NodeId>) -> usize {
    let mut copied = 0;
    let all: Vec<NodeId> = nodes.iter().chain(dead).copied().collect();
    for n in 0..KEYS {
        let key = name(n);
        let before = placement::order(&all, hash(&key));
        if !before.iter().take(COPIES).any(|node| dead.contains(node)) {
            continue;
        }
        let now = placement::order(nodes, hash(&key));
        for from in &now {
            let Ok(Some(value)) = table(*from).get(key.clone()).await else {
                continue;
            };
            for to in now.iter().take(COPIES).filter(|to| *to != from) {
                copied += usize::from(table(*to).put(key.clone(), value.clone()).await.is_ok());
            }
            break;
        }
    }
    copied
}
