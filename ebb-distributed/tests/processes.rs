//! Nodes that are processes, over real sockets: methods, streams, failures, a peer that is killed.

use std::{
    cell::Cell,
    env,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use ebb::{EbbRef, ebb, time};
use ebb_distributed::{
    Blob, Config, Failure, Items, Key, NodeId, NotSent, RemoteRef, Sink, State, introduce, join,
    remote, watch,
};

#[derive(Debug, PartialEq, minicbor::Encode, minicbor::Decode)]
struct Entry {
    #[n(0)]
    name: String,
    #[n(1)]
    count: u64,
}

#[ebb(distributed)]
#[derive(Default)]
struct Table {
    hints: AtomicU32,
    started: AtomicU32,
    ended: AtomicU32,
    order: Mutex<Vec<u32>>,
}

/// Counts what is dropped before it has ended.
struct Ends<'a>(&'a AtomicU32);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[remote(name = "table")]
impl Table {
    async fn echo(&self, bytes: Blob) -> Blob {
        bytes
    }

    async fn entry(&self, name: String, count: u64) -> Option<Entry> {
        Some(Entry { name, count })
    }

    /// Never ends.
    async fn hang(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
        let _ends = Ends(&self.ended);
        std::future::pending::<()>().await;
    }

    async fn panics(&self) -> u32 {
        panic!("as the test wants it");
    }

