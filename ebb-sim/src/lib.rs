//! A platform of simulated machines, for tests of programs that span several: Ebbs with `#[ebb(distributed)]`, or whatever else talks over TCP.
//! All nodes are in one process and one thread, in virtual time, each with Ebbs, tasks, timers and a clock of its own. They run the program that
//! processes and images run, unchanged: this crate is linked in the place of `ebb-hosted` or `native-target`.
//!
//! ```
//! # extern crate ebb_runtime as ebb;
//! use std::{cell::Cell, time::Duration};
//!
//! use ebb::{EbbRef, ebb};
//! use ebb_distributed::{Limits, NodeId, RemoteRef, join_by_options, remote};
//! use ebb_sim::{Faults, Simulation};
//!
//! #[ebb(per_core, distributed)]
//! #[derive(Default)]
//! struct Counter(Cell<u64>);
//!
//! #[remote(name = "example.Counter")]
//! impl Counter {
//!     async fn add(&self, n: u64) -> u64 {
//!         self.0.set(self.0.get() + n);
//!         self.0.get()
//!     }
//! }
//!
//! // What every node runs, as the `main` of a process or an image.
//! async fn program(_node: usize) -> Result<(), String> {
//!     EbbRef::<Counter>::new().serve();
//!     let server = join_by_options(Limits::default()).await?;
//!     server.failed().await.map_err(|error| error.to_string())
//! }
//!
//! ebb_sim::seeds(3, |seed| {
//!     let mut sim = Simulation::new(seed, 3, Faults::none(), program);
//!     sim.run_for(Duration::from_millis(1));
//!     // A task of node 1, which calls node 2.
//!     let counter = EbbRef::<Counter>::new();
//!     assert_eq!(sim.on(1, move || counter.at(NodeId(2)).add(5)).unwrap(), Ok(5));
//!     assert_eq!(sim.on(2, async || EbbRef::<Counter>::get().add(1).await).unwrap(), 6);
//!     // Another node's is another one, and what was on a node that has crashed is lost.
//!     assert_eq!(sim.on(1, move || counter.at(NodeId(0)).add(1)).unwrap(), Ok(1));
//!     sim.crash(2, ebb_sim::Crash::Process);
//!     sim.restart(2);
//!     assert_eq!(sim.on(2, async || EbbRef::<Counter>::get().add(1).await).unwrap(), 1);
//! });
//! ```
//!
//! # What repeats
//! All chance comes from a seed: delays, losses, faults, the order in which nodes run, drift, and what programs draw as random. A
//! run with the same seed is the same, event for event ([`Simulation::digest`]), as long as the program takes nothing from
//! elsewhere: no clock and no threads of `std`, no order of a `HashMap` with `RandomState`, no addresses of memory.
//!
//! # What a machine is here
//! One core, the network of `ebb_net` over TCP, the platform's components. What an event computes takes no virtual time; a step of some events
//! takes 5 to 25 microseconds. See the book's chapter on simulation for the rest, and for what there is not.

extern crate ebb_runtime as ebb;

mod network;
mod platform;
mod seeds;
mod simulation;
mod state;
mod world;

use std::time::Duration;

pub use ebb_distributed::sim::{Chance, Faults};

pub use crate::simulation::{Crash, Simulation, address};

/// Runs `run` with `count` seeds, from 0. With `EBB_SIM_SEEDS` in the environment it is that many, with `EBB_SIM_SEED` this one alone, which also
/// shows what its nodes say. The first seed is run twice, to see that it repeats. Gives how many seeds there were.
///
/// # Panics
/// When a run does, after the command that repeats it. When the two runs of the first seed were not the same.
pub fn seeds(count: u64, run: impl FnMut(u64)) -> u64 {
    seeds::seeds(count, run, simulation::take_digests)
}

/// The time of the simulation, which no node knows: for what a test asserts across nodes.
#[must_use]
pub fn now() -> Duration {
    Duration::from_nanos(world::with(|world| world.state.now_ns))
}

/// The node that this code runs on, and which of its lives this is; `None` in the test itself.
#[must_use]
pub fn this_node() -> Option<(usize, u64)> {
    let node = world::current()?;
    Some((node, world::with(|world| world.state.nodes[node].life)))
}

/// A random number below `bound`, from the seed.
#[must_use]
pub fn below(bound: u64) -> u64 {
    world::with(|world| world.state.chance.below(bound))
}

/// Makes something part of the record of the run: of its digest, and of what is told when it fails.
pub fn note(text: &str) {
    let node = world::current();
    world::with(|world| world.state.say(node, text));
}
