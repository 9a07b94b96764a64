//! What a simulated machine is to its program: cores, Ebbs, options, panics, an end.

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Duration,
};

use ebb::{
    CoreId, EbbRef, current_core, ebb,
    platform::{Environment, Power},
    spawn, spawn_on,
    time::sleep,
};
use ebb_distributed::{
    Failure, Limits, NodeId, RemoteRef, State,
    directory::{Directory, claim},
    join_by_options, remote, watch,
};
use ebb_sim::{Crash, Faults, Simulation, this_node};

async fn idle(_: usize) {
    std::future::pending().await
}

#[ebb(per_core)]
#[derive(Default)]
struct Visits(Cell<u32>);

#[ebb(shared, dynamic, root = u32)]
struct Named(u32);

impl ebb::FromRoot<u32> for Named {
    fn from_root(root: std::sync::Arc<u32>, _: EbbRef<Self>) -> Self {
        Self(*root)
    }
}

#[test]
fn each_core_of_each_node_has_representatives_of_its_own() {
    let mut sim = Simulation::new(1, 3, Faults::none(), idle);
    sim.cores(4);
    let visit = async || {
        for round in 0..10 {
            let core = CoreId::new(round % 4);
            let visit = async || {
                let visits = EbbRef::<Visits>::get();
                visits.0.set(visits.0.get() + 1);
            };
            spawn_on(core, visit).await.expect("it does not panic");
        }
        let named = EbbRef::<Named>::create(7);
        let on_three = named.on(CoreId::new(3), |named| named.0).await;
        assert_eq!(on_three.expect("it is there"), 7);
        named.destroy().await;
        let all = EbbRef::<Visits>::new().gather(|visits| visits.0.get());
        all.await.expect("no core is lost")
    };
    for node in 0..3 {
        assert_eq!(sim.on(node, visit).expect("it is up"), [3, 3, 2, 2]);
    }
    assert_eq!(sim.on(1, visit).expect("it is up"), [6, 6, 4, 4]);
    sim.crash(1, Crash::Process);
    sim.restart(1);
    assert_eq!(sim.on(1, visit).expect("it is up"), [3, 3, 2, 2]);
}

#[test]
fn a_node_has_its_options_and_arguments_and_ends_with_its_program() {
    let mut sim = Simulation::new(2, 3, Faults::none(), async |node| -> Result<u8, String> {
        let environment = EbbRef::<dyn Environment>::get();
        assert_eq!(environment.option("node"), Some(&*node.to_string()));
        assert_eq!(environment.option("nothing"), None);
        match ebb::args() {
            ["returns"] => Ok(0),
            ["exits", how] => {
                assert_eq!(environment.option("greeting"), Some("hello"));
                sleep(Duration::from_secs(1)).await;
                EbbRef::<dyn Power>::get().exit(how.parse().expect("a number"))
            }
            _ => std::future::pending().await,
        }
    });
    sim.arguments(0, &["returns"]);
    sim.arguments(1, &["exits", "0"])
        .option(1, "greeting", "hello");
    sim.run_for(Duration::from_millis(10));
    assert_eq!(
        (sim.is_up(0), sim.is_up(1), sim.is_up(2)),
        (false, true, true)
    );
    sim.run_for(Duration::from_secs(1));
    assert_eq!(
        [0, 1, 2].map(|node| sim.status(node)),
        [Some(0), Some(0), None]
    );
    // One that ends otherwise is a failure, with the reason.
    sim.arguments(1, &["exits", "3"]).restart(1);
    let ran = catch_unwind(AssertUnwindSafe(|| sim.run_for(Duration::from_secs(2))));
    let payload = ran.expect_err("it fails");
    let text = payload.downcast_ref::<String>().expect("a text");
    assert!(text.contains("node 1 has ended with status 3"), "{text}");
}

#[ebb(distributed)]
#[derive(Default)]
struct Fragile;

#[remote(name = "nodes.Fragile")]
impl Fragile {
    async fn halve(&self, n: u64) -> u64 {
        assert!(n.is_multiple_of(2), "{n} is odd");
        n / 2
    }
}

async fn serve(_: usize) -> Result<(), String> {
    EbbRef::<Fragile>::new().serve();
    let server = join_by_options(Limits::default()).await?;
    server.failed().await.map_err(|error| error.to_string())
}

#[test]
fn panics_that_are_survived_end_their_task_alone() {
    let mut sim = Simulation::new(3, 2, Faults::none(), serve);
    sim.survive_panics();
    sim.run_for(Duration::from_millis(1));
    let halve = |n| async move || EbbRef::<Fragile>::new().at(NodeId(1)).halve(n).await;
    assert_eq!(sim.on(0, halve(8)).expect("it is up"), Ok(4));
    assert_eq!(
        sim.on(0, halve(7)).expect("it is up"),
        Err(Failure::NoAnswer)
    );
    assert_eq!(sim.on(0, halve(2)).expect("it is up"), Ok(1));
    let panicked = sim.on(1, async || panic!("on purpose"));
    assert!(matches!(panicked, Err(ebb::JoinError::Panicked(_))));
    assert!(sim.is_up(1));
}

