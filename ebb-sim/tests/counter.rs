//! The example of the book's chapter on simulation: a counter of which every node has a copy, and what has to be true of it.

// ANCHOR: ebb
use std::{collections::BTreeMap, time::Duration};

use ebb::{
    EbbRef, ebb,
    platform::{Entropy, Environment},
    time::sleep,
};
use ebb_distributed::{Limits, RemoteRef, join_by_options, nodes, remote};
use spin::Mutex;

/// Counts visits on all nodes: each node counts its own, and hears from the others what they and those before them have counted.
#[ebb(distributed)]
struct Visits {
    me: u64,
    counts: Mutex<BTreeMap<u64, u64>>,
}

impl Default for Visits {
    fn default() -> Self {
        // A node that starts anew does not know what it had counted, so it is another one.
        let mut me = [0; 8];
        EbbRef::<dyn Entropy>::get().fill(&mut me);
        // For the second test: as if nobody had thought of that.
        if let Some(node) = EbbRef::<dyn Environment>::get().option("naive") {
            me = node.parse::<u64>().expect("a number").to_le_bytes();
        }
        Self {
            me: u64::from_le_bytes(me),
            counts: Mutex::default(),
        }
    }
}

#[remote(name = "example.Visits")]
impl Visits {
    /// Takes what a node knows, and says what this one does.
    async fn exchange(&self, counts: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
        self.merge(counts);
        self.all()
    }
}

impl Visits {
    fn visit(&self) {
        *self.counts.lock().entry(self.me).or_default() += 1;
    }

    fn merge(&self, counts: Vec<(u64, u64)>) {
        let mut mine = self.counts.lock();
        for (node, count) in counts {
            let known = mine.entry(node).or_default();
            *known = count.max(*known);
        }
    }

    fn all(&self) -> Vec<(u64, u64)> {
        self.counts.lock().iter().map(|(n, c)| (*n, *c)).collect()
    }

    fn total(&self) -> u64 {
        self.counts.lock().values().sum()
    }
}

/// What each node does, in an image, in a process and here: it joins, and exchanges counts with the others in turn.
async fn program() -> Result<(), String> {
    EbbRef::<Visits>::new().serve();
    let _server = join_by_options(Limits::default()).await?;
    loop {
        for node in nodes() {
            sleep(Duration::from_millis(20)).await;
            let visits = EbbRef::<Visits>::get();
            let there = EbbRef::<Visits>::new().at(node);
            let there = there.within(Duration::from_millis(200));
            // Whether a call that failed has run makes no difference to this Ebb.
            if let Ok(counts) = there.exchange(visits.all()).await {
                visits.merge(counts);
            }
        }
    }
}
// ANCHOR_END: ebb

// ANCHOR: test
use ebb_sim::{Faults, Simulation, seeds};

/// Visits nodes while everything fails, then lets them agree. How many visits there were, and what each node knows.
fn run(mut sim: Simulation, nodes: usize) -> (u64, Vec<u64>) {
    let mut visits = 0;
    for _ in 0..200 {
        sim.run_for(Duration::from_millis(20));
        let node = sim.chance(|chance| chance.below(nodes as u64)) as usize;
        if sim.is_up(node)
            && sim
                .on(node, async || EbbRef::<Visits>::get().visit())
                .is_ok()
        {
            visits += 1;
        }
    }
    sim.calm();
    sim.run_for(Duration::from_secs(5));
    let total = async || EbbRef::<Visits>::get().total();
    let totals = (0..nodes).map(|node| sim.on(node, total).expect("all is calm"));
    (visits, totals.collect())
}

#[test]
fn all_nodes_come_to_the_same_number_of_visits_and_only_a_crash_loses_some() {
    seeds(5, |seed| {
        let nodes = 2 + 2 * (seed as usize % 5);
        // Without crashes nothing is lost, whatever else fails.
        let mut sim = Simulation::new(seed, nodes, Faults::wild(), async |_| program().await);
        for node in 0..nodes {
            sim.spare(node);
        }
        let (visits, totals) = run(sim, nodes);
        assert!(
            totals.iter().all(|total| *total == visits),
            "{visits}: {totals:?}"
        );
        // With them all agree on what has been told to somebody.
        let sim = Simulation::new(seed, nodes, Faults::wild(), async |_| program().await);
        let (visits, totals) = run(sim, nodes);
        assert!(
            totals
                .iter()
                .all(|total| *total == totals[0] && *total <= visits)
        );
    });
}
// ANCHOR_END: test

#[test]
fn a_node_that_takes_its_old_name_after_a_crash_is_found_to_lose_visits() {
    // Of two nodes that one crashes often, and is told what it had counted.
    let lost = |seed, is_naive| {
        let calm = Faults::none();
        let mut sim = Simulation::new(seed, 2, calm, async |_| program().await);
        if is_naive {
            sim.option(0, "naive", "0").option(1, "naive", "1");
        }
        let mut visits = 0;
        for _ in 0..5 {
            sim.run_for(Duration::from_millis(100));
            for _ in 0..10 {
                let visit = sim.on(1, async || EbbRef::<Visits>::get().visit());
                visits += u64::from(visit.is_ok());
            }
            sim.run_for(Duration::from_millis(500));
            sim.crash(1, ebb_sim::Crash::Process);
            sim.restart(1);
            // Before the other one's call.
            let visit = sim.on(1, async || EbbRef::<Visits>::get().visit());
            visits += u64::from(visit.is_ok());
        }
        sim.run_for(Duration::from_secs(2));
        let total = sim.on(0, async || EbbRef::<Visits>::get().total());
        visits - total.expect("it is up")
    };
    assert_eq!(lost(1, false), 0);
    assert!(lost(1, true) > 0);
}
