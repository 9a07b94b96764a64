//! The table of `ebb-distributed/examples/cluster`, its source unchanged, on simulated machines: what the directory says of who is there decides
//! where keys are, machines come and go, and what was written to all of a key's machines is read.

#[path = "../../../ebb-distributed/examples/cluster/table.rs"]
mod source;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use ebb::{EbbRef, time::sleep};
use ebb_distributed::{
    Limits, NodeId, RemoteRef,
    directory::{Directory, claim},
    hash, join_by_options, placement,
};
use ebb_sim::{Crash, Faults, Simulation, below, seeds};
use source::{Table, TableAt};

const COPIES: usize = 2;

fn table(node: NodeId) -> TableAt {
    EbbRef::<Table>::new()
        .at(node)
        .within(Duration::from_secs(1))
}

/// A machine: node 0 has the directory, the others parts of the table, and say so there.
async fn machine(node: usize) -> Result<(), String> {
    EbbRef::<Table>::new().serve();
    EbbRef::<Directory>::new().serve();
    let _server = join_by_options(Limits::default()).await?;
    let directory = EbbRef::<Directory>::new()
        .at(NodeId(0))
        .within(Duration::from_secs(1));
    if node == 0 {
        return std::future::pending().await;
    }
    loop {
        let name = format!("nodes/{node}");
        match claim(directory, &name, "", Duration::from_secs(2)).await {
            Ok(Ok(lease)) => lease.lost().await,
            // Its last life may have it.
            Ok(Err(_)) | Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// The machines that have a lease, as node 0 knows.
async fn live(nodes: usize) -> Vec<NodeId> {
    let directory = EbbRef::<Directory>::get();
    let mut live = Vec::new();
    for node in 1..nodes {
        if let Ok(Some(owner)) = directory.owner(format!("nodes/{node}")).await {
            assert_eq!(owner.node(), NodeId(node as u64));
            live.push(owner.node());
        }
    }
    live
}

/// What the front end knows to be in the table: of each key what was written to all of its machines, and where those are.
type Known = Rc<RefCell<BTreeMap<String, (String, Vec<NodeId>)>>>;

/// Writes and reads keys, and says how many reads were answered.
async fn use_table(nodes: usize, known: Known) -> usize {
    let mut answered = 0;
    for _ in 0..300 {
        sleep(Duration::from_millis(below(40))).await;
        let live = live(nodes).await;
        let key = format!("key {}", below(40));
        let places: Vec<NodeId> = placement::order(&live, hash(&key))
            .into_iter()
            .take(COPIES)
            .collect();
        if below(2) == 0 {
            // While it is being written nothing is known of it.
            known.borrow_mut().remove(&key);
            let value = format!("{key} is {}", below(1 << 60));
            let mut done = places.len() == COPIES;
            for place in &places {
                let put = table(*place).put(key.clone(), value.clone().into());
                done &= put.await.is_ok();
            }
            if done {
                known.borrow_mut().insert(key, (value, places));
            }
            continue;
        }
        let expected = known.borrow().get(&key).cloned();
        let Some((value, written)) = expected else {
            continue;
        };
        for place in written {
            // One that has started anew has nothing, and some cannot be reached.
            if let Ok(Some(found)) = table(place).get(key.clone()).await {
                assert_eq!(*found, *value.as_bytes(), "a write that was answered");
                answered += 1;
            }
        }
    }
    answered
}

#[test]
fn what_was_written_is_read_while_machines_of_the_table_fail() {
    let (mut faults, mut answered) = (0, 0);
    let runs = seeds(8, |seed| {
        let nodes = 4 + seed as usize % 9;
        // Two of few machines are as a rule not parted.
        let faults_of = Faults {
            every_ns: 1_200_000_000 / nodes as u64,
            ..Faults::wild()
        };
        let mut sim = Simulation::new(seed, nodes, faults_of, machine);
        sim.spare(0);
        sim.run_for(Duration::from_secs(1));
        let known = Known::default();
        let used = sim.on(0, move || use_table(nodes, known));
        answered += used.expect("node 0 does not crash");
        faults += sim.faults();
        // All come back, and get their leases, when those of their earlier lives have run out.
        sim.calm();
        sim.run_for(Duration::from_secs(10));
        let live = sim.on(0, move || live(nodes)).expect("it is up");
        assert_eq!(live.len(), nodes - 1);
    });
    println!("{faults} faults, {answered} reads answered");
    if runs >= 8 {
        assert!(faults > 200 && answered > 200);
    }
}

#[test]
fn a_machine_that_dies_is_missed_within_its_lease_and_its_keys_have_another_place() {
    let mut sim = Simulation::new(1, 5, Faults::none(), machine);
    sim.run_for(Duration::from_secs(1));
    let before = sim.on(0, || live(5)).expect("it is up");
    assert_eq!(before.len(), 4);
    let key = "some key";
    let [first, second] = placement::order(&before, hash(key))[..COPIES] else {
        panic!("there are four");
    };
    let put = |node| move || table(node).put(key.into(), "there".into());
    for node in [first, second] {
        assert_eq!(sim.on(0, put(node)).expect("it is up"), Ok(()));
    }
    sim.crash(first.0 as usize, Crash::Machine);
    sim.run_for(Duration::from_secs(2));
    let after = sim.on(0, || live(5)).expect("it is up");
    assert_eq!(after.len(), 3);
    assert_eq!(placement::owner(&after, hash(key)), Some(second));
    let found = sim.on(0, move || table(second).get(key.into()));
    assert_eq!(
        &*found
            .expect("it is up")
            .expect("it is reached")
            .expect("it is there"),
        b"there"
    );
}

#[test]
fn a_hundred_machines_join_and_each_is_called_by_every_other() {
    let mut sim = Simulation::new(1, 100, Faults::none(), machine);
    sim.run_for(Duration::from_secs(2));
    let callers: Vec<_> = (0..100)
        .map(|node| {
            sim.spawn_on(node, async move || {
                let mut answered = 0;
                // Not all the same one first: a node lets so many strangers in at a time.
                for other in (0..100).map(|n| (n + node as u64) % 100) {
                    answered += usize::from(table(NodeId(other)).size().await.is_ok());
                }
                answered
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(sim.wait(caller).expect("it is up"), 100);
    }
}

#[test]
fn a_thousand_machines_that_join_at_once_all_get_their_names() {
    let mut sim = Simulation::new(1, 1001, Faults::none(), machine);
    sim.spare(0);
    let mut seconds = 0;
    loop {
        sim.run_for(Duration::from_secs(1));
        seconds += 1;
        let live = sim.on(0, || live(1001)).expect("it is up");
        if live.len() == 1000 {
            break;
        }
        // Node 0 hears 64 strangers at a time. Those that it turns away must not come again all together.
        assert!(seconds < 5, "{} of 1,000 in {seconds} s", live.len());
    }
}