#[test]
fn what_a_crashed_node_held_is_dropped_and_says_nothing_to_others() {
    struct Held(Rc<RefCell<Vec<(usize, u64)>>>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.borrow_mut().push(this_node().expect("its node"));
            // Too late: it has been cut off, and no task of its runs any more.
            drop(spawn(async { panic!("it has crashed") }));
        }
    }
    let dropped = Rc::new(RefCell::new(Vec::new()));
    let told = Rc::clone(&dropped);
    let mut sim = Simulation::new(4, 2, Faults::none(), async move |_| {
        let _held = Held(Rc::clone(&told));
        std::future::pending::<()>().await;
    });
    sim.run_for(Duration::from_millis(1));
    let task = sim.spawn_on(1, async || sleep(Duration::from_secs(1)).await);
    sim.run_for(Duration::from_millis(1));
    sim.crash(1, Crash::Machine);
    assert_eq!(*dropped.borrow(), [(1, 1)]);
    assert!(matches!(sim.wait(task), Err(ebb::JoinError::Cancelled)));
    sim.restart(1);
    sim.run_for(Duration::from_millis(1));
    drop(sim);
    assert_eq!(*dropped.borrow(), [(1, 1), (0, 1), (1, 2)]);
}

#[test]
fn whoever_watches_a_node_is_told_of_its_death_and_of_its_next_life() {
    let mut sim = Simulation::new(5, 2, Faults::none(), serve);
    sim.run_for(Duration::from_millis(1));
    let seen = Rc::new(RefCell::new(Vec::new()));
    let told = Rc::clone(&seen);
    let watching = sim.spawn_on(0, async move || {
        let mut node = watch(NodeId(1));
        loop {
            let state = node.next().await;
            told.borrow_mut().push((ebb_sim::now(), state));
        }
    });
    sim.run_for(Duration::from_secs(1));
    sim.crash(1, Crash::Machine);
    sim.run_for(Duration::from_secs(10));
    sim.restart(1);
    sim.run_for(Duration::from_secs(3));
    drop(watching);
    let seen = seen.borrow();
    let [
        (_, State::Up { incarnation: first }),
        (death, State::Down),
        ..,
        (
            back,
            State::Up {
                incarnation: second,
            },
        ),
    ] = seen[..]
    else {
        panic!("{seen:?}");
    };
    assert_ne!(first, second);
    let limits = Limits::default();
    let bound = Duration::from_secs(1) + Duration::from_nanos(limits.death_ns);
    assert!(death <= bound + Duration::from_millis(10), "{death:?}");
    assert!(back <= Duration::from_secs(14), "{back:?}");
}

#[test]
fn an_event_on_a_core_that_waits_for_another_goes_on() {
    let mut sim = Simulation::new(6, 1, Faults::none(), idle);
    sim.cores(2);
    let went = sim.on(0, async || {
        let (sender, receiver) = ebb::sync::oneshot::channel();
        let there = spawn_on(CoreId::new(1), async move || {
            sleep(Duration::from_secs(5)).await;
            let _ = sender.send(current_core());
        });
        let core = receiver.await.expect("it is sent");
        there.await.expect("it does not panic");
        core
    });
    assert_eq!(went.expect("it is up"), CoreId::new(1));
    assert_eq!(sim.now().as_secs(), 5);
}

#[test]
fn a_program_that_is_asked_to_end_finishes_what_it_does_and_gives_its_name_back() {
    let mut sim = Simulation::new(7, 3, Faults::none(), async |node| -> Result<(), String> {
        EbbRef::<Directory>::new().serve();
        let _server = join_by_options(Limits::default()).await?;
        if node != 1 {
            // It does not wait for being asked.
            std::future::pending::<()>().await;
        }
        let directory = EbbRef::<Directory>::new().at(NodeId(0));
        let lease = claim(directory, "name", "", Duration::from_secs(100)).await;
        let lease = lease.map_err(|failure| failure.to_string())?.ok();
        ebb::shutdown().await;
        sleep(Duration::from_millis(30)).await;
        drop(lease);
        // Until that has been sent.
        sleep(Duration::from_millis(1)).await;
        Ok(())
    });
    sim.run_for(Duration::from_millis(50));
    let owner = async || {
        let owner = EbbRef::<Directory>::get().owner("name".into()).await;
        owner.expect("it is here").map(|owner| owner.node())
    };
    assert_eq!(sim.on(0, owner).expect("it is up"), Some(NodeId(1)));
    sim.ask_to_end(1);
    sim.ask_to_end(2);
    sim.run_for(Duration::from_millis(20));
    assert_eq!((sim.is_up(1), sim.is_up(2)), (true, false));
    sim.run_for(Duration::from_millis(20));
    assert_eq!((sim.status(1), sim.status(2)), (Some(0), Some(0)));
    assert_eq!(sim.on(0, owner).expect("it is up"), None);
}
