//! What it costs that what is deployed and called is kept: calls beside a machine that keeps nothing, and memory.

use std::{thread, time::Duration};

use benches::{
    functions::{Greeting, IMAGE},
    goal,
    load::{Figures, Generator, Load},
    median, quick,
};
use test_support::{cargo, invoker::Invoker};

use crate::machine::{Disks, HELLO, address};
use crate::puts::{CODE, fill};
use crate::{number, rounds};

/// The same call for ever.
const HOT: Greeting = Greeting {
    port: IMAGE,
    function: HELLO,
    right: "{\"hello\":\"you\"}",
};

/// Blocking calls, kept and not.
pub fn calls() {
    let seconds = if quick() { 2.0 } else { 5.0 };
    println!(
        "blocking calls of one client, {} rounds, taking turns",
        rounds()
    );
    let image = cargo::example("invoker");
    let disks = ["keeps", "keeps-not"].map(Disks::new);
    let sides = [("kept", &[][..]), ("--ephemeral", &["--ephemeral"][..])];
    let machines: Vec<_> = sides
        .iter()
        .zip(&disks)
        .map(|((_, arguments), disks)| {
            let machine = disks.boot(&image, arguments).machine;
            machine.until("ebb_base_ready", |ready| ready == 1);
            machine.deploy(HELLO, "exports.main = ({ name }) => ({ hello: name })");
            machine
        })
        .collect();
    let mut clients: Vec<_> = machines
        .iter()
        .map(|m| Generator::new(address(m), 1))
        .collect();
    let load = |seconds| Load {
        depth: 1,
        rate: 0.0,
        seconds,
    };
    for client in &mut clients {
        client.run(load(4.0 * seconds), None, &mut { HOT });
    }
    let mut figures: [Vec<Figures>; 2] = Default::default();
    for round in 0..2 * rounds() {
        // The first one is not always the same.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            figures[side].push(clients[side].run(load(seconds), None, &mut { HOT }));
        }
    }
    let of = |side: usize, f: fn(&Figures) -> f64| {
        median(&figures[side].iter().map(f).collect::<Vec<_>>())
    };
    for (side, (name, _)) in sides.iter().enumerate() {
        println!(
            "  {name:<34} p50 {:>6.0} us  p99 {:>6.0} us",
            of(side, |f| f.p50_us),
            of(side, |f| f.p99_us)
        );
    }
    // Of the medians: the other's turn is seconds away.
    let ratio = of(0, |f| f.p50_us) / of(1, |f| f.p50_us);
    goal("kept_call_p50", ratio, 1.05);
    machines.into_iter().for_each(Invoker::kill);
}

/// What entities take when all of them have been read again.
pub fn memory() {
    let count = number("--entities").unwrap_or(if quick() { 5_000 } else { 99_000 });
    println!("memory of {count} actions of {CODE} bytes after a restart");
    let image = cargo::example("invoker");
    let [none, many] = ["memory-none", "memory-many"].map(Disks::new);
    none.boot(&image, &[]).leave_snapshots();
    let started = many.boot(&image, &[]);
    fill(&started.machine, count, CODE);
    started.leave_snapshots();
    let free = |disks: &Disks| {
        let started = disks.boot(&image, &[]);
        started.machine.says("records were read within");
        started.machine.until("ebb_instances_ahead", |n| n > 0);
        // Blank copies are made in idle times.
        thread::sleep(Duration::from_secs(3));
        let [free, bytes] = ["ebb_memory_free_bytes", "ebb_entities_bytes"]
            .map(|name| started.machine.metric(name) as f64);
        started.machine.kill();
        (free, bytes)
    };
    let ((without, _), (with, bytes)) = (free(&none), free(&many));
    let taken = without - with;
    let mib = f64::from(1 << 20);
    println!(
        "  entities {:.1} MiB, memory {:.1} MiB",
        bytes / mib,
        taken / mib
    );
    goal(
        "memory_of_entities",
        taken / (1.2 * bytes + 32.0 * mib),
        1.0,
    );
}
