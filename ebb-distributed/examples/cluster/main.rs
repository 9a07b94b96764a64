//! A key-value store on several machines: each key is on two of them, chosen by its hash, and finds a new second place when a
//! machine dies.
//!
//! `ebb-distributed/examples/cluster/run` builds an image and starts the front end, a Linux process, which starts four machines with it:
//! that is all to see it. The front end says which processes they are; `kill` one, and watch.
//!
//! Back ends and front end are the same source. What a back end serves is in `table.rs`. One that is started by hand joins by options:
//!
//!     EBB_OPTIONS="node=1 cluster-key=console listen=7000" EBB_FORWARD=7001:7000 cargo run --example cluster -- back < key
//!     EBB_NODE=0 EBB_CLUSTER_KEY=$(cat key) EBB_LISTEN=127.0.0.1:0 EBB_PEERS=1@127.0.0.1:7001 \
//!         cargo hosted cluster -p ebb-distributed -- front

#![no_std]
#![no_main]

extern crate alloc;

mod table;

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};
use core::time::Duration;

use ebb::{EbbRef, println, time};
use ebb_distributed::{
    Failure, Limits, NodeId, Nodes, RemoteRef, Start, State, hash, join_by_options, nodes,
    placement, this_node, watch,
};
use table::{Table, TableAt};

const USAGE: &str = "usage: cluster front IMAGE [MACHINES]   starts machines (4) and uses them\n       \
     cluster front   uses those that the option `peers` names\n       \
     cluster back    is one of them";
/// Keys that the front end writes.
const KEYS: usize = 200;
/// Machines that have each of them.
const COPIES: usize = 2;

#[ebb::main(hosted = ebb_launch)]
async fn main() -> Result<u8, String> {
    match ebb::args() {
        ["back"] => back().await,
        ["front"] => {
            let _server = join_by_options(Limits::default()).await?;
            let mut others = nodes();
            others.retain(|node| Some(*node) != this_node());
            for node in &others {
                while watch(*node).next().await == State::Down {
                    time::sleep(Duration::from_millis(100)).await;
                }
            }
            front(others).await
        }
        ["front", image, rest @ ..] => {
            let count = rest.first().map_or(Ok(4), |count| count.parse());
            let start = Start::new(image)
                .argument("back")
                .setting("EBB_CORES", "1")
                .setting("EBB_MEMORY", "128M");
            // They end with this program, whatever ends it.
            let started = Nodes::start(start, count.map_err(|_| USAGE)?).await?;
            for node in started.nodes() {
                let process = started.process(node).unwrap_or(0);
                println!("machine {} is process {process}", node.0);
            }
            front(started.nodes()).await
        }
        other => {
            println!("{USAGE}");
            Ok(if let ["--help" | "-h"] = other { 0 } else { 2 })
        }
    }
}

/// A machine that has a part of the table.
async fn back() -> Result<u8, String> {
    EbbRef::<Table>::new().serve();
    let server = join_by_options(Limits::default()).await?;
    let node = this_node().map_or(0, |node| node.0);
    println!(
        "serving the table as node {node} on {}",
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

async fn front(nodes: Vec<NodeId>) -> Result<u8, String> {
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
