//! What machines get from one another, by way of a front end: each is a machine of threads in this process, over real sockets. What makes
//! instances is played: a base is bytes, and so is a function's snapshot.
#![allow(missing_docs)]

mod common;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{free_address, node_at, one_core};
use ebb::{EbbRef, ebb, provides, spawn, time};
use ebb_distributed::{NodeId, RemoteRef, Sink, join, remote};
use ebb_invoker::Container;
use ebb_invoker::back_end::{BackEnd, Figures};
use ebb_invoker::instance::{
    Boxed, FunctionSnapshot, Instance, InstanceLimits, InstanceMaker, InstanceRequest, Lost,
    NewInstance, NotMade, SharedSnapshot,
};
use ebb_invoker::near::Near;
use ebb_invoker::pieces::{Fetched, PIECE_BYTES, Pieces, Snapshot};
use ebb_invoker_machines::Machines;
use ebb_invoker_machines::wire::{About, Counted, Piece, Wanted};
use ebb_openwhisk::activation::Status;
use ebb_openwhisk::call::{Call, Start};
use ebb_openwhisk::json::Json;
use ebb_openwhisk::logs::Collector;
use ebb_openwhisk::runtimes::{Launch, Loader};

/// What a machine of the test is like.
#[derive(Clone, Default)]
struct Like {
    /// The image that it runs.
    image: u8,
    /// Its base, if it has one; the first byte is its content's name.
    base: Option<Vec<u8>>,
    /// How long it takes to give a piece.
    pause: Duration,
    /// It fails when it gives this piece.
    fails_at: Option<usize>,
    /// It takes no further piece after so many.
    stalls_at: Option<usize>,
}

/// A played machine.
#[ebb(shared)]
#[derive(Default)]
struct Played {
    like: Mutex<Like>,
    given: AtomicUsize,
}

impl Played {
    fn like() -> Like {
        let played = EbbRef::<Self>::get();
        played.like.lock().expect("nobody panicked").clone()
    }
}

/// Pieces of some bytes, behind one that says for which image they are.
struct Parts {
    like: Like,
    bytes: Bytes,
    number: usize,
}

impl Parts {
    fn of(bytes: Vec<u8>) -> Snapshot {
        Box::new(Self {
            like: Played::like(),
            bytes: bytes.into(),
            number: 0,
        })
    }
}

impl Pieces for Parts {
    fn next(&mut self) -> Boxed<'_, Result<Option<Bytes>, String>> {
        Box::pin(async {
            time::sleep(self.like.pause).await;
            EbbRef::<Played>::get()
                .given
                .fetch_add(1, Ordering::Relaxed);
            let number = self.number;
            self.number += 1;
            if self.like.fails_at == Some(number) {
                return Err("it has a socket".into());
            }
            if number == 0 {
                return Ok(Some(Bytes::from(vec![self.like.image])));
            }
            let piece = self.bytes.split_to(self.bytes.len().min(PIECE_BYTES));
            Ok((!piece.is_empty()).then_some(piece))
        })
    }
}

async fn taken(mut pieces: Snapshot) -> Fetched<Vec<u8>> {
    let like = Played::like();
    let Some(image) = pieces.next().await? else {
        return Ok(None);
    };
    if image[..] != [like.image] {
        return Err("it is of another image".into());
    }
    let mut bytes = Vec::new();
    let mut number = 1;
    while let Some(piece) = pieces.next().await? {
        bytes.extend_from_slice(&piece);
        number += 1;
        if like.stalls_at == Some(number) {
            std::future::pending::<()>().await;
        }
    }
    Ok(Some(bytes))
}

/// An instance whose function takes so many milliseconds to load as its code says, and so many to run as its argument says.
#[derive(Default)]
struct Echo(Vec<u8>);

impl Instance for Echo {
    fn ask<'a>(
        &'a mut self,
        request: InstanceRequest,
        payload: &'a str,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        Box::pin(async move {
            let object = Json::parse(payload).expect("JSON").to_object();
            let value = object.and_then(|o| o.get("value").cloned()).expect("one");
            let member = |name: &str| value.to_object()?.get(name).cloned();
            if request == InstanceRequest::Init {
                let code = member("code").and_then(|code| code.to_text());
                let code = code.expect("code").to_string();
                time::sleep(Duration::from_millis(code.parse().expect("ms"))).await;
                self.0 = code.into_bytes();
            } else {
                let ms = member("ms").map_or(0, |ms| ms.as_str().parse().expect("ms"));
                time::sleep(Duration::from_millis(ms)).await;
            }
            Ok((200, b"{}".to_vec()))
        })
    }

    fn drain_logs(&mut self, _: &mut Collector) {}

    fn is_alive(&self) -> bool {
        true
    }

    fn memory_bytes(&mut self) -> u64 {
        1 << 20
    }

    fn capture(&mut self) -> Option<SharedSnapshot> {
        let base = Played::like().base?;
        Some(Arc::new(Loaded(base[0], self.0.clone())))
    }
}

