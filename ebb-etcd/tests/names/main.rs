//! Names that several front ends share, in a real etcd. Each front end is a machine of threads in this process, with a directory.
//!
//!     cargo test -p ebb-etcd --features names
#![allow(missing_docs)]

mod front;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ebb::{EbbRef, ebb, time};
use ebb_distributed::{
    NodeId, RemoteRef,
    directory::{Change, Directory, DirectoryAt, Fence, Refusal, Renewal, claim},
    introduce, placement, remote, this_node,
};
use front::{Front, free_address, until};
use test_support::etcd::{Etcd, Way};

const LEASE: Duration = Duration::from_secs(3);
/// What etcd may take after a lease has run out: it counts whole seconds, looks twice a second, and the machine may be busy.
const SLACK: Duration = Duration::from_secs(6);

/// Who is it?
#[ebb(distributed)]
#[derive(Default)]
struct Who {}

#[remote(name = "test.Who")]
impl Who {
    async fn are_you(&self) -> u64 {
        this_node().map_or(0, |node| node.0)
    }
}

/// The directory of this front end.
fn here() -> DirectoryAt {
    let node = this_node().expect("it has joined");
    EbbRef::<Directory>::new().at(node)
}

fn at(change: &Change) -> Option<(NodeId, &str)> {
    let owner = change.owner.as_ref()?;
    Some((owner.node(), &owner.value))
}

