//! The machines of one invoker: started with it, replaced when they die, restarted one after the other.

use alloc::{boxed::Box, format, rc::Rc, string::String, vec::Vec};
use core::time::Duration;

use ebb::{EbbRef, JoinHandle, println, spawn, time};
use ebb_distributed::launch::Launcher;
use ebb_distributed::{Limits, NodeId, Nodes, Start, join_by_options, this_node};
use ebb_invoker::ServiceOptions;
use ebb_invoker::books::Books;
use ebb_openwhisk::runtimes::Launch;

use crate::machine::Machine;
use crate::machines::Machines;
use crate::near;

/// What a connection between front end and machine may cost: code of 48 MB, and calls that wait there and not here.
fn limits() -> Limits {
    Limits {
        calls: 16 << 10,
        call_bytes: 192 << 20,
        frame_bytes: 64 << 20,
        waiting: 16 << 10,
        waiting_bytes: 256 << 20,
        // Whoever is killed closes its connection. One that is only slow, on a host with more to do than it can, is not to lose its calls.
        death_ns: 10_000_000_000,
        ..Limits::default()
    }
}

/// How often it is looked whether the machines are to be restarted.
const LOOK: Duration = Duration::from_millis(200);
/// How long a machine that has snapshots of functions stays to be asked for them when it takes no calls any more.
const LINGER: Duration = Duration::from_secs(10);
/// How long it takes until another machine is tried when one did not come up.
const AGAIN: Duration = Duration::from_secs(5);

/// The machines that an invoker has started; none where functions run in it. They end with the program.
pub struct Fleet(Option<Started>);

struct Started {
    nodes: Rc<Nodes>,
    machines: Machines,
    attended: JoinHandle<()>,
}

impl Fleet {
    /// Starts as many machines as the options say, and makes them the back end.
    ///
    /// # Errors
    /// One of them does not come up: what it said, and what to do.
    pub async fn start(options: &ServiceOptions) -> Result<Self, String> {
        let Some(wanted) = options.machines else {
            return Ok(Self(None));
        };
        if !EbbRef::<dyn Launcher>::get().is_there() {
            return Err(format!(
                "an image starts no machines; a Linux process does, with images of this program: `cargo hosted invoker -- --machines {}`",
                wanted.count
            ));
        }
        println!(
            "invoker: starting {} machines with {}",
            wanted.count, wanted.image
        );
        let start = Start::new(wanted.image)
            .argument("--machine")
            .setting("EBB_CORES", wanted.cores)
            .setting("EBB_MEMORY", wanted.memory)
            .setting("EBB_DISK", "none")
            .limits(limits());
        let nodes = Nodes::start(start, wanted.count).await;
        let nodes = Rc::new(nodes.map_err(|why| {
            format!(
                "the machines cannot be started: {why}\n  \
                 `cargo build --release --example invoker` makes the image; --image FILE names another one"
            )
        })?);
        let machines = Machines::default();
        machines.let_restart();
        for node in nodes.nodes() {
            take_in(&machines, node).await;
        }
        EbbRef::<Books>::get().use_back_end(Box::new(machines.clone()));
        let attended = spawn(attend(Rc::clone(&nodes), machines.clone()));
        Ok(Self(Some(Started {
            nodes,
            machines,
            attended,
        })))
    }

    /// Has the machines make ready what instances of the platform's kinds are made of.
    pub fn warm_up(&self) {
        if let Some(started) = &self.0 {
            let launches = launches();
            for node in started.nodes.nodes() {
                started.machines.warm_up(node, &launches);
            }
        }
    }

    /// Ends the machines.
    pub async fn stop(self) {
        let Some(started) = self.0 else { return };
        started.attended.cancel();
        let ends: Vec<JoinHandle<()>> = (started.nodes.nodes().into_iter())
            .map(|node| {
                let nodes = Rc::clone(&started.nodes);
                spawn(async move { nodes.stop(node).await })
            })
            .collect();
        for end in ends {
            let _ = end.await;
        }
    }
}

fn launches() -> Vec<Launch> {
    EbbRef::<Books>::get().controller(|c| c.runtimes().launches())
}

/// Gives a machine its calls.
async fn take_in(machines: &Machines, node: NodeId) {
    machines.add(node, &format!("{}", node.0));
    machines.until_up(node).await;
}

/// Replaces machines: those that have died, and all of them when that is asked for.
async fn attend(nodes: Rc<Nodes>, machines: Machines) {
    loop {
        if let Ok((node, why)) = time::timeout(LOOK, nodes.ended()).await {
            machines.remove(node);
            println!(
                "invoker: machine {} is gone, another one is being started: {why}",
                node.0
            );
            let new = another(&nodes).await;
            take_in(&machines, new).await;
            machines.warm_up(new, &launches());
        }
        if machines.wants_restart() {
            restart(&nodes, &machines).await;
            machines.restarted();
        }
    }
}

/// Starts a machine, sooner or later.
async fn another(nodes: &Nodes) -> NodeId {
    loop {
        match nodes.add().await {
            Ok(node) => return node,
            Err(why) => println!("invoker: {why}"),
        }
        time::sleep(AGAIN).await;
    }
}

/// Puts a new machine in the place of each, which ends when its calls have ended. The new one gets its bases from another one before it takes
/// calls; functions' snapshots it gets at their first calls, for which the old one stays a while.
async fn restart(nodes: &Nodes, machines: &Machines) {
    for old in nodes.nodes() {
        let new = another(nodes).await;
        take_in(machines, new).await;
        machines.warm_up(new, &launches());
        machines.until_warm(new).await;
        machines.let_go(old).await;
        if machines.has_snapshots(old).await {
            time::sleep(LINGER).await;
        }
        machines.remove(old);
        nodes.stop(old).await;
        println!(
            "invoker: machine {} has taken the place of machine {}",
            new.0, old.0
        );
    }
}

/// Is a machine of another invoker, which options say how to join, until it is to end. Calls that run come to their end.
///
/// # Errors
/// It cannot join: why, and what to do.
pub async fn serve_machine() -> Result<(), String> {
    near::serve();
    let server = join_by_options(limits()).await?;
    let node = this_node().map_or(0, |node| node.0);
    println!("invoker: machine {node}, at {}", server.local_addr());
    ebb::shutdown().await;
    EbbRef::<Machine>::get().end().await;
    server.stop().await;
    Ok(())
}
