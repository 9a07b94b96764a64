//! Nodes that a program starts: they join, are called, and end with it. Here they are processes; `image.rs` has an image.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use ebb::{EbbRef, ebb};
use ebb_distributed::{Failure, Limits, NodeId, Nodes, RemoteRef, Start, join_by_options, remote};
use ebb_launch as _;

#[ebb(distributed)]
#[derive(Default)]
struct Worker {}

#[remote(name = "test.Worker")]
impl Worker {
    async fn double(&self, n: u64) -> u64 {
        2 * n
    }

    async fn breaks(&self) {
        println!("a line before the end");
        std::process::exit(7);
    }
}

fn one_core() -> ebb_hosted::Config {
    ebb_hosted::Config {
        cores: 1,
        pin: false,
    }
}

/// Nodes that are this test program, as `node_process`.
fn workers() -> Start {
    let own = env::current_exe().expect("the path of this program");
    Start::new(own.to_str().expect("a path in UTF-8"))
        .argument("--ignored")
        .argument("--exact")
        .argument("--nocapture")
        .argument("node_process")
}

#[test]
#[ignore = "the nodes of the tests"]
fn node_process() {
    if env::var("EBB_OPTIONS").is_err() {
        return;
    }
    ebb_hosted::run(&one_core(), async || {
        EbbRef::<Worker>::new().serve();
        let server = join_by_options(Limits::default()).await.expect("it joins");
        let _ = server.failed().await;
    });
}

#[test]
#[ignore = "a program that starts nodes and is killed"]
fn front_process() {
    if env::var("TEST_FRONT").is_err() {
        return;
    }
    ebb_hosted::run(&one_core(), async || {
        let nodes = Nodes::start(workers(), 2).await.expect("they join");
        for node in nodes.nodes() {
            println!("process {}", nodes.process(node).expect("it runs"));
        }
        std::future::pending::<()>().await;
    });
}

fn runs(process: u32) -> bool {
    // One that has ended stays until it is waited for.
    let state = std::fs::read_to_string(format!("/proc/{process}/stat"));
    state.is_ok_and(|text| !text.contains(") Z "))
}

fn until_gone(process: u32) {
    let begun = Instant::now();
    while runs(process) {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{process} is there"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn nodes_join_are_called_and_end_with_what_holds_them() {
    let processes = ebb_hosted::run(&one_core(), async || {
        let nodes = Nodes::start(workers(), 3).await.expect("they join");
        assert_eq!(nodes.nodes(), [NodeId(1), NodeId(2), NodeId(3)]);
        for node in nodes.nodes() {
            let worker = EbbRef::<Worker>::new().at(node);
            assert_eq!(worker.double(node.0).await, Ok(2 * node.0));
        }
        let process = |node| nodes.process(node).expect("it runs");
        let stopped = process(NodeId(2));
        nodes.stop(NodeId(2)).await;
        assert!(!runs(stopped));
        assert_eq!(nodes.nodes(), [NodeId(1), NodeId(3)]);
        assert_eq!(nodes.add().await, Ok(NodeId(4)));
        let processes: Vec<u32> = nodes.nodes().into_iter().map(process).collect();
        assert!(processes.iter().all(|process| runs(*process)));
        processes
    });
    assert_eq!(processes.len(), 3);
    processes.into_iter().for_each(until_gone);
}

#[test]
fn a_node_that_ends_by_itself_is_told_with_its_status_and_its_last_lines() {
    ebb_hosted::run(&one_core(), async || {
        let nodes = Nodes::start(workers(), 2).await.expect("they join");
        let broken = EbbRef::<Worker>::new().at(NodeId(1)).breaks().await;
        assert_eq!(broken, Err(Failure::NoAnswer));
        let (node, why) = nodes.ended().await;
        assert_eq!(node, NodeId(1));
        assert!(why.contains("status 7"), "{why}");
        assert!(why.contains("a line before the end"), "{why}");
        assert_eq!(nodes.nodes(), [NodeId(2)]);
    });
}

#[test]
fn a_node_that_does_not_come_up_is_explained_and_the_others_end() {
    ebb_hosted::run(&one_core(), async || {
        let script = Start::new("/bin/sh")
            .argument("-c")
            .argument("echo no such disk; exit 3");
        let why = Nodes::start(script, 2)
            .await
            .err()
            .expect("they do not join");
        assert!(
            why.contains("machine 1 ended before it had joined"),
            "{why}"
        );
        assert!(
            why.contains("status 3") && why.contains("no such disk"),
            "{why}"
        );
        let nowhere = Start::new("/no/such/image");
        let why = Nodes::start(nowhere, 1).await.err().expect("there is none");
        assert!(why.contains("/no/such/image is not there"), "{why}");
        let silent = Start::new("/bin/sleep").argument("1000");
        let silent = silent.patience(Duration::from_millis(300));
        let why = Nodes::start(silent, 1).await.err().expect("it is silent");
        assert!(why.contains("has not joined"), "{why}");
    });
}

#[test]
fn the_nodes_of_a_program_that_is_killed_end() {
    let own = env::current_exe().expect("the path of this program");
    let mut front = Command::new(own)
        .args(["--ignored", "--exact", "--nocapture", "front_process"])
        .env("TEST_FRONT", "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(front.stdout.take().expect("piped")).lines();
    let numbers = lines.map_while(Result::ok).filter_map(|line| {
        let number = line.split_once("process ")?.1;
        number.trim().parse::<u32>().ok()
    });
    let processes: Vec<u32> = numbers.take(2).collect();
    assert_eq!(processes.len(), 2);
    assert!(processes.iter().all(|process| runs(*process)));
    front.kill().expect("it runs");
    front.wait().expect("it was started here");
    processes.into_iter().for_each(until_gone);
}