    /// Notes the number; every fifth has the connection's task run again, every third waits then.
    async fn begin(&self, number: u32) {
        self.order.lock().unwrap().push(number);
        if number.is_multiple_of(5) {
            let _ = EbbRef::<Self>::new().at(CLIENT).hint();
        }
        if number.is_multiple_of(3) {
            time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The numbers in the order in which they were noted.
    async fn order(&self) -> Vec<u32> {
        self.order.lock().unwrap().clone()
    }

    async fn exits(&self) {
        std::process::exit(3);
    }

    /// How many hints there were, calls of `hang`, and ends of these.
    async fn counts(&self) -> (u32, u32, u32) {
        let get = |n: &AtomicU32| n.load(Ordering::Relaxed);
        (get(&self.hints), get(&self.started), get(&self.ended))
    }

    /// The sum of what is given, or what it was when the caller went away.
    async fn add_up(&self, mut items: Items<u64>) -> u64 {
        self.started.fetch_add(1, Ordering::Relaxed);
        let _ends = Ends(&self.ended);
        let mut sum = 0;
        while let Ok(Some(n)) = items.next().await {
            sum += n;
        }
        sum
    }

    /// Takes three items, whatever there are.
    async fn first_three(&self, mut items: Items<u64>) -> Vec<u64> {
        let mut taken = Vec::new();
        while taken.len() < 3 {
            match items.next().await {
                Ok(Some(n)) => taken.push(n),
                _ => break,
            }
        }
        taken
    }

    #[remote(stream)]
    async fn doubled(&self, mut items: Items<Blob>, out: Sink<Blob>) {
        while let Ok(Some(bytes)) = items.next().await {
            if out
                .send(Blob::from([&bytes[..], &bytes[..]].concat()))
                .await
                .is_err()
            {
                return;
            }
        }
    }

    #[remote(oneway)]
    async fn hint(&self) {
        self.hints.fetch_add(1, Ordering::Relaxed);
    }

    #[remote(stream)]
    async fn numbers(&self, upto: u64, out: Sink<u64>) {
        self.started.fetch_add(1, Ordering::Relaxed);
        let _ends = Ends(&self.ended);
        for n in 0..upto {
            if out.send(n).await.is_err() {
                return;
            }
        }
    }
}

/// What another version of the table has: `counts` has another signature.
mod later {
    use super::*;

    #[ebb(per_core, distributed)]
    #[derive(Default)]
    pub struct Table {
        calls: Cell<u32>,
    }

    #[remote(name = "table")]
    impl Table {
        pub async fn counts(&self) -> (u64, u64) {
            self.calls.set(self.calls.get() + 1);
            (0, 0)
        }

        pub async fn entry(&self, name: String, count: u64) -> Option<Entry> {
            Some(Entry { name, count })
        }
    }

    #[ebb(per_core, distributed)]
    #[derive(Default)]
    pub struct Nowhere {
        calls: Cell<u32>,
    }

    #[remote]
    impl Nowhere {
        pub async fn call(&self) {
            self.calls.set(self.calls.get() + 1);
        }
    }
}

const SERVER: NodeId = NodeId(1);
const CLIENT: NodeId = NodeId(2);
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// The other process: what `server` starts.
#[test]
#[ignore = "the other process of the tests"]
fn server_process() {
    let Ok(key) = env::var("TEST_KEY") else {
        return;
    };
    let key = Key::from_hex(&key).expect("a key");
    let listen: SocketAddr = env::var("TEST_LISTEN")
        .expect("an address")
        .parse()
        .expect("an address");
    // It ends with its parent.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    ebb_hosted::run(
        &ebb_hosted::Config {
            cores: 2,
            pin: false,
        },
        async move || {
            let server = join(Config::new(SERVER, key, listen))
                .await
                .expect("a free port");
            EbbRef::<Table>::new().serve();
            println!("\nlistens on {}", server.local_addr());
            std::future::pending::<()>().await;
        },
    );
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(key: &Key, listen: SocketAddr) -> Self {
        let mut child = Command::new(env::current_exe().expect("this executable"))
            .args(["--exact", "server_process", "--ignored", "--nocapture"])
            .env("TEST_KEY", key.to_hex())
            .env("TEST_LISTEN", listen.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("listens on ")?.parse().ok())
            .expect("it says where it listens");
        Self { child, address }
    }

    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a test as a node of a cluster with a server.
fn with_server<F: AsyncFnOnce(Server, TableAt, Key) + Send + 'static>(test: F) {
    ebb_hosted::run(
        &ebb_hosted::Config {
            cores: 1,
            pin: false,
        },
        async move || {
            let key = Key::random();
            let server = Server::start(&key, LOCAL);
            let _listening = join(Config::new(CLIENT, key, LOCAL))
                .await
                .expect("a free port");
            introduce(SERVER, server.address);
            test(server, EbbRef::<Table>::new().at(SERVER), key).await;
        },
    );
}

/// Waits until the server says that.
async fn until(table: TableAt, what: impl Fn((u32, u32, u32)) -> bool) {
    for _ in 0..500 {
        if what(table.counts().await.expect("an answer")) {
            return;
        }
        time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not come to be: {:?}", table.counts().await);
}

#[test]
fn methods_give_what_they_give_locally() {
    with_server(async |_server, table, _| {
        let expected = Some(Entry {
            name: "é".into(),
            count: u64::MAX,
        });
        assert_eq!(table.entry("é".into(), u64::MAX).await, Ok(expected));
        for length in [0, 1, 4095, 4096, 70_000, 5_000_000] {
            let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            assert_eq!(
                table.echo(bytes.clone().into()).await,
                Ok(Blob::from(bytes))
            );
        }
        let sizes = [3, 1000, 20_000];
        let many: Vec<_> = (0..300_u64)
            .map(|n| {
                ebb::spawn(async move {
                    (
                        n,
                        table
                            .echo(vec![n as u8; sizes[n as usize % 3]].into())
                            .await,
                    )
                })
            })
            .collect();
        for task in many {
            let (n, blob) = task.await.unwrap();
            let blob = blob.unwrap();
            assert!(blob.len() == sizes[n as usize % 3] && blob.iter().all(|b| *b == n as u8));
        }
        // On the node itself no connection is needed.
        let here = EbbRef::<Table>::new().at(CLIENT);
        assert_eq!(here.counts().await, Err(Failure::Gone));
        EbbRef::<Table>::new().serve();
        assert_eq!(here.counts().await, Ok((0, 0, 0)));
    });
}

#[test]
fn methods_begin_in_the_order_of_their_calls_and_a_panic_ends_no_other() {
    with_server(async |_server, table, _| {
        let hangs = ebb::spawn(async move { table.hang().await });
        until(table, |(_, started, _)| started == 1).await;
        let calls: Vec<_> = (0..3000)
            .map(|number| ebb::spawn(async move { table.begin(number).await }))
            .collect();
        assert_eq!(table.panics().await, Err(Failure::NoAnswer));
        for call in calls {
            assert_eq!(call.await.expect("no panic"), Ok(()));
        }
        let order = table.order().await.expect("an answer");
        assert_eq!(order, (0..3000).collect::<Vec<u32>>());
        // It would have its outcome if its connection had ended.
        assert!(!hangs.is_finished());
    });
}

#[test]
fn hints_arrive_and_streams_keep_their_order() {
    with_server(async |_server, table, _| {
        for _ in 0..100 {
            table.hint().unwrap();
        }
        until(table, |(hints, ..)| hints == 100).await;
        let mut numbers = table.numbers(10_000);
        for n in 0..10_000 {
            assert_eq!(numbers.next().await, Some(Ok(n)));
        }
        assert_eq!(numbers.next().await, None);
        // One that nobody reads is not sent, and ends when it is dropped.
        let mut numbers = table.numbers(u64::MAX);
        assert_eq!(numbers.next().await, Some(Ok(0)));
        drop(numbers);
        until(table, |(_, started, ended)| started == 2 && ended == 2).await;
        EbbRef::<Table>::new().serve();
        let mut here = EbbRef::<Table>::new().at(CLIENT).numbers(100);
        for n in 0..100 {
            assert_eq!(here.next().await, Some(Ok(n)));
        }
        assert_eq!(here.next().await, None);
    });
}

#[test]
fn items_go_to_a_method_in_their_order_and_a_caller_that_stops_before_the_end_gives_it_up() {
    with_server(async |_server, table, _key| {
        EbbRef::<Table>::new().serve();
        for table in [table, EbbRef::<Table>::new().at(CLIENT)] {
            let mut sum = table.add_up();
            for n in 0..5_000 {
                sum.send(n).await.unwrap();
            }
            assert_eq!(sum.finish().await, Ok(4_999 * 5_000 / 2));
            assert_eq!(table.add_up().finish().await, Ok(0));
            // The method has had enough, which the one who gives hears sooner or later.
            let mut three = table.first_three();
            let mut given = 0_u64;
            while given < 10_000 && three.send(given).await.is_ok() {
                given += 1;
            }
            assert!(given < 10_000);
            assert_eq!(three.finish().await, Ok(vec![0, 1, 2]));
            // Both ways at once, with items that are passed on by reference.
            let (mut feed, mut doubled) = table.doubled();
            let giving = ebb::spawn(async move {
                for n in 0..100_u8 {
                    feed.send(Blob::from(vec![n; 6_000])).await.unwrap();
                }
                feed.end().await;
            });
            for n in 0..100_u8 {
                let item = doubled.next().await.unwrap().unwrap();
                assert!(item.len() == 12_000 && item.iter().all(|byte| *byte == n));
            }
            assert_eq!(doubled.next().await, None);
            giving.await.unwrap();
        }
        // Given up: the method ends, and the answer of the other half says so.
        let (_, started, ended) = table.counts().await.unwrap();
        let mut sum = table.add_up();
        sum.send(1).await.unwrap();
        // One that is given up before its first event has not begun.
        while table.counts().await.unwrap().1 == started {
            time::sleep(Duration::from_millis(1)).await;
        }
        drop(sum);
        let (mut feed, mut doubled) = table.doubled();
        feed.send(Blob::from(vec![1])).await.unwrap();
        assert!(doubled.next().await.is_some());
        drop(feed);
        assert_eq!(doubled.next().await, Some(Err(Failure::NoAnswer)));
        let begun = Instant::now();
        while table.counts().await.unwrap().2 < ended + 1 {
            assert!(begun.elapsed() < Duration::from_secs(5), "it goes on");
            time::sleep(Duration::from_millis(5)).await;
        }
        assert!(table.counts().await.unwrap().1 > started);
    });
}

#[test]
fn each_failure_says_what_has_happened() {
    with_server(async |_server, table, _| {
        // On a busy machine a call may be over before its method has begun: then it gets more time.
        let limits = (0..8).map(|n| Duration::from_millis(50 << n));
        let has_begun = async |times| table.counts().await.expect("an answer").1 == times;
        assert!(has_begun(0).await, "there is a connection");
        // Its time is over: the method is stopped there.
        for limit in limits.clone() {
            assert_eq!(table.within(limit).hang().await, Err(Failure::Late));
            if has_begun(1).await {
                break;
            }
        }
        until(table, |(_, started, ended)| started == 1 && ended == 1).await;
        // Dropped here: stopped there.
        for limit in limits {
            assert!(time::timeout(limit, table.hang()).await.is_err());
            if has_begun(2).await {
                break;
            }
        }
        until(table, |(_, started, ended)| started == 2 && ended == 2).await;
        assert_eq!(table.panics().await, Err(Failure::NoAnswer));
        assert_eq!(
            EbbRef::<later::Nowhere>::new().at(SERVER).call().await,
            Err(Failure::Gone)
        );
        // A signature that has changed fails that method alone.
        let later = EbbRef::<later::Table>::new().at(SERVER);
        assert_eq!(later.counts().await, Err(Failure::Version));
        assert!(later.entry("same".into(), 1).await.is_ok());
        let nowhere = EbbRef::<Table>::new().at(NodeId(77)).counts().await;
        assert_eq!(nowhere, Err(Failure::NotSent(NotSent::UnknownNode)));
        let large = table.echo(vec![0; 17 << 20].into()).await;
        assert_eq!(large, Err(Failure::NotSent(NotSent::TooLarge)));
        assert!(table.counts().await.is_ok());
    });
}

#[test]
fn a_peer_that_is_killed_fails_its_calls_and_is_found_again() {
    with_server(async |mut server, table, key| {
        let mut watch = watch(SERVER);
        let State::Up { incarnation } = watch.next().await else {
            panic!("it is up")
        };
        let hanging = ebb::spawn(table.hang());
        until(table, |(_, started, _)| started == 1).await;
        let killed = Instant::now();
        server.kill();
        assert_eq!(hanging.await.unwrap(), Err(Failure::NoAnswer));
        assert_eq!(watch.next().await, State::Down);
        assert!(killed.elapsed() < Duration::from_secs(3));
        let failure = table.counts().await.unwrap_err();
        assert!(!failure.may_have_run(), "{failure:?}");
        // Another process at another address, with the same number.
        let again = Server::start(&key, LOCAL);
        introduce(SERVER, again.address);
        let next = loop {
            if let State::Up { incarnation } = watch.next().await {
                break incarnation;
            }
        };
        assert_ne!(next, incarnation);
        assert_eq!(table.counts().await, Ok((0, 0, 0)));
        // A method that takes its process with it.
        assert_eq!(table.exits().await, Err(Failure::NoAnswer));
    });
}

#[test]
fn one_without_the_key_reaches_no_ebb() {
    with_server(async |server, table, _| {
        use std::io::Write;
        let mut stranger = std::net::TcpStream::connect(server.address).unwrap();
        stranger.write_all(&[48, 0]).unwrap();
        stranger.write_all(&[9; 48]).unwrap();
        // The server ends the connection without a word.
        assert_eq!(stranger.read(&mut [0; 10]).unwrap_or(0), 0);
        // One that says nothing is let go too.
        let mut silent = std::net::TcpStream::connect(server.address).unwrap();
        let started = Instant::now();
        assert_eq!(silent.read(&mut [0; 10]).unwrap_or(0), 0);
        assert!(started.elapsed() < Duration::from_secs(4));
        let _ = join(Config::new(CLIENT, Key::random(), LOCAL))
            .await
            .unwrap();
        assert_eq!(
            table.counts().await,
            Err(Failure::NotSent(NotSent::Unreachable))
        );
    });
}
