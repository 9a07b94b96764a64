//! A front end and machines, each a machine of threads in this process, over real sockets. Instances are made up.
#![allow(missing_docs)]

mod common;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use common::{free_address, node_at, one_core};
use ebb::{EbbRef, provides, spawn, time};
use ebb_distributed::{NodeId, RemoteRef, join};
use ebb_invoker::Container;
use ebb_invoker::back_end::{BackEnd, Unanswered};
use ebb_invoker::instance::{
    Boxed, Instance, InstanceLimits, InstanceMaker, InstanceRequest, Lost, NewInstance, NotMade,
    SharedSnapshot,
};
use ebb_invoker_machines::{Machine, Machines};
use ebb_openwhisk::activation::Status;
use ebb_openwhisk::call::{Call, Start};
use ebb_openwhisk::json::Json;
use ebb_openwhisk::logs::{Collector, Stream};
use ebb_openwhisk::runtimes::{Launch, Loader};

/// An instance whose function answers with its argument after so many milliseconds as its code says.
#[derive(Default)]
struct Echo {
    pause: Duration,
    runs: u32,
}

static INITS: AtomicUsize = AtomicUsize::new(0);

impl Instance for Echo {
    fn ask<'a>(
        &'a mut self,
        request: InstanceRequest,
        payload: &'a str,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        Box::pin(async move {
            let object = Json::parse(payload).expect("JSON").to_object();
            let value = object.and_then(|o| o.get("value").cloned());
            match request {
                InstanceRequest::Init => {
                    INITS.fetch_add(1, Ordering::Relaxed);
                    let code = value
                        .and_then(|v| v.to_object()?.get("code")?.to_text())
                        .expect("code");
                    self.pause = Duration::from_millis(code.parse().expect("milliseconds"));
                    Ok((200, b"{}".to_vec()))
                }
                _ => {
                    self.runs += 1;
                    time::sleep(self.pause).await;
                    let value = value.expect("an argument");
                    Ok((200, Vec::from(value.as_str())))
                }
            }
        })
    }

    fn drain_logs(&mut self, into: &mut Collector) {
        into.push(Stream::Out, 0, format!("run {}\n", self.runs).as_bytes());
    }

    fn is_alive(&self) -> bool {
        true
    }

    fn memory_bytes(&mut self) -> u64 {
        1 << 20
    }
}

struct Echoes;

#[provides(InstanceMaker, instance = &Echoes)]
impl InstanceMaker for Echoes {
    fn make(&self, _: &Launch, _: InstanceLimits) -> Boxed<'static, Result<NewInstance, NotMade>> {
        Box::pin(async {
            Ok(NewInstance {
                instance: Box::new(Echo::default()),
                made_ahead: false,
            })
        })
    }

    fn can_launch(&self, launch: &Launch) -> bool {
        launch.loader != Loader::Python
    }

    fn description(&self) -> String {
        "echoes".into()
    }

    fn read_folder(&self, _: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        Ok(Vec::new())
    }

    fn serve_container(&self, _: Container) -> Boxed<'static, Result<(), String>> {
        Box::pin(async { Err("there are none".into()) })
    }
}

