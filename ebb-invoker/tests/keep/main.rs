//! The platform's state through power cuts, on a disk that drops, reorders and tears what was not flushed: every answered change is there,
//! nothing half, nothing that was not asked for. `EBB_KEEP="FIRST COUNT"` takes other seeds.

mod clock;
mod forms;
mod full;
mod load;
mod power;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use ebb_block::sim::{Random, SimDisk};
use ebb_invoker::keep::{Holder, Keeper, Loaded, Restored, bring_back};
use ebb_openwhisk::activation::{Activation, Outcome};
use ebb_openwhisk::activations::Budget;
use ebb_openwhisk::entity::{Entity, kept};
use ebb_openwhisk::http::Request;
use ebb_openwhisk::json::Json;
use ebb_openwhisk::limits::NamespaceLimits;
use ebb_openwhisk::parameters::Parameters;
use ebb_openwhisk::runtimes::Runtimes;
use ebb_openwhisk::{Config, Controller, Step, Subject};
use test_support::tasks::Tasks;

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
        records: Budget::bytes(20_000),
        seed: [7; 32],
        admin: Some(ADMIN.into()),
        entropy: |bytes| bytes.fill(7),
    })
}

/// A request to the API: what becomes of it.
fn step(controller: &mut Controller, method: &str, path: &str, body: &str, now_ms: u64) -> Step {
    let (key, path) = match path {
        path if path.starts_with("/admin/") => (ADMIN, path.to_owned()),
        path if path.starts_with("/api/") => (KEY, path.to_owned()),
        path => (KEY, format!("/api/v1/namespaces/_{path}")),
    };
    let key = format!("Basic {}", STANDARD.encode(key));
    controller.handle(
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
    )
}

/// Status and body of an answer.
fn answer(step: Step) -> (u16, String) {
    let response = match step {
        Step::Respond(response) => response,
        Step::Document(document) => document.respond(),
        Step::Later(missed) => panic!("{missed:?} is to come"),
        Step::Invoke(..) => panic!("nothing is called here"),
    };
    let body = String::from_utf8_lossy(&response.body).into_owned();
    (response.status, body)
}

/// A request to a controller that has everything; the status of its answer.
fn ask(controller: &mut Controller, method: &str, path: &str, body: &str, now_ms: u64) -> u16 {
    answer(step(controller, method, path, body, now_ms)).0
}

/// A request to a platform that may still be reading, and the same to one that has it all, which has to answer the same; the status.
async fn asked(
    keeper: &Keeper,
    held: &Held,
    whole: &RefCell<Controller>,
    (method, path, body): (&str, &str, &str),
    now_ms: u64,
) -> u16 {
    loop {
        let asked = step(&mut held.0.borrow_mut(), method, path, body, now_ms);
        if let Step::Later(missed) = asked {
            keeper.bring(missed).await;
            continue;
        }
        let (status, found) = answer(asked);
        let (expected, text) = answer(step(&mut whole.borrow_mut(), method, path, body, now_ms));
        assert_eq!(
            status, expected,
            "{method} {path}: {found} instead of {text}"
        );
        // What is refused carries an id.
        if status == 200 {
            assert_eq!(found, text, "{method} {path}");
        }
        return status;
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
        // Requests that come twice draw two.
        let document = kept.document.as_str();
        let document = match document.split_once("\"revision\":") {
            Some((before, after)) => {
                before.to_owned() + after.trim_start_matches(|c: char| c.is_ascii_digit())
            }
            None => document.to_owned(),
        };
        let rules = match entity {
            Entity::Trigger(trigger) => format!("{:?}", trigger.rules),
            _ => String::new(),
        };
        let code = kept.code.map_or(rules, |code| code.as_str().to_owned());
        (format!("{}", entity.common().name), (document, code))
    })
    .chain(namespaces)
    .collect()
}

/// One of the actions by which APIs are made, shown and deleted.
fn apis(action: &str) -> String {
    format!("/api/v1/web/whisk.system/apimgmt/{action}.http")
}