/// Claims until the name is this node's.
async fn claim_soon(name: &str, lease: Duration) -> ebb_distributed::directory::Lease {
    loop {
        match claim(here(), name, "", lease).await.expect("it is here") {
            Ok(lease) => return lease,
            Err(_) => time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[test]
fn front_ends_with_one_etcd_have_the_same_names_and_find_one_anothers_nodes() {
    test_support::needs!("etcd");
    let etcd = Etcd::start(1);
    let hosts = etcd.hosts();
    let (is_there, is_seen) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (tells, seen) = (Arc::clone(&is_there), Arc::clone(&is_seen));
    let address = free_address();
    let _first = Front::start(NodeId(1), address, &hosts, async move |_| {
        EbbRef::<Who>::new().serve();
        let value = address.to_string();
        let node = claim(here(), "nodes/1", &value, LEASE).await.unwrap();
        let _node = node.expect("nobody else is this node");
        let primary = claim(here(), "primary", "first", LEASE).await.unwrap();
        let primary = primary.expect("it is free");
        tells.store(true, Ordering::SeqCst);
        until(&seen).await;
        // Longer than the lease: it is renewed.
        time::sleep(LEASE + LEASE / 2).await;
        assert!(primary.is_held());
        drop(primary);
        std::future::pending::<()>().await;
    });
    let second = Front::start(NodeId(2), free_address(), &hosts, async move |_| {
        until(&is_there).await;
        let mut nodes = here().watch("nodes/".into());
        let change = nodes.next().await.expect("it goes on").expect("it is here");
        let (node, value) = at(&change).expect("the node is there");
        let where_it_is: SocketAddr = value.parse().expect("an address");
        introduce(node, where_it_is);
        assert_eq!(EbbRef::<Who>::new().at(node).are_you().await, Ok(1));
        // What all know by these names, all place alike.
        assert!(placement::owner(&[node, NodeId(2)], 7).is_some());

        let mut watched = here().watch("prim".into());
        let change = watched.next().await.unwrap().unwrap();
        assert_eq!(at(&change), Some((NodeId(1), "first")));
        let owner = here().owner("primary".into()).await.unwrap().unwrap();
        let owner = owner.expect("somebody has it");
        let refused = claim(here(), "primary", "second", LEASE).await.unwrap();
        assert_eq!(refused.err(), Some(Refusal::Taken(owner.clone())));
        // Any front end renews, but no claim that has not been.
        let renewed = here().renew("primary".into(), owner.epoch, 3_000).await;
        assert_eq!(renewed, Ok(Renewal::Held));
        let renewed = here().renew("primary".into(), owner.epoch - 1, 3_000).await;
        assert_eq!(renewed, Ok(Renewal::Lost));
        here()
            .release("primary".into(), owner.epoch - 1)
            .expect("it is here");
        is_seen.store(true, Ordering::SeqCst);

        let change = watched.next().await.unwrap().unwrap();
        assert_eq!((&*change.name, &change.owner), ("primary", &None));
        let next = claim(here(), "primary", "second", LEASE).await.unwrap();
        let next = next.expect("it was given back");
        assert!(next.epoch() > owner.epoch);
    });
    second.join();
}

#[test]
fn of_many_that_claim_a_name_at_once_one_gets_it_and_no_other_lease_is_left() {
    test_support::needs!("etcd");
    let etcd = Etcd::start(1);
    let got = Arc::new(Mutex::new(Vec::new()));
    let ends = Arc::new(AtomicBool::new(false));
    let fronts: Vec<Front> = (1..=3)
        .map(|node| {
            let (got, ends) = (Arc::clone(&got), Arc::clone(&ends));
            Front::start(
                NodeId(node),
                free_address(),
                &etcd.hosts(),
                async move |_| {
                    let claims = (0..20).map(|name| {
                        ebb::spawn(async move {
                            let name = format!("name {name}");
                            claim(here(), &name, "", Duration::from_secs(30)).await
                        })
                    });
                    let mut leases = Vec::new();
                    for claim in claims.collect::<Vec<_>>() {
                        let claimed = claim.await.expect("no panic").expect("it is here");
                        match claimed {
                            Ok(lease) => leases.push(lease),
                            Err(refusal) => assert!(refusal.owner().is_some(), "{refusal:?}"),
                        }
                    }
                    let epochs = leases.iter().map(|lease| lease.epoch());
                    got.lock().unwrap().push(epochs.collect::<Vec<_>>());
                    until(&ends).await;
                },
            )
        })
        .collect();
    while got.lock().unwrap().len() < 3 {
        thread::sleep(Duration::from_millis(20));
    }
    let mut epochs = got.lock().unwrap().concat();
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), 20);
    // Those who came too late take their leases back.
    let began = Instant::now();
    while etcd.leases(0).len() != 20 {
        assert!(began.elapsed() < SLACK, "{} leases", etcd.leases(0).len());
        thread::sleep(Duration::from_millis(20));
    }
    ends.store(true, Ordering::SeqCst);
    fronts.into_iter().for_each(Front::join);
}

#[test]
fn the_name_of_a_front_end_that_dies_is_free_when_its_lease_has_run_out_and_not_before() {
    test_support::needs!("etcd");
    let etcd = Etcd::start(1);
    let first = Front::start(NodeId(1), free_address(), &etcd.hosts(), async |_| {
        // It gives nothing back.
        std::mem::forget(claim_soon("primary", LEASE).await);
    });
    first.join();
    let died = Instant::now();
    let second = Front::start(NodeId(2), free_address(), &etcd.hosts(), async move |_| {
        let _lease = claim_soon("primary", LEASE).await;
        let after = died.elapsed();
        assert!(after > LEASE / 2 && after < LEASE + SLACK, "{after:?}");
    });
    second.join();
}

#[test]
fn a_change_of_etcds_leader_costs_no_lease_and_no_change_is_missed() {
    test_support::needs!("etcd");
    let mut etcd = Etcd::start(3);
    let hosts = etcd.hosts();
    let lease = Duration::from_secs(10);
    let (is_owner, has_changed) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (tells, changed) = (Arc::clone(&is_owner), Arc::clone(&has_changed));
    let known = Arc::clone(&has_changed);
    let _owner = Front::start(NodeId(1), free_address(), &hosts, async move |_| {
        let held = claim_soon("primary", lease).await;
        tells.store(true, Ordering::SeqCst);
        until(&changed).await;
        // Longer than the lease: it is renewed at the others.
        time::sleep(lease + lease / 4).await;
        assert!(held.is_held(), "the lease is lost");
        drop(held);
        std::future::pending::<()>().await;
    });
    let other = Front::start(NodeId(2), free_address(), &hosts, async move |_| {
        let mut watched = here().watch(String::new());
        let change = watched.next().await.unwrap().unwrap();
        let first = change.owner.expect("it has been claimed").epoch;
        until(&known).await;
        let refused = claim(here(), "primary", "", lease).await.unwrap();
        // The leader's death may be news, but the name has one owner.
        assert!(refused.is_err());
        let change = watched.next().await.unwrap().unwrap();
        assert_eq!((&*change.name, &change.owner), ("primary", &None));
        assert!(claim_soon("primary", lease).await.epoch() > first);
    });
    wait_for(&is_owner);
    // The watch is there as well.
    thread::sleep(Duration::from_millis(500));
    let leader = etcd.leader();
    etcd.kill(leader);
    let next = etcd.leader();
    assert_ne!(next, leader);
    has_changed.store(true, Ordering::SeqCst);
    other.join();
}

#[test]
fn a_member_of_etcd_that_hangs_costs_no_lease_and_one_without_the_others_gives_no_name() {
    test_support::needs!("etcd");
    let mut etcd = Etcd::start(3);
    let lease = Duration::from_secs(10);
    let (is_owner, hangs, is_alone) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let has_renewed = Arc::new(AtomicBool::new(false));
    let (tells, told, renewed, alone) = (
        Arc::clone(&is_owner),
        Arc::clone(&hangs),
        Arc::clone(&has_renewed),
        Arc::clone(&is_alone),
    );
    let front = Front::start(NodeId(1), free_address(), &etcd.hosts(), async move |_| {
        // The first member is asked until it does not answer.
        let held = claim_soon("primary", lease).await;
        let mut watched = here().watch(String::new());
        let change = watched.next().await.unwrap().unwrap();
        assert_eq!(change.name, "primary");
        tells.store(true, Ordering::SeqCst);
        until(&told).await;
        time::sleep(lease + lease / 4).await;
        assert!(held.is_held(), "the lease is lost");
        // The watch was at that member.
        let other = claim_soon("other", lease).await;
        let change = time::timeout(Duration::from_secs(10), watched.next()).await;
        let change = change.expect("in time").unwrap().unwrap();
        assert_eq!(change.owner.map(|owner| owner.epoch), Some(other.epoch()));
        renewed.store(true, Ordering::SeqCst);
        until(&alone).await;
        // It cannot know, and does not say what it knew.
        let begun = Instant::now();
        assert!(here().owner("primary".into()).await.unwrap().is_err());
        let claimed = claim(here(), "secondary", "", lease).await.unwrap();
        assert_eq!(claimed.err(), Some(Refusal::Away));
        assert!(begun.elapsed() < Duration::from_secs(10));
    });
    wait_for(&is_owner);
    etcd.stop(0, true);
    hangs.store(true, Ordering::SeqCst);
    wait_for(&has_renewed);
    etcd.stop(0, false);
    etcd.kill(1);
    etcd.kill(2);
    is_alone.store(true, Ordering::SeqCst);
    front.join();
}

/// Waits, in a thread of the test, for what a front end tells.
fn wait_for(flag: &AtomicBool) {
    let begun = Instant::now();
    while !flag.load(Ordering::SeqCst) {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is told");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_front_end_that_is_cut_off_from_etcd_stops_being_owner_before_another_becomes_it() {
    test_support::needs!("etcd");
    let etcd = Etcd::start(1);
    let way = Way::to(etcd.address(0));
    // Nanoseconds of the test's clock; 0 for what has not happened.
    let (lost_ns, gained_ns) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (lost, gained) = (Arc::clone(&lost_ns), Arc::clone(&gained_ns));
    let (is_owner, is_mended) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (tells, mended) = (Arc::clone(&is_owner), Arc::clone(&is_mended));
    let has_asked = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&has_asked);
    let fence = Arc::new(Fence::default());
    let guard = Arc::clone(&fence);
    let begun = Instant::now();
    let first = Front::start(
        NodeId(1),
        free_address(),
        &way.address.to_string(),
        async move |_| {
            let lease = claim_soon("primary", LEASE).await;
            tells.store(true, Ordering::SeqCst);
            assert!(guard.admits(lease.epoch()));
            lease.lost().await;
            lost.store(begun.elapsed().as_nanos() as u64, Ordering::SeqCst);
            // Nobody is told that etcd is away as if the name were free, or taken.
            let refused = claim(here(), "primary", "", LEASE).await.unwrap();
            assert_eq!(refused.err(), Some(Refusal::Away));
            asked.store(true, Ordering::SeqCst);
            until(&mended).await;
            assert!(!lease.is_held());
            assert!(!guard.admits(lease.epoch()), "a later owner has been");
            drop(lease);
            let began = Instant::now();
            loop {
                match claim(here(), "primary", "", LEASE).await.unwrap() {
                    Err(Refusal::Taken(owner)) => break assert_eq!(owner.node(), NodeId(2)),
                    Err(Refusal::Away) if began.elapsed() < 3 * SLACK => {}
                    other => panic!("{:?}", other.map(|lease| lease.epoch())),
                }
            }
        },
    );
    wait_for(&is_owner);
    let ends = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ends);
    let second = Front::start(NodeId(2), free_address(), &etcd.hosts(), async move |_| {
        let lease = claim_soon("primary", LEASE).await;
        gained.store(begun.elapsed().as_nanos() as u64, Ordering::SeqCst);
        assert!(fence.admits(lease.epoch()));
        until(&told).await;
        assert!(lease.is_held());
    });
    // Some renewals go through.
    thread::sleep(LEASE);
    assert_eq!(lost_ns.load(Ordering::SeqCst), 0);
    way.cut(true);
    let cut = Instant::now();
    while gained_ns.load(Ordering::SeqCst) == 0 || !has_asked.load(Ordering::SeqCst) {
        assert!(cut.elapsed() < LEASE + SLACK, "nobody becomes owner");
        thread::sleep(Duration::from_millis(10));
    }
    let lost = lost_ns.load(Ordering::SeqCst);
    assert_ne!(lost, 0, "two owners");
    assert!(lost < gained_ns.load(Ordering::SeqCst));
    way.cut(false);
    is_mended.store(true, Ordering::SeqCst);
    first.join();
    ends.store(true, Ordering::SeqCst);
    second.join();
}

