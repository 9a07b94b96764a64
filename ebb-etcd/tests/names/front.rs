//! A front end in threads of its own.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ebb::{EbbRef, time};
use ebb_distributed::{Config, Key, NodeId, RemoteRef, directory::Directory, join};
use ebb_etcd::EtcdNames;

const KEY: [u8; 32] = [9; 32];

/// An address at which nobody listens.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address")
}

pub async fn until(flag: &AtomicBool) {
    while !flag.load(Ordering::SeqCst) {
        time::sleep(Duration::from_millis(2)).await;
    }
}

/// A node with a directory whose names are in etcd, until what it runs ends or this is dropped.
pub struct Front {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Front {
    pub fn start<F: Future<Output = ()> + 'static>(
        node: NodeId,
        listen: SocketAddr,
        etcd: &str,
        run: impl FnOnce(Arc<AtomicBool>) -> F + Send + 'static,
    ) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (told, etcd) = (Arc::clone(&ends), etcd.to_owned());
        let one = ebb_hosted::Config {
            cores: 1,
            pin: false,
        };
        let thread = thread::spawn(move || {
            ebb_hosted::run(&one, async move || {
                let names = EtcdNames::start(&etcd, "test/names/").expect("addresses");
                assert!(EbbRef::<Directory>::get().keep_in(names.clone()));
                assert!(
                    !EbbRef::<Directory>::get().keep_in(names),
                    "it has been told"
                );
                EbbRef::<Directory>::new().serve();
                let server = join(Config::new(node, Key::new(KEY), listen)).await;
                let _server = server.expect("a free port");
                let runs = ebb::spawn(run(Arc::clone(&told)));
                while !told.load(Ordering::SeqCst) && !runs.is_finished() {
                    time::sleep(Duration::from_millis(2)).await;
                }
                if runs.is_finished() {
                    runs.await.expect("what the front end does");
                }
            });
        });
        Self {
            ends,
            thread: Some(thread),
        }
    }

    /// Waits until what it runs has ended.
    pub fn join(mut self) {
        let thread = self.thread.take().expect("it was not joined");
        thread.join().expect("the front end does not panic");
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok());
        }
    }
}
