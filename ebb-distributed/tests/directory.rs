//! Names and leases between nodes, each a machine of threads in this process, over real sockets.
#![allow(missing_docs)]

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ebb::{EbbRef, time};
use ebb_distributed::{
    Config, Key, NodeId, RemoteRef,
    directory::{Directory, DirectoryAt, claim},
    introduce, join,
};

const KEY: [u8; 32] = [9; 32];
const LEASE: Duration = Duration::from_millis(400);

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address")
}

/// A node in threads of its own, until it is told to end. It gives nothing back then.
struct Node {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    fn start<F: Future<Output = ()> + 'static>(
        node: NodeId,
        listen: SocketAddr,
        run: impl FnOnce(Arc<AtomicBool>) -> F + Send + 'static,
    ) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let one = ebb_hosted::Config {
            cores: 1,
            pin: false,
        };
        let thread = thread::spawn(move || {
            ebb_hosted::run(&one, async move || {
                let server = join(Config::new(node, Key::new(KEY), listen)).await;
                let _server = server.expect("a free port");
                run(told).await;
            });
        });
        Self {
            ends,
            thread: Some(thread),
        }
    }

    /// The one with the directory, once it listens.
    fn directory(listen: SocketAddr) -> Self {
        let node = Self::start(NodeId(0), listen, async |ends| {
            EbbRef::<Directory>::new().serve();
            until(&ends).await;
        });
        while TcpStream::connect(listen).is_err() {
            thread::sleep(Duration::from_millis(1));
        }
        node
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

/// Another directory in the place of one. Both are started and ended elsewhere, so that this core goes on.
async fn restarted(first: Node, at: SocketAddr) -> Node {
    let again = thread::spawn(move || {
        drop(first);
        Node::directory(at)
    });
    while !again.is_finished() {
        time::sleep(Duration::from_millis(2)).await;
    }
    again.join().expect("it listens again")
}

async fn until(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        time::sleep(Duration::from_millis(2)).await;
    }
}

fn directory(at: SocketAddr) -> DirectoryAt {
    introduce(NodeId(0), at);
    EbbRef::<Directory>::new().at(NodeId(0))
}

#[test]
fn a_lease_outlasts_its_length_while_it_is_held_and_its_name_is_free_after_its_owner() {
    let at = free_address();
    let _directory = Node::directory(at);
    let _node = Node::start(NodeId(1), free_address(), async move |_| {
        let directory = directory(at);
        let lease = claim(directory, "primary", "here", LEASE).await.unwrap();
        let lease = lease.expect("it is free");
        let mut watched = directory.watch("prim".into());
        let first = watched.next().await.unwrap().unwrap();
        assert_eq!(first.owner.map(|owner| owner.value), Some("here".into()));
        time::sleep(3 * LEASE).await;
        assert!(lease.is_held());
        let again = claim(directory, "primary", "there", LEASE).await.unwrap();
        assert_eq!(
            again
                .err()
                .and_then(|refusal| Some(refusal.owner()?.node())),
            Some(NodeId(1))
        );
        let epoch = lease.epoch();
        drop(lease);
        let change = watched.next().await.unwrap().unwrap();
        assert_eq!((&*change.name, change.owner), ("primary", None));
        let next = claim(directory, "primary", "there", LEASE).await.unwrap();
        assert!(next.expect("it was given back").epoch() > epoch);
    });
}

#[test]
fn the_name_of_a_node_that_dies_is_free_when_its_lease_has_run_out_and_not_before() {
    let at = free_address();
    let _directory = Node::directory(at);
    let claimed = Arc::new(AtomicBool::new(false));
    let tells = Arc::clone(&claimed);
    let owner = Node::start(NodeId(1), free_address(), async move |ends| {
        let lease = claim(directory(at), "primary", "", LEASE).await.unwrap();
        let lease = lease.expect("it is free");
        tells.store(true, Ordering::Relaxed);
        until(&ends).await;
        std::mem::forget(lease);
    });
    while !claimed.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(2));
    }
    drop(owner);
    let died = Instant::now();
    let _next = Node::start(NodeId(2), free_address(), async move |_| {
        let directory = directory(at);
        while claim(directory, "primary", "", LEASE)
            .await
            .unwrap()
            .is_err()
        {
            time::sleep(Duration::from_millis(5)).await;
        }
        // The last renewal was at most a third of it ago.
        let after = died.elapsed();
        assert!(after > LEASE / 2 && after < 4 * LEASE, "{after:?}");
    });
}

#[test]
fn an_owner_that_does_not_reach_the_directory_stops_believing_in_its_lease() {
    let at = free_address();
    let first = Node::directory(at);
    let _node = Node::start(NodeId(1), free_address(), async move |_| {
        let directory = directory(at);
        let lease = claim(directory, "primary", "", LEASE).await.unwrap();
        let lease = lease.expect("it is free");
        // The directory goes away, and comes back as one that knows nothing, whose epochs are higher.
        let begun = Instant::now();
        let second = restarted(first, at).await;
        lease.lost().await;
        assert!(begun.elapsed() < 3 * LEASE, "{:?}", begun.elapsed());
        let again = loop {
            match claim(directory, "primary", "", LEASE).await {
                Ok(claimed) => break claimed.expect("it is free"),
                Err(_) => time::sleep(Duration::from_millis(10)).await,
            }
        };
        assert!(again.epoch() > lease.epoch());
        drop(again);
        drop(second);
    });
}