/// A change that a client might ask for: method, path, body.
fn change(random: &mut Random, number: u64) -> (&'static str, String, String) {
    let pick = |random: &mut Random| random.below(5);
    let (name, other) = (pick(random), pick(random));
    let delete = random.one_in(4);
    let annotations = format!(r#""annotations":[{{"key":"n","value":{number}}}]"#);
    match random.below(8) {
        0 | 1 => {
            let path = match random.one_in(3) {
                true => format!("/actions/p{other}/a{name}"),
                false => format!("/actions/a{name}"),
            };
            // Equal code now and then, some of it long; and long documents.
            let padding = "x".repeat(number as usize % 3 * 2_040);
            let code = format!("function main() {{ return {} }}//{padding}", number % 7);
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
        6 => {
            let (base, path) = (format!("/b{name}"), format!("/p/{other}"));
            match (delete, random.one_in(2)) {
                (true, true) => {
                    let body = format!(r#"{{"basepath":"{base}"}}"#);
                    ("DELETE", apis("deleteApi"), body)
                }
                (true, false) => {
                    let body = format!(r#"{{"basepath":"{base}","relpath":"{path}"}}"#);
                    ("DELETE", apis("deleteApi"), body)
                }
                (false, _) => {
                    let body = format!(
                        r#"{{"apidoc":{{"namespace":"_","gatewayBasePath":"{base}","gatewayPath":"{path}","gatewayMethod":"get","action":{{"name":"a{number}","namespace":"_","backendMethod":"get","authkey":"x","backendUrl":"http://h/api/v1/web/_/default/a.http"}}}}}}"#
                    );
                    ("POST", apis("createApi"), body)
                }
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

/// Something that a client might ask for and that changes nothing.
fn question(random: &mut Random) -> String {
    let collection = ["actions", "packages", "triggers", "rules"][random.below(4) as usize];
    let name = random.below(5);
    if random.one_in(5) {
        return apis("getApi");
    }
    match (random.below(4), collection) {
        (0, _) => format!("/{collection}"),
        (1, "actions") => format!("/actions/p{name}/a{}", random.below(5)),
        (_, collection) => format!("/{collection}/{}{name}", &collection[..1]),
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
type World = Tasks<SimDisk>;

fn on(disk: &SimDisk) -> World {
    Tasks::of(disk.clone(), SimDisk::step)
}

/// What is opened on the disk.
trait Opens {
    /// Opens what the disk has, and reads none of it yet.
    fn open(&mut self) -> (Rc<Keeper>, Held, Restored);
    /// Reads it in a task of its own; what it came to is there when it has ended.
    fn load(&self, keeper: &Rc<Keeper>, held: &Held) -> Rc<RefCell<Option<Loaded>>>;
    /// Opens what the disk has, and reads it all.
    fn open_whole(&mut self) -> (Rc<Keeper>, Held, Loaded);
}

impl Opens for World {
    fn open(&mut self) -> (Rc<Keeper>, Held, Restored) {
        let device = Arc::new(self.world.clone());
        let (keeper, writer, damage) = self
            .result(Keeper::open(device, [3; 16]))
            .expect("it opens");
        assert_eq!(damage, [""; 0]);
        self.spawn(writer.run());
        let keeper = Rc::new(keeper);
        let asked = keeper.clone();
        let mut restored = self
            .result(async move { asked.restore().await })
            .expect("it is read");
        let mut controller = controller();
        bring_back(&mut controller, &mut restored);
        (keeper, Held(Rc::new(RefCell::new(controller))), restored)
    }

    fn load(&self, keeper: &Rc<Keeper>, held: &Held) -> Rc<RefCell<Option<Loaded>>> {
        let loaded = Rc::new(RefCell::new(None));
        let (keeper, held, place) = (keeper.clone(), held.clone(), loaded.clone());
        self.spawn(async move {
            let ended = keeper.load(&held, &Runtimes::default()).await;
            *place.borrow_mut() = Some(ended);
        });
        loaded
    }

    fn open_whole(&mut self) -> (Rc<Keeper>, Held, Loaded) {
        let (keeper, held, restored) = self.open();
        let loaded = self.load(&keeper, &held);
        self.run(usize::MAX);
        let mut loaded = loaded.take().expect("it ends");
        loaded.lost.extend(restored.lost);
        (keeper, held, loaded)
    }
}

/// A controller for whoever holds it.
#[derive(Clone)]
struct Held(Rc<RefCell<Controller>>);

impl Holder for Held {
    fn controller<R>(&self, f: impl FnOnce(&mut Controller) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }

    fn now_ms(&self) -> u64 {
        0
    }
}