/// The snapshot of one, and the name of its base.
struct Loaded(u8, Vec<u8>);

impl FunctionSnapshot for Loaded {
    fn copy(&self, _: InstanceLimits) -> Result<Box<dyn Instance>, NotMade> {
        Ok(Box::new(Echo(self.1.clone())))
    }

    fn memory_bytes(&self) -> u64 {
        4096
    }

    fn give(&self, base: u128) -> Option<Snapshot> {
        let bytes = [&[self.0], &self.1[..]].concat();
        (base == self.0.into()).then(|| Parts::of(bytes))
    }
}

struct Maker;

#[provides(InstanceMaker, instance = &Maker)]
impl InstanceMaker for Maker {
    fn make(&self, _: &Launch, _: InstanceLimits) -> Boxed<'static, Result<NewInstance, NotMade>> {
        Box::pin(async {
            Ok(NewInstance {
                instance: Box::new(Echo::default()),
                made_ahead: false,
            })
        })
    }

    fn can_launch(&self, _: &Launch) -> bool {
        true
    }

    fn shared_base(&self, _: &Launch) -> Option<u128> {
        Played::like().base.map(|base| base[0].into())
    }

    fn give_base(&self, _: &Launch) -> Option<Snapshot> {
        Played::like().base.map(Parts::of)
    }

    fn take_base(&self, _: &Launch, pieces: Snapshot) -> Boxed<'static, Fetched<()>> {
        Box::pin(async {
            let Some(base) = taken(pieces).await? else {
                return Ok(None);
            };
            let played = EbbRef::<Played>::get();
            played.like.lock().expect("nobody panicked").base = Some(base);
            Ok(Some(()))
        })
    }

    fn take_function(
        &self,
        _: &Launch,
        pieces: Snapshot,
    ) -> Boxed<'static, Fetched<SharedSnapshot>> {
        Box::pin(async {
            let bytes = taken(pieces).await?;
            Ok(bytes
                .map(|bytes| -> SharedSnapshot { Arc::new(Loaded(bytes[0], bytes[1..].to_vec())) }))
        })
    }

    fn description(&self) -> String {
        "played".into()
    }

    fn read_folder(&self, _: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        Ok(Vec::new())
    }

    fn serve_container(&self, _: Container) -> Boxed<'static, Result<(), String>> {
        Box::pin(async { Err("there are none".into()) })
    }
}

/// A machine whose every word about snapshots is wrong.
#[ebb(distributed)]
#[derive(Default)]
struct Rogue;

#[remote(name = "ebb.invoker.Machine")]
impl Rogue {
    async fn about(&self) -> About {
        About::default()
    }

    async fn figures(&self) -> Counted {
        Counted::default()
    }

    #[remote(stream)]
    async fn give(&self, _wanted: Wanted, out: Sink<Piece>) {
        let image = vec![Played::like().image];
        let _ = out.send(Piece::new(0, image)).await;
        // The bytes of one piece with the checksum of another.
        let _ = out.send(Piece::new(7, vec![1; 100])).await;
        let _ = out.send(Piece::end(2)).await;
    }
}

/// What a machine is told to do, on its own core.
enum Order {
    /// Gets a base from a neighbour; the answer says whether it has come, and what it is.
    Base(bool, mpsc::Sender<(bool, Option<Vec<u8>>)>),
    Change(Like),
    /// How many pieces it has given.
    Given(mpsc::Sender<usize>),
}

/// A machine in threads of its own, until it is dropped.
struct Running {
    address: SocketAddr,
    orders: mpsc::Sender<Order>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn node() -> Launch {
    Launch::usual(Loader::Node)
}

impl Running {
    fn start(number: u64, like: Like, is_rogue: bool) -> Self {
        let address = free_address();
        let (orders, coming) = mpsc::channel();
        let ends = Arc::new(AtomicBool::new(false));
        let to_end = Arc::clone(&ends);
        let run = async move || {
            let played = EbbRef::<Played>::get();
            *played.like.lock().expect("nobody panicked") = like;
            match is_rogue {
                true => EbbRef::<Rogue>::new().serve(),
                false => ebb_invoker_machines::serve(),
            }
            let config = node_at(NodeId(number), address);
            let _server = join(config).await.expect("a free port");
            while !to_end.load(Ordering::Relaxed) {
                match coming.try_recv() {
                    Ok(Order::Base(waits, answer)) => drop(spawn(async move {
                        let came = EbbRef::<Near>::get().base(&node(), waits).await;
                        let _ = answer.send((came, Played::like().base));
                    })),
                    Ok(Order::Change(like)) => *played.like.lock().expect("no panic") = like,
                    Ok(Order::Given(answer)) => {
                        let _ = answer.send(played.given.load(Ordering::Relaxed));
                    }
                    Err(_) => time::sleep(Duration::from_millis(2)).await,
                }
            }
        };
        let thread = thread::spawn(move || ebb_hosted::run(&one_core(), run));
        Self {
            address,
            orders,
            ends,
            thread: Some(thread),
        }
    }

