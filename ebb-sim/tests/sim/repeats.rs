//! A seed repeats a run exactly, and finds bugs.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    rc::Rc,
    time::Duration,
};

use ebb::{
    EbbRef, ebb,
    time::{Instant, sleep},
};
use ebb_distributed::{Failure, Limits, NodeId, RemoteRef, join_by_options, remote};
use ebb_sim::{Crash, Faults, Simulation, below, note, seeds};

/// A number of which two nodes have copies, as an Ebb that is often written wrong.
#[ebb(per_core, distributed)]
#[derive(Default)]
struct Account(Cell<u64>);

#[remote(name = "repeats.Account")]
impl Account {
    async fn pay_in(&self, amount: u64) -> u64 {
        self.0.set(self.0.get() + amount);
        note(&format!("now {}", self.0.get()));
        self.0.get()
    }

    async fn balance(&self) -> u64 {
        self.0.get()
    }
}

async fn serve() -> Result<(), String> {
    EbbRef::<Account>::new().serve();
    let server = join_by_options(Limits::default()).await?;
    server.failed().await.map_err(|error| error.to_string())
}

const PAYMENTS: u64 = 20;

/// Pays in so many times, and says how often it was answered. Whoever sends a call again that may have run pays twice.
async fn pay(times: u64, sent_again: fn(Failure) -> bool) -> u64 {
    let account = EbbRef::<Account>::new()
        .at(NodeId(1))
        .within(Duration::from_millis(300));
    let mut answered = 0;
    for _ in 0..times {
        sleep(Duration::from_millis(below(30))).await;
        loop {
            match account.pay_in(1).await {
                Ok(_) => answered += 1,
                Err(failure) if sent_again(failure) => {
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
                Err(_) => {}
            }
            break;
        }
    }
    answered
}

/// Faults of the network, and none of the node that remembers.
fn run(seed: u64, sent_again: fn(Failure) -> bool) -> (u64, u64, u64) {
    let mut sim = Simulation::new(seed, 3, Faults::wild(), async |_| serve().await);
    sim.spare(0).spare(1);
    let answered = sim
        .on(0, move || pay(PAYMENTS, sent_again))
        .expect("it is up");
    let balance = sim.on(1, async || EbbRef::<Account>::get().balance().await);
    (sim.digest(), answered, balance.expect("it is up"))
}

#[test]
fn a_seed_repeats_a_run_exactly_and_another_one_is_another_run() {
    let careful = |failure: Failure| !failure.may_have_run();
    let runs: Vec<_> = (0..8).map(|seed| run(seed, careful)).collect();
    for (seed, first) in runs.iter().enumerate() {
        assert_eq!(run(seed as u64, careful), *first, "seed {seed}");
        // Each answer stands for one that was paid in; one without an answer may.
        assert!(first.1 <= first.2 && first.2 <= PAYMENTS);
    }
    let mut digests: Vec<u64> = runs.iter().map(|(digest, ..)| *digest).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 8);
}

#[test]
fn what_was_done_on_other_threads_and_at_other_addresses_makes_no_difference() {
    let careful = |failure: Failure| !failure.may_have_run();
    let first = run(5, careful);
    // Other addresses of memory.
    let ballast: Vec<Vec<u8>> = (0..1000).map(|n| vec![0; n * 7]).collect();
    let other = std::thread::spawn(move || run(5, careful)).join();
    assert_eq!(other.expect("it does not panic"), first);
    drop(ballast);
}

#[test]
fn an_ebb_whose_calls_are_sent_again_after_they_may_have_run_is_found_out() {
    let found = (0..20).find(|seed| {
        let (_, answered, balance) = run(*seed, |_| true);
        assert_eq!(answered, PAYMENTS);
        balance != PAYMENTS
    });
    let seed = found.expect("an answer is lost in one of twenty runs");
    // And is found again by its seed.
    assert_ne!(run(seed, |_| true).2, PAYMENTS);
}