#[test]
fn an_etcd_that_is_away_costs_leases_and_nothing_once_it_is_back() {
    test_support::needs!("etcd");
    let mut etcd = Etcd::start(1);
    let (is_owner, is_away, is_back) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (tells, away, back) = (
        Arc::clone(&is_owner),
        Arc::clone(&is_away),
        Arc::clone(&is_back),
    );
    let front = Front::start(NodeId(1), free_address(), &etcd.hosts(), async move |_| {
        let lease = claim_soon("primary", LEASE).await;
        let mut watched = here().watch(String::new());
        let change = watched.next().await.unwrap().unwrap();
        assert_eq!(change.owner.map(|owner| owner.epoch), Some(lease.epoch()));
        tells.store(true, Ordering::SeqCst);
        until(&away).await;
        let begun = Instant::now();
        lease.lost().await;
        assert!(begun.elapsed() <= LEASE + Duration::from_secs(1));
        // Who asks is told soon.
        let begun = Instant::now();
        assert!(here().owner("primary".into()).await.unwrap().is_err());
        let claimed = claim(here(), "secondary", "", LEASE).await.unwrap();
        assert_eq!(claimed.err(), Some(Refusal::Away));
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
        until(&back).await;
        let again = claim_soon("primary", LEASE).await;
        assert!(again.epoch() > lease.epoch());
        // The watch goes on: of what happened meanwhile the last is told.
        loop {
            let change = watched.next().await.unwrap().unwrap();
            if change
                .owner
                .is_some_and(|owner| owner.epoch == again.epoch())
            {
                break;
            }
        }
    });
    wait_for(&is_owner);
    etcd.kill(0);
    is_away.store(true, Ordering::SeqCst);
    thread::sleep(away_for());
    etcd.start_again(0);
    is_back.store(true, Ordering::SeqCst);
    front.join();
}

/// How long etcd is away: `EBB_ETCD_AWAY_S` seconds.
fn away_for() -> Duration {
    let said = std::env::var("EBB_ETCD_AWAY_S").ok();
    said.map_or(2 * LEASE, |seconds| {
        Duration::from_secs(seconds.parse().expect("seconds"))
    })
}
