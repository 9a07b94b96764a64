//! A platform on a desk: the API, and an executor whose actions are closures.
#![allow(dead_code, missing_docs)]

use base64::{Engine, engine::general_purpose::STANDARD};
use ebb_openwhisk::activation::{Activation, Answer, Outcome};
use ebb_openwhisk::activations::Budget;
use ebb_openwhisk::call::{Call, CallOutcome, Spent, Start};
use ebb_openwhisk::http::{Request, Response};
use ebb_openwhisk::limits::NamespaceLimits;
use ebb_openwhisk::runtimes::Runtimes;
use ebb_openwhisk::throttle::Admission;
use ebb_openwhisk::{Config, Controller, Desk, Executor, Step, Subject, perform};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

pub const GUEST: &str = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:key";
pub const API_HOST: &str = "http://127.0.0.1:3233";
pub const OTHER: &str = "00000000-0000-0000-0000-000000000000:other";

pub const ADMIN: &str = "admin:of-all";

/// Numbers that do not repeat.
fn entropy(bytes: &mut [u8]) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    for chunk in bytes.chunks_mut(8) {
        let next = NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        chunk.copy_from_slice(&next[..chunk.len()]);
    }
}

/// Requests with a JSON body that are refused, each with that status and a text that begins so.
#[allow(unused_macros)]
macro_rules! refused {
    ($bed:expr; $($method:ident $path:expr $(, $body:expr)? => $status:literal $text:expr;)*) => {
        $($bed.refuses(stringify!($method), &$path, $crate::common::refused!(@ $($body)?), $status, $text);)*
    };
    (@) => { serde_json::Value::Null };
    (@ $body:expr) => { $body };
}
#[allow(unused_imports)]
pub(crate) use refused;

type Action = dyn Fn(&Call) -> Answer;

pub struct Bed {
    pub controller: RefCell<Controller>,
    /// Those of two cores, which take the requests in turns.
    pub desks: RefCell<Vec<Desk>>,
    pub turn: Cell<usize>,
    pub now: Cell<u64>,
    pub action: RefCell<Box<Action>>,
    /// What was sent to instances: init and run bodies.
    pub sent: RefCell<Vec<(Value, Value)>>,
    pub logs: RefCell<Vec<String>>,
}

/// Answers a run with its arguments.
pub fn echo(call: &Call) -> Answer {
    answer(200, call.arguments.as_str())
}

pub fn answer(status: u16, body: &str) -> Answer {
    Answer::Run {
        status,
        body: body.as_bytes().to_vec(),
    }
}

impl Executor for Bed {
    async fn execute(&self, call: &Call) -> CallOutcome {
        let now = self.now.get();
        let parse = |json: ebb_openwhisk::json::Json| {
            serde_json::from_str(json.as_str()).unwrap_or(Value::Null)
        };
        let run: Value = parse(call.run_body(now));
        // To an instance that remembers an earlier call all is said but what both have in common.
        let mut next = run.clone();
        // What is nested too deeply for this parser is none.
        if let Value::Object(next) = &mut next {
            for common in ["namespace", "action_name", "action_version"] {
                let said = next.remove(common);
                assert!(said.is_some_and(|said| said.is_string()), "{common}: {run}");
            }
        }
        assert_eq!(parse(call.next_run_body(now)), next);
        self.sent
            .borrow_mut()
            .push((parse(call.init_body(now)), run));
        let answer = (self.action.borrow())(call);
        CallOutcome {
            start_ms: now + 5,
            end_ms: now + 17,
            init_ms: Some(3),
            spent: Spent::default(),
            kind: Start::Cold,
            outcome: Outcome::of(&answer, call.action.limits.timeout_ms),
            timed_out: answer.timed_out(),
            logs: self.logs.borrow().clone(),
            streamed: None,
        }
    }
    async fn controller<R>(&self, f: impl FnOnce(&mut Controller) -> R) -> R {
        self.with_desk(|controller, _| f(controller))
    }
    async fn keep(&self, record: Arc<Activation>) {
        let at_ns = self.turn.get() as u64;
        if !self.desk(|desk| desk.keep(at_ns, record)) {
            self.with_desk(|_, _| ());
        }
    }
    fn now_ms(&self) -> u64 {
        self.now.get()
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..1000 {
        if let Poll::Ready(value) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return value;
        }
    }
    panic!("nothing here waits, yet it does not end");
}

/// An answer as tests look at it.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub body: Value,
    pub response: Response,
    pub record: Option<Activation>,
}

impl Got {
    pub fn error(&self) -> &str {
        self.body["error"]
            .as_str()
            .unwrap_or_else(|| panic!("no error: {self:?}"))
    }
    pub fn header(&self, name: &str) -> &str {
        self.response.header(name).unwrap_or_default()
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.response.body).into_owned()
    }
}

pub fn basic(key: &str) -> String {
    format!("Basic {}", STANDARD.encode(key))
}

impl Bed {
    pub fn new() -> Self {
        Self::with(NamespaceLimits::default())
    }

    pub fn config(limits: NamespaceLimits) -> Config {
        let subject = |namespace: &str, key: &str| Subject {
            namespace: namespace.into(),
            key: key.into(),
        };
        Config {
            subjects: vec![subject("guest", GUEST), subject("other", OTHER)],
            limits,
            entity_bytes: 100 << 20,
            records: Budget::bytes(10 << 20),
            runtimes: Runtimes::default(),
            seed: [7; 32],
            admin: Some(ADMIN.into()),
            entropy,
        }
    }