#[test]
fn a_panic_of_a_node_fails_the_run_with_what_was_said_last() {
    let failed = catch_unwind(|| {
        let mut sim = Simulation::new(1, 2, Faults::none(), async |node| {
            sleep(Duration::from_millis(3)).await;
            ebb::println!("node {node} says");
            sleep(Duration::from_millis(1)).await;
            assert_ne!(node, 1, "a deliberate bug");
            std::future::pending::<()>().await;
        });
        sim.run_for(Duration::from_secs(1));
    });
    let payload = failed.expect_err("node 1 panics");
    let text = payload.downcast_ref::<String>().expect("a text");
    for part in [
        "node 1: it panicked",
        "a deliberate bug",
        "node 0.1: node 0 says",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // The thread can have another one.
    let mut sim = Simulation::new(1, 1, Faults::none(), async |_| 0_u8);
    sim.run_for(Duration::from_millis(1));
    assert_eq!((sim.is_up(0), sim.status(0)), (false, Some(0)));
}

#[test]
fn a_run_that_follows_from_other_things_than_its_seed_is_found_out() {
    let outside = Cell::new(0);
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let _ = seeds(1, |seed| {
            outside.set(outside.get() + 1);
            let wait = Duration::from_millis(outside.get());
            let mut sim =
                Simulation::new(seed, 1, Faults::none(), async move |_| sleep(wait).await);
            sim.run_for(Duration::from_secs(1));
        });
    }));
    // A run of one seed is what somebody looks into, once.
    assert_eq!(failed.is_err(), std::env::var_os("EBB_SIM_SEED").is_none());
}

/// Run by the test below, in a process of its own.
#[test]
fn fails_at_seed_3() {
    if std::env::var_os("EBB_SIM_ON_PURPOSE").is_some() {
        seeds(100, |seed| {
            let mut sim = Simulation::new(seed, 1, Faults::none(), async |_| {});
            sim.run_for(Duration::from_secs(1));
            assert_ne!(seed, 3);
        });
    }
}

#[test]
fn a_failing_seed_prints_the_command_that_repeats_it() {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(["--exact", "repeats::fails_at_seed_3"])
        .env("EBB_SIM_ON_PURPOSE", "1")
        .env("CARGO_PKG_NAME", "ebb-sim")
        .env_remove("EBB_SIM_SEED")
        .env_remove("EBB_SIM_SEEDS")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let command = "EBB_SIM_SEED=3 cargo test -p ebb-sim --test sim -- --exact --nocapture repeats::fails_at_seed_3";
    assert!(!output.status.success() && said.contains(command), "{said}");
}

#[test]
fn clocks_drift_and_wall_clocks_go_on_where_a_node_starts_anew() {
    let faults = Faults {
        drift_ppm: 500,
        ..Faults::none()
    };
    let starts = Rc::new(Cell::new(0));
    let count = Rc::clone(&starts);
    let mut sim = Simulation::new(3, 4, faults, async move |_| {
        count.set(count.get() + 1);
        std::future::pending::<()>().await;
    });
    sim.run_for(Duration::from_secs(100));
    let clocks: Vec<Duration> = (0..4)
        .map(|node| {
            let clock = async || Instant::now().as_nanos();
            Duration::from_nanos(sim.on(node, clock).expect("it is up"))
        })
        .collect();
    assert!(clocks.iter().any(|clock| *clock != clocks[0]));
    for clock in &clocks {
        let off = clock.as_secs_f64() / 100.0 - 1.0;
        assert!(off.abs() < 0.000_51, "{clock:?}");
    }
    let wall = async || ebb::time::unix_time();
    let before = sim.on(0, wall).expect("it is up");
    sim.crash(0, Crash::Machine);
    sim.restart(0);
    let clock = sim.on(0, async || Instant::now().as_nanos());
    assert!(clock.expect("it is up") < 1_000_000);
    assert!(sim.on(0, wall).expect("it is up") >= before);
    assert_eq!(starts.get(), 5);
}
