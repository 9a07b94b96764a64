//! The platform's state through power cuts, on a disk that drops, reorders and tears what was not flushed: every answered change is there,
//! nothing half, nothing that was not asked for. `EBB_KEEP="FIRST COUNT"` takes other seeds.

use std::{cell::RefCell, collections::BTreeMap, env, future::Future, rc::Rc, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use ebb_block::sim::{Random, SimDisk};
use ebb_invoker::keep::{Keeper, Restored, bring_back};
use ebb_openwhisk::activation::{Activation, Outcome};
use ebb_openwhisk::entity::{Entity, kept};
use ebb_openwhisk::http::Request;
use ebb_openwhisk::json::Json;
use ebb_openwhisk::limits::NamespaceLimits;
use ebb_openwhisk::parameters::Parameters;
use ebb_openwhisk::runtimes::Runtimes;
use ebb_openwhisk::{Config, Controller, Step, Subject};
use futures_executor::LocalPool;
use futures_util::task::LocalSpawnExt;

const KEY: &str = "guest:key";
const ADMIN: &str = "admin:key";

fn controller() -> Controller {
    Controller::new(Config {
        subjects: vec![Subject {
            namespace: "guest".into(),
            key: KEY.into(),
        }],
        runtimes: Runtimes::default(),
        limits: NamespaceLimits::default(),
        entity_bytes: 64 << 20,
        activation_bytes: 20_000,
        seed: [7; 32],
        admin: Some(ADMIN.into()),
        entropy: |bytes| bytes.fill(7),
    })
}

/// A request to the API; the status of its answer.
fn ask(controller: &mut Controller, method: &str, path: &str, body: &str, now_ms: u64) -> u16 {
    let (key, path) = match path.starts_with("/admin/") {
        true => (ADMIN, path.to_owned()),
        false => (KEY, format!("/api/v1/namespaces/_{path}")),
    };
    let key = format!("Basic {}", STANDARD.encode(key));
    let step = controller.handle(
        &Request {
            method,
            path: &path,
            query: "overwrite=true",
            headers: &[
                ("authorization", &key),
                ("content-type", "application/json"),
            ],
            body: body.as_bytes(),
            code: None,
        },
        now_ms,
    );
    match step {
        Step::Respond(response) => response.status,
        Step::Document(document) => document.respond().status,
        Step::Invoke(..) => panic!("nothing is called here"),
    }
}

/// All that a platform would lose.
type State = BTreeMap<String, (String, String)>;

fn state(controller: &Controller) -> State {
    let own = controller
        .store()
        .iter()
        .filter(|e| e.common().name.namespace == "guest");
    let namespaces = controller.namespaces().iter().map(|namespace| {
        let kept = namespace.to_kept().as_str().to_owned();
        (
            format!("namespace {}", namespace.name()),
            (kept, String::new()),
        )
    });
    own.map(|entity| {
        let kept = kept::write(entity);
        let rules = match entity {
            Entity::Trigger(trigger) => format!("{:?}", trigger.rules),
            _ => String::new(),
        };
        let code = kept.code.map_or(rules, |code| code.as_str().to_owned());
        (
            format!("{}", entity.common().name),
            (kept.document.as_str().to_owned(), code),
        )
    })
    .chain(namespaces)
    .collect()
}

/// A change that a client might ask for: method, path, body.
fn change(random: &mut Random, number: u64) -> (&'static str, String, String) {
    let pick = |random: &mut Random| random.below(5);
    let (name, other) = (pick(random), pick(random));
    let delete = random.one_in(4);
    let annotations = format!(r#""annotations":[{{"key":"n","value":{number}}}]"#);
    match random.below(7) {
        0 | 1 => {
            let path = match random.one_in(3) {
                true => format!("/actions/p{other}/a{name}"),
                false => format!("/actions/a{name}"),
            };
            // Equal code now and then, and long documents.
            let code = format!("function main() {{ return {} }}", number % 7);
            let long = if random.one_in(6) {
                "x".repeat(60_000)
            } else {
                String::new()
            };
            let body = format!(
                r#"{{"exec":{{"kind":"nodejs:default","code":"{code}"}},"limits":{{"timeout":{}}},"parameters":[{{"key":"long","value":"{long}"}},{{"key":"e","value":1,"init":true}}],{annotations}}}"#,
                1000 + number
            );
            (if delete { "DELETE" } else { "PUT" }, path, body)
        }
        2 => {
            let binding = match random.one_in(3) {
                true => format!(r#","binding":{{"namespace":"guest","name":"p{other}"}}"#),
                false => String::new(),
            };
            (
                if delete { "DELETE" } else { "PUT" },
                format!("/packages/p{name}"),
                format!("{{{annotations}{binding}}}"),
            )
        }
        3 => (
            if delete { "DELETE" } else { "PUT" },
            format!("/triggers/t{name}"),
            format!("{{{annotations}}}"),
        ),
        4 => {
            let body = format!(
                r#"{{"trigger":"/_/t{other}","action":"/_/a{}"}}"#,
                pick(random)
            );
            (
                if delete { "DELETE" } else { "PUT" },
                format!("/rules/r{name}"),
                body,
            )
        }
        5 => {
            let path = format!("/admin/namespaces/n{name}");
            match random.below(4) {
                0 => ("DELETE", path, String::new()),
                1 => (
                    "POST",
                    format!("{path}/limits"),
                    format!(r#"{{"memory":{number}}}"#),
                ),
                2 => (
                    "POST",
                    format!("{path}/key"),
                    format!(r#"{{"key":"n{name}:{number}"}}"#),
                ),
                _ => ("PUT", path, format!(r#"{{"key":"n{name}:{number}"}}"#)),
            }
        }
        _ => {
            let status = if random.one_in(2) {
                "active"
            } else {
                "inactive"
            };
            (
                "POST",
                format!("/rules/r{name}"),
                format!(r#"{{"status":"{status}"}}"#),
            )
        }
    }
}

fn record(number: u64) -> Arc<Activation> {
    Arc::new(Activation {
        id: format!("{number:032x}"),
        name: "a".into(),
        namespace: "guest".into(),
        subject: "guest".into(),
        version: "0.0.1".into(),
        cause: number.is_multiple_of(3).then(|| format!("{number:032x}")),
        start_ms: 1000 + number,
        end_ms: Some(2000 + number),
        duration_ms: Some(1000),
        logs: Arc::new(vec![format!("a line {number}"), "\u{0}ä\"".into()]),
        annotations: Parameters::default(),
        outcome: Outcome::success(Json::parse(&format!("{{\"n\":{number}}}")).expect("an object")),
    })
}

/// Tasks, and a disk that does a request whenever they all wait.
struct World {
    pool: LocalPool,
    disk: SimDisk,
}

impl World {
    fn new(disk: &SimDisk) -> Self {
        Self {
            pool: LocalPool::new(),
            disk: disk.clone(),
        }
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.pool.spawner().spawn_local(future).expect("a task");
    }

    fn run(&mut self, steps: u64) {
        self.pool.run_until_stalled();
        for _ in 0..steps {
            if !self.disk.step() {
                return;
            }
            self.pool.run_until_stalled();
        }
    }

    fn result<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let place = result.clone();
        self.spawn(async move { *place.borrow_mut() = Some(future.await) });
        self.run(u64::MAX);
        result.take().expect("it ends")
    }

    /// Opens what the disk has.
    fn open(&mut self) -> (Rc<Keeper>, Rc<RefCell<Controller>>, Restored) {
        let device = Arc::new(self.disk.clone());
        let (keeper, writer, damage) = self
            .result(Keeper::open(device, [3; 16]))
            .expect("it opens");
        assert_eq!(damage, [""; 0]);
        self.spawn(writer.run());
        let keeper = Rc::new(keeper);
        let asked = keeper.clone();
        let mut restored = self
            .result(async move { asked.restore(&Runtimes::default()).await })
            .expect("it is read");
        let mut controller = controller();
        let went = bring_back(&mut controller, &mut restored);
        drop(keeper.keep_records(went));
        (keeper, Rc::new(RefCell::new(controller)), restored)
    }
}

#[derive(Default)]
struct History {
    /// The state after each change, the first before any; and up to which the client has been told.
    states: Vec<State>,
    told: usize,
    /// Records that were waited for.
    records: Vec<String>,
    revisions: Vec<u64>,
}

/// A client that asks for changes, each after the answer to the one before.
async fn client(
    keeper: Rc<Keeper>,
    controller: Rc<RefCell<Controller>>,
    history: Rc<RefCell<History>>,
    mut random: Random,
    life: u64,
) {
    for number in 0..40 {
        let number = life * 1_000_000 + random.below(1000) * 1000 + number;
        let (method, path, body) = change(&mut random, number);
        ask(&mut controller.borrow_mut(), method, &path, &body, number);
        let changed = keeper.changed(&mut controller.borrow_mut());
        let told = {
            let mut history = history.borrow_mut();
            history.states.push(state(&controller.borrow()));
            history.revisions.extend(controller.borrow().revisions());
            history.states.len() - 1
        };
        if let Some(changed) = changed {
            assert!(keeper.commit(changed).await.is_ok(), "the disk has room");
            // What changed nothing says nothing of the changes before it.
            let mut history = history.borrow_mut();
            history.told = history.told.max(told);
        }
        if random.one_in(2) {
            controller.borrow_mut().keep(record(number));
            let changes = controller.borrow_mut().activations_mut().take_changes();
            keeper
                .keep_records(changes)
                .await
                .expect("the disk has room");
            history.borrow_mut().records.push(format!("{number:032x}"));
        }
    }
}

fn live(disk: &SimDisk, seed: u64) -> SimDisk {
    let mut random = Random::new(seed);
    let mut world = World::new(disk);
    let (keeper, controller, restored) = world.open();
    assert_eq!(restored.lost, [""; 0], "seed {seed}");
    let history = Rc::new(RefCell::new(History {
        states: vec![state(&controller.borrow())],
        ..History::default()
    }));
    let before = controller.borrow().revisions();
    for _ in 0..1 + random.below(4) {
        let random = Random::new(random.number());
        world.spawn(client(
            keeper.clone(),
            controller.clone(),
            history.clone(),
            random,
            seed,
        ));
    }
    world.run(random.below(300));
    let after = disk.power_cut(random.number());
    let history = history.take();

    let mut world = World::new(&after);
    let (_, found, restored) = world.open();
    assert_eq!(restored.lost, [""; 0], "seed {seed}");
    let found_state = state(&found.borrow());
    let possible = &history.states[history.told..];
    assert!(
        possible.contains(&found_state),
        "seed {seed}: told of {} of {} changes, and none of what may be there is.\nfound: {found_state:#?}\ntold:  {:#?}",
        history.told,
        history.states.len() - 1,
        possible[0],
    );
    // The last records that were waited for, as far as there is room for them.
    for id in history.records.iter().rev().take(5) {
        assert!(
            found.borrow().activations().get("guest", id).is_ok(),
            "seed {seed}: {id}"
        );
    }
    // No revision is given twice, or a copy of one action would serve another.
    let next = found.borrow_mut().store_mut().next_revision();
    let all = history.revisions.iter().chain(&before);
    assert!(all.clone().all(|old| *old < next), "seed {seed}: {next}");
    after
}

#[test]
fn every_answered_change_survives_power_cuts() {
    let asked = env::var("EBB_KEEP").unwrap_or_else(|_| "1 60".into());
    let mut numbers = asked
        .split(' ')
        .map(|n| n.parse::<u64>().expect("two numbers"));
    let (first, count) = (numbers.next().expect("a seed"), numbers.next().unwrap_or(1));
    for seed in first..first + count {
        let mut disk = SimDisk::new(16 << 20, seed);
        for life in 0..4 {
            disk = live(&disk, seed * 16 + life);
        }
    }
}

#[test]
fn a_full_disk_refuses_changes_and_takes_deletes() {
    let disk = SimDisk::new(2 << 20, 1);
    let mut world = World::new(&disk);
    let (keeper, controller, _) = world.open();
    let mut put = |name: String, method: &'static str| {
        let (keeper, controller) = (keeper.clone(), controller.clone());
        world.result(async move {
            // Code that compresses to nothing would be equal, and kept once.
            let code = format!("{name} {}", "x".repeat(30_000));
            let body = format!(r#"{{"exec":{{"kind":"nodejs:default","code":"{code}"}}}}"#);
            ask(
                &mut controller.borrow_mut(),
                method,
                &format!("/actions/{name}"),
                &body,
                1,
            );
            let changed = keeper.changed(&mut controller.borrow_mut())?;
            Some(keeper.commit(changed).await)
        })
    };
    let mut names = Vec::new();
    let full = (0..100).find_map(|n| match put(format!("a{n}"), "PUT") {
        Some(Ok(())) => {
            names.push(format!("a{n}"));
            None
        }
        Some(Err((changed, error))) => Some((changed, error)),
        None => panic!("something changed"),
    });
    let (changed, error) = full.expect("2 MiB are full by then");
    assert_eq!(error, ebb_store::Error::Full);
    assert!(names.len() > 10);
    let asked = keeper.clone();
    let name = changed.entities[0].0.clone();
    let kept = world.result(async move { asked.kept(&name, &Runtimes::default()).await });
    assert!(kept.is_none(), "it was never kept");
    let mut put = |name: &str, method: &'static str| {
        let (keeper, controller) = (keeper.clone(), controller.clone());
        let name = name.to_owned();
        world.result(async move {
            let body = r#"{"exec":{"kind":"nodejs:default","code":"x"}}"#;
            ask(
                &mut controller.borrow_mut(),
                method,
                &format!("/actions/{name}"),
                body,
                1,
            );
            let changed = keeper.changed(&mut controller.borrow_mut());
            keeper
                .commit(changed.expect("a change"))
                .await
                .map_err(|(_, error)| error)
        })
    };
    for name in &names[..5] {
        assert_eq!(put(name, "DELETE"), Ok(()));
    }
    assert_eq!(put("again", "PUT"), Ok(()));
}

#[test]
fn a_namespace_comes_back_with_its_key_and_its_limits() {
    let disk = SimDisk::new(2 << 20, 1);
    let mut world = World::new(&disk);
    let (keeper, controller, _) = world.open();
    let body = r#"{"key":"u:secret","limits":{"weight":7}}"#;
    assert_eq!(
        ask(
            &mut controller.borrow_mut(),
            "PUT",
            "/admin/namespaces/n",
            body,
            1
        ),
        200
    );
    let asked = keeper.clone();
    let changed = keeper
        .changed(&mut controller.borrow_mut())
        .expect("a change");
    assert!(world.result(async move { asked.commit(changed).await.is_ok() }));
    let mut world = World::new(&disk.power_cut(1));
    let (keeper, controller, _) = world.open();
    let mut controller = controller.borrow_mut();
    assert!(controller.namespaces_mut().opens("n", "u:secret"));
    assert!(!controller.namespaces_mut().opens("n", "u:secreu"));
    assert_eq!(controller.namespaces().limits("n").weight, 7);
    assert!(
        keeper.changed(&mut controller).is_none(),
        "nothing is kept anew"
    );
}
