//! Names of the cluster's directory under faults: one owner at a time, and who has lost a lease is refused where it writes.

use std::{cell::Cell, rc::Rc, time::Duration};

use ebb::{EbbRef, ebb, time::sleep};
use ebb_distributed::{
    Limits, NodeId, RemoteRef,
    directory::{Directory, Fence, claim},
    join_by_options, remote,
};
use ebb_sim::{Faults, Simulation, below, note, seeds, this_node};

const DIRECTORY: NodeId = NodeId(0);
const STORE: NodeId = NodeId(1);

/// What owners of the name write to.
#[ebb(distributed)]
#[derive(Default)]
struct Store {
    fence: Fence,
}

#[remote(name = "leases.Store")]
impl Store {
    async fn write(&self, epoch: u64) -> bool {
        self.fence.admits(epoch)
    }
}

/// What really happens.
#[derive(Default)]
struct Book {
    /// The highest epoch that somebody has been given.
    given: Cell<u64>,
    claims: Cell<u64>,
    /// Who has been given it last.
    owner: Cell<usize>,
    /// The highest epoch of a write that was let through.
    written: Cell<u64>,
    refused: Cell<u64>,
}

async fn serve() -> Result<ebb_net::tcp::Server, String> {
    EbbRef::<Directory>::new().serve();
    EbbRef::<Store>::new().serve();
    join_by_options(Limits::default()).await
}

/// Claims the name whenever nobody has it, and writes for as long as it believes to have it; at times it does not look.
async fn own(book: &Book, lease: Duration, pause_us: u64) {
    let directory = EbbRef::<Directory>::new().at(DIRECTORY);
    let store = EbbRef::<Store>::new().at(STORE);
    loop {
        sleep(Duration::from_micros(1 + below(pause_us))).await;
        let within = directory.within(Duration::from_secs(1));
        let Ok(Ok(held)) = claim(within, "primary", "", lease).await else {
            continue;
        };
        note(&format!("owner with epoch {}", held.epoch()));
        if held.epoch() < book.given.get() {
            assert!(
                !held.is_held(),
                "the answer came after the lease had run out"
            );
            continue;
        }
        book.given.set(held.epoch());
        book.claims.set(book.claims.get() + 1);
        book.owner.set(this_node().map_or(0, |(node, _)| node));
        for _ in 0..below(200_000) {
            if !held.is_held() {
                break;
            }
            // Nobody else has been given it since: on which clock ever.
            let given = book.given.get();
            assert_eq!(given, held.epoch(), "two nodes have the name at once");
            sleep(Duration::from_micros(1 + below(pause_us))).await;
            // It may have been asleep for longer than its lease lasts, and does not ask.
            let store = store.within(Duration::from_millis(500));
            if below(2) == 0
                && let Ok(is_written) = store.write(held.epoch()).await
            {
                let written = book.written.get();
                match is_written {
                    true => book.written.set(held.epoch().max(written)),
                    false => {
                        assert!(held.epoch() < book.given.get(), "refused without reason");
                        book.refused.set(book.refused.get() + 1);
                    }
                }
            }
        }
    }
}

/// A cluster: nodes 0 and 1 have the names and what is written, the others want to be owners.
fn owners(
    book: &Rc<Book>,
    lease: Duration,
    pause_us: u64,
) -> impl AsyncFn(usize) -> Result<(), String> + 'static {
    let book = Rc::clone(book);
    async move |node| {
        let _server = serve().await?;
        match node {
            0 | 1 => std::future::pending().await,
            _ => own(&book, lease, pause_us).await,
        }
        Ok(())
    }
}

#[test]
fn a_name_has_one_owner_whatever_fails_and_who_was_it_is_refused() {
    let (mut claims, mut refused, mut faults) = (0, 0, 0);
    let runs = seeds(12, |seed| {
        let book = Rc::new(Book::default());
        let nodes = 4 + seed as usize % 5;
        let program = owners(&book, Duration::from_millis(700), 40_000);
        let faults_of = Faults {
            every_ns: 250_000_000,
            ..Faults::wild()
        };
        let mut sim = Simulation::new(seed, nodes, faults_of, program);
        // The names, and what was seen of them, are in memory.
        sim.spare(0).spare(1);
        for _ in 0..20 {
            sim.run_for(Duration::from_secs(3));
            // For longer than its lease, and less than its connections bear.
            sim.pause(book.owner.get(), Duration::from_millis(1300));
        }
        claims += book.claims.get();
        refused += book.refused.get();
        faults += sim.faults();
        assert!(book.written.get() <= book.given.get());
    });
    println!("{faults} faults, {claims} claims, {refused} late writes refused");
    if runs >= 12 {
        assert!(claims > 100 && refused > 10);
    }
}

#[test]
fn a_lease_ends_for_its_owner_before_another_gets_it_also_where_clocks_drift() {
    let drift = Faults {
        drift_ppm: 400,
        ..Faults::none()
    };
    seeds(4, |seed| {
        let book = Rc::new(Book::default());
        let program = owners(&book, Duration::from_secs(10), 2_000);
        let mut sim = Simulation::new(seed, 4, drift.clone(), program);
        sim.run_for(Duration::from_millis(100));
        // Each in turn cannot renew.
        for node in [2, 3] {
            sim.partition(0, node);
            sim.run_for(Duration::from_secs(11));
            sim.heal(0, node);
            sim.run_for(Duration::from_secs(3));
        }
    });
}