    pub fn with(limits: NamespaceLimits) -> Self {
        Self::of(Self::config(limits))
    }

    pub fn of(config: Config) -> Self {
        let mut controller = Controller::new(config);
        controller.set_api_host(API_HOST.into());
        Self {
            controller: RefCell::new(controller),
            desks: RefCell::new(vec![Desk::default(), Desk::default()]),
            turn: Cell::new(0),
            now: Cell::new(1_760_000_000_000),
            action: RefCell::new(Box::new(echo)),
            sent: RefCell::default(),
            logs: RefCell::default(),
        }
    }

    /// What a request is answered before its body is there, if it is.
    pub fn early(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Option<Response> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request {
            method,
            path,
            query,
            headers,
            body: b"",
            code: None,
        };
        self.controller.borrow_mut().admit(&request).err()
    }

    pub fn desk<R>(&self, f: impl FnOnce(&mut Desk) -> R) -> R {
        f(&mut self.desks.borrow_mut()[self.turn.get() % 2])
    }

    /// Uses the controller as those do who have desks.
    pub fn with_desk<R>(&self, f: impl FnOnce(&mut Controller, &mut Desk) -> R) -> R {
        let mut controller = self.controller.borrow_mut();
        let mut desks = self.desks.borrow_mut();
        controller.take_back(desks.iter_mut());
        let result = f(&mut controller, &mut desks[self.turn.get() % 2]);
        controller.lend(desks.iter_mut(), self.now.get());
        result
    }

    /// What a request comes to, on the core whose turn it is.
    pub fn handle(&self, request: &Request<'_>) -> Step {
        let now_ms = self.now.get();
        if let Some(step) = self.desk(|desk| desk.handle(request, now_ms)) {
            return step;
        }
        self.with_desk(|controller, desk| {
            let step = controller.handle(request, now_ms);
            controller.remember(request, &step, desk);
            step
        })
    }

    pub fn end(&self, admission: &Admission) {
        if !self.desk(|desk| desk.end(admission)) {
            self.with_desk(|controller, _| controller.end(admission));
        }
    }

    /// Any request at all.
    pub fn raw(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        self.now.set(self.now.get() + 1);
        let request = Request {
            method,
            path,
            query,
            headers,
            body,
            code: None,
        };
        self.turn.set(self.turn.get() + 1);
        let step = self.handle(&request);
        let (response, record) = match step {
            Step::Respond(response) => (response, None),
            Step::Document(document) => (document.respond(), None),
            Step::Later(missed) => panic!("{missed:?} is nowhere to come from"),
            Step::Invoke(plan, reply) => {
                let record = block_on(perform(self, plan));
                self.end(&reply.admission);
                let response = match reply.wait_ms {
                    Some(_) => reply.respond(&record),
                    None => reply.accepted(),
                };
                (response, Some((*record).clone()))
            }
        };
        // Tests look at the controller, which then has everything.
        self.with_desk(|_, _| ());
        Got {
            status: response.status,
            body: serde_json::from_slice(&response.body).unwrap_or(Value::Null),
            response,
            record,
        }
    }

    /// A request of a namespace with a JSON body; `path` below `/api/v1/namespaces`.
    pub fn by(&self, key: &str, method: &str, path: &str, body: Value) -> Got {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let auth = basic(key);
        self.raw(
            method,
            &format!("/api/v1/namespaces{path}"),
            &[
                ("Authorization", &auth),
                ("Content-Type", "application/json"),
            ],
            body.as_bytes(),
        )
    }

    /// A request of the guest's.
    pub fn ask(&self, method: &str, path: &str, body: Value) -> Got {
        self.by(GUEST, method, path, body)
    }

    pub fn get(&self, path: &str) -> Got {
        self.ask("GET", path, Value::Null)
    }

    /// Asks for something that is refused, with a text that begins so.
    pub fn refuses(&self, method: &str, path: &str, body: Value, status: u16, text: &str) {
        let got = self.ask(method, path, body);
        let shown: String = path.chars().take(80).collect();
        assert_eq!(got.status, status, "{method} {shown}: {}", got.text());
        let error = got.error();
        assert!(error.starts_with(text), "{method} {shown}: {error}");
    }

    /// Puts something that has to succeed.
    pub fn put(&self, path: &str, body: Value) -> Value {
        let got = self.ask("PUT", path, body);
        assert_eq!(got.status, 200, "PUT {path}: {}", got.text());
        got.body
    }

    pub fn put_action(&self, name: &str) -> Value {
        self.put(
            &format!("/_/actions/{name}"),
            js("function main(p) { return p }"),
        )
    }

    pub fn act(&self, action: impl Fn(&Call) -> Answer + 'static) {
        *self.action.borrow_mut() = Box::new(action);
    }

    /// The last run body that was sent to an instance.
    pub fn last_run(&self) -> Value {
        self.sent.borrow().last().unwrap().1.clone()
    }
    pub fn last_init(&self) -> Value {
        self.sent.borrow().last().unwrap().0.clone()
    }
}

pub fn js(code: &str) -> Value {
    json!({"exec": {"kind": "nodejs:default", "code": code}})
}

/// Removes what differs from run to run.
pub fn without(mut document: Value, members: &[&str]) -> Value {
    for member in members {
        document.as_object_mut().unwrap().remove(*member);
    }
    document
}