    fn order(&self, order: Order) {
        self.orders.send(order).expect("it runs");
    }

    /// What it has becomes this, before anything that another machine is asked afterwards.
    fn change(&self, like: Like) {
        self.order(Order::Change(like));
        self.given();
    }

    /// Has it get a base.
    fn base(&self, waits: bool) -> mpsc::Receiver<(bool, Option<Vec<u8>>)> {
        let (answer, coming) = mpsc::channel();
        self.order(Order::Base(waits, answer));
        coming
    }

    fn given(&self) -> usize {
        let (answer, coming) = mpsc::channel();
        self.order(Order::Given(answer));
        coming.recv().expect("it answers")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

/// What comes within some time, while other tasks of this core run.
async fn answer<T>(coming: &mpsc::Receiver<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Ok(answer) = coming.try_recv() {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "no answer");
        time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a front end beside machines that are so.
fn beside(machines: Vec<Like>, test: impl AsyncFnOnce(Machines, Vec<Running>) + Send + 'static) {
    let started = (1..).zip(machines);
    let running = started.map(|(number, like)| Running::start(number, like, false));
    before(running.collect(), test);
}

fn before(running: Vec<Running>, test: impl AsyncFnOnce(Machines, Vec<Running>) + Send + 'static) {
    common::before(running, |machine| machine.address, test);
}

fn with_base(bytes: usize) -> Like {
    let bytes = (0..bytes).map(|at| (at * 7 / 5) as u8 | 1);
    Like {
        base: Some(bytes.collect()),
        ..Like::default()
    }
}

/// Snapshots that a machine has fetched, their bytes, and those that failed.
async fn fetched(machines: &Machines, node: usize) -> (u64, u64, u64) {
    let figures = machines.figures().await;
    let cores = &figures[node - 1].cores;
    let sum = |f: fn(&ebb_openwhisk::metrics::Metrics) -> u64| cores.iter().map(f).sum();
    (
        sum(|m| m.snapshots_fetched),
        sum(|m| m.bytes_fetched),
        sum(|m| m.fetches_failed),
    )
}

#[test]
fn a_machine_without_a_base_gets_that_of_another_one_as_it_is() {
    const BYTES: usize = (5 << 20) + 123;
    beside(
        vec![with_base(BYTES), Like::default()],
        async |machines, running| {
            let (came, base) = answer(&running[1].base(false)).await;
            assert!(came);
            assert_eq!(base, with_base(BYTES).base);
            let counted = fetched(&machines, 2).await;
            assert_eq!(counted, (1, BYTES as u64 + 1, 0));
            assert_eq!(fetched(&machines, 1).await, (0, 0, 0));
        },
    );
}

#[test]
fn no_more_of_a_snapshot_is_on_its_way_than_two_streams_hold_when_its_taker_stops() {
    let slow = Like {
        stalls_at: Some(3),
        ..Like::default()
    };
    beside(
        vec![with_base(32 << 20), slow],
        async |_machines, running| {
            let coming = running[1].base(false);
            time::sleep(Duration::from_millis(1500)).await;
            let given = running[0].given();
            assert!((3..100).contains(&given), "{given} of 513");
            assert!(coming.try_recv().is_err());
        },
    );
}

#[test]
fn a_base_that_is_cut_off_or_of_another_image_or_damaged_is_not_taken() {
    let cut = Like {
        fails_at: Some(40),
        ..with_base(8 << 20)
    };
    let other = Like {
        image: 9,
        ..with_base(100)
    };
    for like in [cut, other] {
        beside(vec![like, Like::default()], async |machines, running| {
            assert_eq!(answer(&running[1].base(false)).await, (false, None));
            let (came, _, failed) = fetched(&machines, 2).await;
            assert_eq!((came, failed), (0, 1));
        });
    }
    let running = vec![
        Running::start(1, Like::default(), true),
        Running::start(2, Like::default(), false),
    ];
    before(running, async |machines, running| {
        assert_eq!(answer(&running[1].base(false)).await, (false, None));
        assert_eq!(fetched(&machines, 2).await.2, 1);
    });
}

#[test]
fn a_neighbour_that_dies_while_it_gives_fails_the_fetch_soon_and_the_next_one_may_have_it() {
    let slow = Like {
        pause: Duration::from_millis(20),
        ..with_base(32 << 20)
    };
    beside(
        vec![slow, Like::default(), Like::default()],
        async |machines, mut running| {
            let coming = running[1].base(false);
            time::sleep(Duration::from_millis(300)).await;
            let dying = running.remove(0);
            thread::spawn(move || drop(dying));
            let begun = Instant::now();
            assert_eq!(answer(&coming).await, (false, None));
            assert!(begun.elapsed() < Duration::from_secs(7));
            let (came, bytes, failed) = fetched(&machines, 2).await;
            assert_eq!((came, failed), (0, 1));
            assert!(bytes > 0);
            running[1].change(with_base(1000));
            let (came, base) = answer(&running[0].base(false)).await;
            assert!(came);
            assert_eq!(base, with_base(1000).base);
        },
    );
}

#[test]
fn of_machines_that_want_a_base_that_nobody_has_one_makes_it_and_the_others_wait_for_that_one() {
    let machines = vec![Like::default(); 3];
    beside(machines, async |_machines, mut running| {
        for machine in &running {
            assert!(!answer(&machine.base(false)).await.0);
        }
        // The first to ask is the one.
        assert!(!answer(&running[0].base(true)).await.0);
        let waits = running[1].base(true);
        time::sleep(Duration::from_millis(300)).await;
        assert!(waits.try_recv().is_err());
        running[0].order(Order::Change(with_base(70_000)));
        let (came, base) = answer(&waits).await;
        assert!(came);
        assert_eq!(base, with_base(70_000).base);
        // It is gone before the third has it.
        running[0].change(Like::default());
        let waits = running[2].base(true);
        time::sleep(Duration::from_millis(300)).await;
        assert!(waits.try_recv().is_err());
        let dying = running.remove(0);
        thread::spawn(move || drop(dying));
        assert!(!answer(&waits).await.0, "the third makes one");
    });
}

/// A call of a function that takes so long to load, and runs so long.
fn call(load_ms: u32, run_ms: u32) -> Call {
    let arguments = format!("{{\"ms\":{run_ms}}}");
    common::call("loads", 1, &load_ms.to_string(), &arguments)
}

/// Calls a function on its home until that has its snapshot, and then on the other machine, by keeping the home busy: which start that was,
/// how long it took, and what that machine has counted.
async fn overflow(machines: &Machines, load_ms: u32) -> (Start, Duration, (u64, u64, u64)) {
    let first = machines.execute(&call(load_ms, 0)).await.expect("it runs");
    assert_eq!(first.kind, Start::Cold);
    let has = |f: &Figures| f.snapshots == 1;
    let home = loop {
        if let Some(home) = machines.figures().await.iter().position(has) {
            break home + 1;
        }
        time::sleep(Duration::from_millis(10)).await;
    };
    let busy: Vec<_> = (0..2)
        .map(|_| {
            let machines = machines.clone();
            spawn(async move { machines.execute(&call(load_ms, 2500)).await })
        })
        .collect();
    time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    let outcome = machines.execute(&call(load_ms, 0)).await.expect("it runs");
    let time = begun.elapsed();
    assert_eq!(outcome.outcome.status, Status::Success);
    let counted = fetched(machines, 3 - home).await;
    for busy in busy {
        assert!(busy.await.expect("it ran").is_ok());
    }
    (outcome.kind, time, counted)
}

#[test]
fn a_function_that_overflows_starts_from_its_homes_snapshot() {
    beside(vec![with_base(10); 2], async |machines, _running| {
        let (start, time, counted) = overflow(&machines, 900).await;
        assert_eq!(start, Start::Warm);
        assert!(time < Duration::from_millis(800), "{time:?}");
        assert_eq!((counted.0, counted.2), (1, 0));
    });
}

#[test]
fn a_function_whose_snapshot_does_not_come_within_a_cold_starts_time_is_loaded_then() {
    let slow = Like {
        pause: Duration::from_secs(30),
        ..with_base(10)
    };
    beside(vec![slow; 2], async |machines, _running| {
        let (start, time, counted) = overflow(&machines, 300).await;
        assert_eq!(start, Start::Cold);
        assert!(time >= Duration::from_millis(550), "{time:?}");
        assert!(time < Duration::from_millis(1200), "{time:?}");
        assert_eq!((counted.0, counted.2), (0, 1));
    });
}

#[test]
fn a_function_of_another_base_is_loaded_at_once() {
    let other = Like {
        base: Some(vec![200; 10]),
        ..Like::default()
    };
    beside(vec![with_base(10), other], async |machines, _running| {
        let (start, time, counted) = overflow(&machines, 400).await;
        assert_eq!(start, Start::Cold);
        assert!(time < Duration::from_millis(750), "{time:?}");
        assert_eq!(counted, (0, 0, 0));
    });
}
