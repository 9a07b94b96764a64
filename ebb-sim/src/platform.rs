//! The components of the platform seam (`ebb_runtime::platform`, `ebb_net::NetStack`), provided by the simulation. What a simulated machine does not
//! have (disks, devices, guests, a socket to its host) has no provider here, so a program that uses it does not link.

mod net;

use std::{
    any::Any,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use ebb_runtime::{
    platform::{Clock, Console, Cores, Entropy, Environment, Power, Unwind, VectorRegisters},
    provides,
};

use crate::world::{CORES, current, try_with, with, with_node};

/// Simulated machines, as the provider of every component.
struct Simulated;

#[provides(Clock, default, instance = &Simulated)]
impl Clock for Simulated {
    fn now_ns(&self) -> u64 {
        with(|world| match current() {
            Some(node) => world.state.clock_ns(node),
            None => world.state.now_ns,
        })
    }

    fn unix_time_ns(&self) -> u64 {
        with_node(|world, node| world.state.wall_clock_ns(node))
    }
}

#[provides(Cores, instance = &Simulated)]
impl Cores for Simulated {
    fn wake(&self, token: usize) {
        let woken = try_with(|world| {
            let now_ns = world.state.now_ns;
            world.state.run(token / CORES, token % CORES, now_ns);
        });
        assert!(
            woken.is_some(),
            "a simulated node was woken by another thread; a simulation has one"
        );
    }

    fn park(&self, _: usize, _: Option<u64>) {
        unreachable!("simulated machines are run a step at a time");
    }

    fn poll(&self, _: usize) {}
}

#[provides(Console, default, instance = &Simulated)]
impl Console for Simulated {
    fn write(&self, bytes: &[u8]) {
        with_node(|world, node| {
            for byte in bytes {
                if *byte != b'\n' {
                    world.state.nodes[node].line.push(*byte);
                    continue;
                }
                let line = std::mem::take(&mut world.state.nodes[node].line);
                world.state.say(Some(node), &String::from_utf8_lossy(&line));
            }
        });
    }

    fn read(&self, _: &mut [u8]) -> usize {
        0
    }
}

/// What leaves a machine that ends at once.
struct Exit;

#[provides(Power, default, instance = &Simulated)]
impl Power for Simulated {
    fn exit(&self, status: i32) -> ! {
        ebb_runtime::exit(u8::try_from(status).unwrap_or(u8::MAX));
        // The event goes no further.
        resume_unwind(Box::new(Exit))
    }
}

#[provides(Entropy, default, instance = &Simulated)]
impl Entropy for Simulated {
    fn fill(&self, bytes: &mut [u8]) {
        with(|world| {
            for chunk in bytes.chunks_mut(8) {
                let random = world.state.chance.number().to_le_bytes();
                chunk.copy_from_slice(&random[..chunk.len()]);
            }
        });
    }
}

/// The text, for as long as the thread lives: there are few different ones.
pub fn keep(text: &str) -> &'static str {
    std::thread_local! {
        static KEPT: std::cell::RefCell<BTreeSet<&'static str>> = const { std::cell::RefCell::new(BTreeSet::new()) };
    }
    KEPT.with_borrow_mut(|kept| match kept.get(text) {
        Some(known) => known,
        None => {
            let new: &'static str = Box::leak(text.into());
            kept.insert(new);
            new
        }
    })
}

#[provides(Environment, default, instance = &Simulated)]
impl Environment for Simulated {
    fn arguments(&self) -> &'static [&'static str] {
        with_node(|world, node| world.state.nodes[node].arguments)
    }

    fn option(&self, name: &str) -> Option<&'static str> {
        with_node(|world, node| world.state.nodes[node].options.get(name).copied())
    }

    fn archive(&self) -> &'static [u8] {
        &[]
    }
}

#[provides(Unwind, instance = &Simulated)]
impl Unwind for Simulated {
    fn catch(&self, f: &mut dyn FnMut()) -> Result<(), Box<dyn Any + Send>> {
        let caught = catch_unwind(AssertUnwindSafe(f));
        if let Err(payload) = &caught
            && !payload.is::<Exit>()
            && let Some(node) = current()
        {
            let text = match (
                payload.downcast_ref::<&str>(),
                payload.downcast_ref::<String>(),
            ) {
                (Some(text), _) => *text,
                (None, Some(text)) => text.as_str(),
                (None, None) => "something that is no text",
            };
            try_with(|world| {
                let state = &mut world.state;
                let text = format!("it panicked: {text}");
                state.say(Some(node), &text);
                // What a crash drops may panic: it has ended all the same.
                if state.nodes[node].is_up && !state.survives_panics {
                    state.failure.get_or_insert(format!("node {node}: {text}"));
                }
            });
        }
        caught
    }
}

#[provides(VectorRegisters, instance = &Simulated)]
impl VectorRegisters for Simulated {
    fn claim(&self) {}
}