/// A machine in threads of its own, until it is told to end.
struct Running {
    address: SocketAddr,
    end: Arc<Mutex<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(node: NodeId) -> Self {
        let address = free_address();
        let end = Arc::new(Mutex::new(false));
        let ends = Arc::clone(&end);
        let thread = thread::spawn(move || {
            ebb_hosted::run(&one_core(), async move || {
                EbbRef::<Machine>::new().serve();
                let _server = join(node_at(node, address)).await.expect("a free port");
                while !*ends.lock().unwrap() {
                    time::sleep(Duration::from_millis(5)).await;
                }
            });
        });
        Self {
            address,
            end,
            thread: Some(thread),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.end.lock().unwrap() = true;
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

/// A call of the function `name` whose code says how long it takes.
fn call(name: &str, revision: u64, pause_ms: u32, arguments: &str) -> Call {
    common::call(name, revision, &pause_ms.to_string(), arguments)
}

/// Runs a front end beside `count` machines.
fn with_machines(count: u64, test: impl AsyncFnOnce(Machines, Vec<Running>) + Send + 'static) {
    let running: Vec<Running> = (1..=count).map(|n| Running::start(NodeId(n))).collect();
    common::before(running, |machine| machine.address, test);
}

#[test]
fn a_call_comes_back_with_result_logs_and_times_and_the_second_one_is_hot() {
    with_machines(1, async |machines, _running| {
        let call = call("echo", 17, 3, r#"{"text":"grüße"}"#);
        let first = machines.execute(&call).await.expect("an outcome");
        assert_eq!(first.outcome.status, Status::Success);
        let result = first.outcome.result.as_ref().map(Json::as_str);
        assert_eq!(result, Some(r#"{"text":"grüße"}"#));
        assert_eq!(first.kind, Start::Cold);
        assert!(
            first.spent.run >= Duration::from_millis(3),
            "{:?}",
            first.spent
        );
        assert!(first.end_ms >= first.start_ms && first.init_ms.is_some());
        assert_eq!(first.logs.len(), 1);
        assert!(first.logs[0].ends_with("stdout: run 1"), "{:?}", first.logs);
        let second = machines.execute(&call).await.expect("an outcome");
        assert_eq!(second.kind, Start::Hot);
        assert!(
            second.logs[0].ends_with("stdout: run 2"),
            "{:?}",
            second.logs
        );
    });
}

#[test]
fn a_large_argument_and_its_answer_arrive_as_they_were() {
    with_machines(1, async |machines, _running| {
        let text = format!(r#"{{"bytes":"{}"}}"#, "x".repeat(900_000));
        let outcome = machines.execute(&call("large", 1, 0, &text)).await;
        let result = outcome.expect("an outcome").outcome.result;
        assert!(result.is_some_and(|json| json.as_str() == text));
    });
}

#[test]
fn calls_of_a_busy_machine_overflow_to_the_others() {
    with_machines(2, async |machines, _running| {
        let call = call("slow", 1, 300, "{}");
        let begun = Instant::now();
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let (machines, call) = (machines.clone(), call.clone());
                spawn(async move { machines.execute(&call).await })
            })
            .collect();
        time::sleep(Duration::from_millis(150)).await;
        let running: Vec<usize> = machines
            .figures()
            .await
            .iter()
            .map(|m| m.running.iter().sum::<usize>() + m.waiting)
            .collect();
        assert_eq!(running.iter().sum::<usize>(), 4, "{running:?}");
        assert!(running.iter().all(|&n| n >= 1), "{running:?}");
        for call in calls {
            assert!(call.await.expect("it ran").is_ok());
        }
        assert!(
            begun.elapsed() < Duration::from_millis(1100),
            "{:?}",
            begun.elapsed()
        );
    });
}

#[test]
fn a_machine_that_dies_fails_its_call_as_one_that_may_have_run_and_the_next_goes_elsewhere() {
    with_machines(2, async |machines, mut running| {
        let call = call("lasting", 1, 1500, "{}");
        let lost = {
            let (machines, call) = (machines.clone(), call.clone());
            spawn(async move { machines.execute(&call).await })
        };
        time::sleep(Duration::from_millis(200)).await;
        let figures = machines.figures().await;
        let home = figures
            .iter()
            .position(|m| m.running.iter().sum::<usize>() == 1);
        let home = home.expect("it runs");
        let machine = running.remove(home);
        thread::spawn(move || drop(machine));
        let lost = lost.await.expect("it ends").expect_err("its machine died");
        assert!(lost.may_have_run, "{lost:?}");
        assert!(
            lost.why.contains(&format!("Machine {}", home + 1)),
            "{lost:?}"
        );
        let begun = Instant::now();
        let quick = self::call("quick", 2, 0, "{}");
        for _ in 0..20 {
            assert!(machines.execute(&quick).await.is_ok());
        }
        assert!(begun.elapsed() < Duration::from_secs(2));
        let figures = machines.figures().await;
        assert_eq!(figures.iter().filter(|m| m.is_up).count(), 1, "{figures:?}");
    });
}

#[test]
fn a_machine_that_is_let_go_ends_its_calls_and_gets_no_further_ones() {
    with_machines(2, async |machines, _running| {
        let call = call("drained", 1, 100, "{}");
        let running = {
            let (machines, call) = (machines.clone(), call.clone());
            spawn(async move { machines.execute(&call).await })
        };
        time::sleep(Duration::from_millis(50)).await;
        let figures = machines.figures().await;
        let home = figures
            .iter()
            .position(|m| m.running.iter().sum::<usize>() == 1);
        let home = NodeId(home.expect("it runs") as u64 + 1);
        machines.let_go(home).await;
        assert!(running.await.expect("it ends").is_ok());
        let before = machines.figures().await;
        for _ in 0..3 {
            assert!(machines.execute(&call).await.is_ok());
        }
        let after = machines.figures().await;
        let calls = |figures: &[ebb_invoker::back_end::Figures]| {
            let of_home = &figures[home.0 as usize - 1];
            of_home.cores.iter().map(|m| m.wait.count()).sum::<u64>()
        };
        assert_eq!(calls(&before), 1);
        assert_eq!(calls(&after), 1);
    });
}

#[test]
fn instances_of_functions_that_have_changed_are_thrown_away() {
    with_machines(1, async |machines, _running| {
        for revision in [1, 2] {
            let call = call("changing", revision, 0, "{}");
            assert!(machines.execute(&call).await.is_ok());
        }
        assert_eq!(machines.figures().await[0].instances, 2);
        machines.keep_only(&|revision| revision == 2);
        let begun = Instant::now();
        while machines.figures().await[0].instances > 1 {
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "it is still there"
            );
            time::sleep(Duration::from_millis(5)).await;
        }
        // It is told again.
        let call = call("changing", 1, 0, "{}");
        let again = machines.execute(&call).await.expect("an outcome");
        assert_eq!(again.kind, Start::Cold);
    });
}

#[test]
fn what_a_machine_cannot_launch_is_known_here() {
    with_machines(1, async |machines, _running| {
        assert!(machines.can_launch(&Launch::usual(Loader::Node)).await);
        assert!(!machines.can_launch(&Launch::usual(Loader::Python)).await);
        assert_eq!(machines.description(), "on 1 machine: echoes");
        assert_eq!(machines.budget_bytes(), 3 << 30);
    });
}

#[test]
fn without_a_machine_a_call_has_not_run() {
    with_machines(0, async |machines, _running| {
        let begun = Instant::now();
        let failure = machines.execute(&call("none", 1, 0, "{}")).await;
        let Err(Unanswered { may_have_run, why }) = failure else {
            panic!("{failure:?}");
        };
        assert!(!may_have_run);
        assert!(why.contains("there is no machine"), "{why}");
        assert!(begun.elapsed() >= Duration::from_secs(1));
    });
}
