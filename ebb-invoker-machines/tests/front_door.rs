//! An invoker in front of machines that it has started: processes, whose instances are processes, and images, whose instances are
//! contexts.
#![allow(missing_docs)]

use std::{
    collections::BTreeSet,
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use ebb_invoker::{Machines, Service, ServiceOptions};
use ebb_invoker_hosted as _;
use ebb_invoker_machines::{Fleet, serve_machine};
use ebb_launch as _;
use test_support::{cargo, needs, scratch};

fn one_core() -> ebb_hosted::Config {
    ebb_hosted::Config {
        cores: 1,
        pin: false,
    }
}

#[test]
#[ignore = "the machines of the test"]
fn machine_process() {
    if env::var("EBB_OPTIONS").is_ok() {
        let served = ebb_hosted::run(&one_core(), async || serve_machine().await);
        served.expect("it joins");
    }
}

/// A program that is a machine, whatever its arguments are.
fn machine_program() -> PathBuf {
    let program = scratch("machine-of-the-front-door");
    let own = env::current_exe().expect("the path of this program");
    let text = format!(
        "#!/bin/sh\nexec '{}' --ignored --exact --nocapture machine_process\n",
        own.display()
    );
    fs::write(&program, text).expect("it can be written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is there");
    program
}

/// A request; status and body.
fn ask(port: u16, key: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\nauthorization: Basic {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    (status.expect("a status"), body.to_owned())
}

/// `guest:key` and `admin:key`.
const GUEST: &str = "Z3Vlc3Q6a2V5";
const ADMIN: &str = "YWRtaW46a2V5";

#[derive(Clone, Copy)]
struct Front(u16);

impl Front {
    fn deploy(self, name: &str, code: &str) {
        self.deploy_as(name, code, "[]");
    }

    fn deploy_as(self, name: &str, code: &str, annotations: &str) {
        let path = format!("/api/v1/namespaces/_/actions/{name}?overwrite=true");
        let exec = format!(r#"{{"kind":"nodejs:default","code":"{code}"}}"#);
        let body = format!(r#"{{"exec":{exec},"annotations":{annotations}}}"#);
        let (status, answer) = ask(self.0, GUEST, "PUT", &path, &body);
        assert_eq!(status, 200, "{answer}");
    }

    fn call(self, name: &str, body: &str) -> (u16, String) {
        let path = format!("/api/v1/namespaces/_/actions/{name}?blocking=true&result=true");
        ask(self.0, GUEST, "POST", &path, body)
    }

    /// The process of the machine that a call has run on.
    fn machine_of(self, name: &str, body: &str) -> i32 {
        let (status, answer) = self.call(name, body);
        assert_eq!(status, 200, "{answer}");
        let digits: String = answer.chars().filter(char::is_ascii_digit).collect();
        digits.parse().expect("a process")
    }

    /// The names of the machines that are up.
    fn up(self) -> Vec<u32> {
        let (_, text) = ask(self.0, GUEST, "GET", "/metrics", "");
        let up = text.lines().filter_map(|line| {
            let rest = line.strip_prefix("ebb_machine_up{machine=\"")?;
            rest.strip_suffix("\"} 1")?.parse().ok()
        });
        up.collect()
    }

    /// The sum of a metric over all that it is told of: machines, sorts.
    fn sum(self, name: &str) -> u64 {
        let (_, text) = ask(self.0, GUEST, "GET", "/metrics", "");
        let of_it = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            is_it.then(|| value.parse::<u64>().expect("a count"))
        });
        of_it.sum()
    }

    fn until(self, name: &str, at_least: u64) {
        let begun = Instant::now();
        while self.sum(name) < at_least {
            let text = ask(self.0, GUEST, "GET", "/metrics", "").1;
            assert!(begun.elapsed() < Duration::from_secs(180), "{name}: {text}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn until_up(self, wanted: &[u32]) {
        let begun = Instant::now();
        while self.up() != wanted {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "{:?}",
                self.up()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A front door in threads of its own.
struct Door {
    front: Front,
    ends: Arc<AtomicBool>,
    service: thread::JoinHandle<()>,
}

impl Door {
    fn open(image: String, count: usize) -> Self {
        let image: &'static str = image.leak();
        let (told, port) = mpsc::channel();
        let ends = Arc::new(AtomicBool::new(false));
        let to_end = Arc::clone(&ends);
        let serve = async move || {
            let options = ServiceOptions {
                port: 0,
                ephemeral: true,
                auth: Some("guest:key"),
                admin: Some("admin:key"),
                quiet: true,
                machines: Some(Machines {
                    count,
                    image,
                    cores: "1",
                    memory: "1G",
                }),
                ..ServiceOptions::default()
            };
            let fleet = Fleet::start(&options).await.expect("machines");
            let service = Service::start(options).await.expect("a service");
            fleet.warm_up();
            service.announce();
            told.send(service.local_addr().port())
                .expect("the test waits");
            while !to_end.load(Ordering::Relaxed) {
                ebb::time::sleep(Duration::from_millis(20)).await;
            }
            service.stop().await;
            fleet.stop().await;
        };
        let service = thread::spawn(|| ebb_hosted::run(&one_core(), serve));
        Self {
            front: Front(port.recv().expect("it starts")),
            ends,
            service,
        }
    }

    fn close(self) {
        self.ends.store(true, Ordering::Relaxed);
        self.service.join().expect("it ends");
    }
}

/// The platform in front of two images of itself.
fn before_two_images() -> (Door, Front) {
    let door = Door::open(cargo::example("invoker").display().to_string(), 2);
    let front = door.front;
    (door, front)
}

#[test]
fn images_are_machines_that_start_functions_from_snapshots() {
    needs!("node", "qemu-system-x86_64");
    let (door, front) = before_two_images();
    assert_eq!(front.up(), [1, 2]);
    for n in 0..4 {
        front.deploy(
            &format!("hello{n}"),
            "exports.main = ({name}) => ({hello: name, host: process.env.__OW_API_HOST})",
        );
    }
    let host = format!(r#""host":"http://10.0.2.2:{}""#, front.0);
    for n in 0..8 {
        let (status, answer) = front.call(&format!("hello{}", n % 4), r#"{"name":"you"}"#);
        assert_eq!(status, 200, "{answer}");
        assert!(answer.contains(r#""hello":"you""#), "{answer}");
        assert!(answer.contains(&host), "{answer}");
    }
    let begun = Instant::now();
    let snapshots = || {
        let (_, text) = ask(front.0, GUEST, "GET", "/metrics", "");
        let value = text.lines().find_map(|l| l.strip_prefix("ebb_snapshots "));
        value.and_then(|n| n.parse::<u32>().ok()).expect("a metric")
    };
    while snapshots() < 4 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", snapshots());
        thread::sleep(Duration::from_millis(100));
    }
    door.close();
}

#[test]
fn the_second_image_gets_its_bases_and_a_function_from_the_first_and_starts_it_warm() {
    needs!("node", "python3", "qemu-system-x86_64");
    let (door, front) = before_two_images();
    let fetched = "ebb_machine_snapshots_fetched_total";
    // Node's and Python's.
    front.until(fetched, 2);
    let bytes = front.sum("ebb_machine_snapshot_bytes_fetched_total");
    assert!(bytes > 10 << 20, "{bytes}");
    // It takes a while to load, so that there is time for a snapshot to come.
    front.deploy(
        "large",
        "let sum = 0; const begun = Date.now(); while (Date.now() - begun < 2000) sum += 1; \
         exports.main = ({ms}) => new Promise((done) => setTimeout(() => done({sum}), ms))",
    );
    let (status, answer) = front.call("large", r#"{"ms":1}"#);
    assert_eq!(status, 200, "{answer}");
    front.until("ebb_machine_snapshots", 1);
    let (bases, inits) = (front.sum(fetched), front.sum("ebb_init_seconds_count"));
    // Its machine has one core: three calls at once are too many for it.
    let at_once: Vec<_> = (0..3)
        .map(|_| thread::spawn(move || front.call("large", r#"{"ms":3000}"#)))
        .collect();
    let sums = at_once
        .into_iter()
        .map(|call| call.join().expect("it ends"));
    let sums: BTreeSet<(u16, String)> = sums.collect();
    // What was computed when it was loaded is the same in all copies, also on the other machine.
    assert_eq!(sums, BTreeSet::from([(200, answer)]));
    assert_eq!(front.sum(fetched), bases + 1);
    assert_eq!(front.sum("ebb_machine_snapshots"), 2);
    assert_eq!(front.sum("ebb_machine_snapshot_fetches_failed_total"), 0);
    assert_eq!(front.sum("ebb_init_seconds_count"), inits);
    door.close();
}

/// How long a function's first call takes on the machine that is not its home, without what it does: the middle of `count` functions.
fn first_elsewhere(front: Front, load_ms: u32, annotations: &str, count: usize) -> Duration {
    let mut times: Vec<Duration> = (0..count)
        .map(|n| {
            let name = format!("f{load_ms}x{}x{n}", annotations.len());
            let code = format!(
                "const end = Date.now() + {load_ms}; let n = 0; while (Date.now() < end) n++; \
                 exports.main = ({{ms}}) => new Promise((done) => setTimeout(() => done({{n}}), ms))"
            );
            front.deploy_as(&name, &code, annotations);
            assert_eq!(front.call(&name, r#"{"ms":1}"#).0, 200);
            // Its snapshot is taken meanwhile.
            thread::sleep(Duration::from_millis(400));
            let held: Vec<_> = (0..2)
                .map(|_| {
                    let name = name.clone();
                    let call = thread::spawn(move || front.call(&name, r#"{"ms":1500}"#));
                    thread::sleep(Duration::from_millis(100));
                    call
                })
                .collect();
            let begun = Instant::now();
            assert_eq!(front.call(&name, r#"{"ms":1}"#).0, 200);
            let time = begun.elapsed();
            for call in held {
                assert_eq!(call.join().expect("it ends").0, 200);
            }
            time
        })
        .collect();
    times.sort_unstable();
    times[count / 2]
}

#[test]
#[ignore = "takes figures: --release -- --ignored --nocapture figures"]
fn figures_of_what_a_neighbour_saves() {
    needs!("node", "python3", "qemu-system-x86_64");
    let (door, front) = before_two_images();
    front.until("ebb_machine_snapshots_fetched_total", 2);
    for load_ms in [0, 20, 100, 500] {
        let failed = front.sum("ebb_machine_snapshot_fetches_failed_total");
        let with = first_elsewhere(front, load_ms, "[]", 9);
        let failed = front.sum("ebb_machine_snapshot_fetches_failed_total") - failed;
        let alone = r#"[{"key":"snapshot","value":false}]"#;
        let without = first_elsewhere(front, load_ms, alone, 9);
        println!(
            "figures: {load_ms} ms to load: first call elsewhere {with:?}, loaded anew {without:?}; {failed} of 9 came late"
        );
    }
    println!("figures: the replacements say how long their bases take");
    ask(front.0, ADMIN, "POST", "/admin/machines/restart", "");
    front.until_up(&[3, 4]);
    door.close();
}

#[test]
fn a_front_door_with_two_machines_spreads_calls_outlives_a_killed_one_and_restarts_without_a_failed_call()
 {
    needs!("node");
    let image = machine_program().display().to_string();
    let door = Door::open(image, 2);
    let front = door.front;
    front.deploy("where", "exports.main = () => ({machine: process.ppid})");
    front.deploy(
        "slow",
        "exports.main = ({ms}) => new Promise((r) => setTimeout(() => r({machine: process.ppid}), ms))",
    );

    // A function stays where it is hot, and overflows when its machine is busy.
    let wheres: BTreeSet<i32> = (0..4).map(|_| front.machine_of("where", "{}")).collect();
    assert_eq!(wheres.len(), 1);
    let home = front.machine_of("slow", r#"{"ms":1}"#);
    let at_once: Vec<_> = (0..4)
        .map(|_| thread::spawn(move || front.machine_of("slow", r#"{"ms":1500}"#)))
        .collect();
    let spread: BTreeSet<i32> = at_once
        .into_iter()
        .map(|t| t.join().expect("a call"))
        .collect();
    assert_eq!(spread.len(), 2);
    assert_eq!(front.up(), [1, 2]);
    let (_, live) = ask(front.0, GUEST, "GET", "/live", "");
    assert!(
        live.contains(r#""machines":[{"name":"1","up":true"#),
        "{live}"
    );

    // The paths of an API are the front door's, and what they call runs on the machines.
    let on_the_web = r#"[{"key":"web-export","value":true}]"#;
    let code = "exports.main = ({__ow_path}) => ({machine: process.ppid, path: __ow_path})";
    front.deploy_as("served", code, on_the_web);
    let url = "http://test/api/v1/web/_/default/served.http";
    let action = format!(
        r#"{{"name":"served","namespace":"_","backendMethod":"get","backendUrl":"{url}","authkey":"x"}}"#
    );
    let body = format!(
        r#"{{"apidoc":{{"namespace":"_","gatewayBasePath":"/b","gatewayPath":"/p","gatewayMethod":"get","action":{action}}}}}"#
    );
    let create = "/api/v1/web/whisk.system/apimgmt/createApi.http";
    let (status, answer) = ask(front.0, GUEST, "POST", create, &body);
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = ask(front.0, ADMIN, "GET", "/api/guest/b/p/q", "");
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains(r#""path":"/q""#), "{answer}");
    let machines = spread
        .iter()
        .map(|machine| format!(r#""machine":{machine},"#));
    assert!(
        machines.into_iter().any(|on| answer.contains(&on)),
        "{answer}"
    );

    // A machine that is killed fails its call, which may have run; the others go elsewhere, and it is replaced.
    let lost = thread::spawn(move || front.call("slow", r#"{"ms":20000}"#));
    thread::sleep(Duration::from_millis(700));
    // SAFETY: takes two numbers; the process is a machine of this test.
    assert_eq!(unsafe { libc::kill(home, libc::SIGKILL) }, 0);
    // One that is sent before its end is known would be lost as well.
    thread::sleep(Duration::from_millis(200));
    for _ in 0..10 {
        let (status, answer) = front.call("where", "{}");
        assert_eq!(status, 200, "{answer}");
    }
    let (status, answer) = lost.join().expect("it is answered");
    assert_eq!(status, 500, "{answer}");
    assert!(answer.contains("may have run"), "{answer}");
    let begun = Instant::now();
    while front.up().len() < 2 {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{:?}",
            front.up()
        );
        thread::sleep(Duration::from_millis(50));
    }
    assert!(front.up().contains(&3), "{:?}", front.up());

    // Each is replaced by another while calls go on.
    let (status, _) = ask(front.0, GUEST, "POST", "/admin/machines/restart", "");
    assert_eq!(status, 401);
    let (status, answer) = ask(front.0, ADMIN, "POST", "/admin/machines/restart", "");
    assert_eq!(status, 202, "{answer}");
    assert_eq!(answer, r#"{"restarting":2}"#);
    let (status, answer) = ask(front.0, ADMIN, "POST", "/admin/machines/restart", "");
    assert_eq!(status, 409, "{answer}");
    let calls = Arc::new(AtomicU32::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (calls, over) = (Arc::clone(&calls), Arc::clone(&over));
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let (status, answer) = front.call("slow", r#"{"ms":30}"#);
                    assert_eq!(status, 200, "{answer}");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    front.until_up(&[4, 5]);
    over.store(true, Ordering::Relaxed);
    callers
        .into_iter()
        .for_each(|caller| caller.join().expect("no call failed"));
    assert!(calls.load(Ordering::Relaxed) > 3, "{calls:?}");

    let last = front.machine_of("where", "{}");
    door.close();
    assert!(!PathBuf::from(format!("/proc/{last}")).exists());
}
