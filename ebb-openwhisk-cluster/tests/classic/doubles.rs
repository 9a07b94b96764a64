//! A bus, a database and an engine in memory, which do what a test tells them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use ebb::{sync::Notify, time};
use ebb_invoker::back_end::Unanswered;
use ebb_openwhisk::activation::{Outcome, Status};
use ebb_openwhisk::call::{Call, CallOutcome, Spent, Start};
use ebb_openwhisk::json::{Json, Object};
use ebb_openwhisk_cluster::seam::{Bus, Engine, Feed, SendError, Store, StoreError};
use serde_json::Value;

/// What was sent, in its order, as a second JSON parser reads it.
#[derive(Clone, Default)]
pub struct Sent(Rc<SentState>);

#[derive(Default)]
struct SentState {
    messages: RefCell<Vec<(String, Value)>>,
    /// Bytes beyond which a message is too large.
    most: Cell<Option<usize>>,
    /// So many attempts fail.
    failing: Cell<usize>,
    /// A topic that takes nothing for now.
    held: RefCell<Option<String>>,
}

impl Sent {
    pub fn too_large_beyond(&self, bytes: usize) {
        self.0.most.set(Some(bytes));
    }

    pub fn fail_next(&self, times: usize) {
        self.0.failing.set(times);
    }

    /// Topics that begin so take nothing, until there are others or none.
    pub fn hold(&self, topic: Option<&str>) {
        *self.0.held.borrow_mut() = topic.map(str::to_owned);
    }

    /// The messages of a topic.
    pub fn to(&self, topic: &str) -> Vec<Value> {
        let messages = self.0.messages.borrow();
        let of_topic = messages.iter().filter(|(to, _)| to == topic);
        of_topic.map(|(_, message)| message.clone()).collect()
    }
}

impl Bus for Sent {
    async fn send(&self, topic: &str, message: &Json) -> Result<(), SendError> {
        // As over a network: others run meanwhile.
        time::sleep(Duration::from_millis(1)).await;
        let is_held = || {
            let held = self.0.held.borrow();
            held.as_deref().is_some_and(|held| topic.starts_with(held))
        };
        while is_held() {
            time::sleep(Duration::from_millis(20)).await;
        }
        if self.0.failing.get() > 0 {
            self.0.failing.set(self.0.failing.get() - 1);
            return Err(SendError::Failed("the broker is away".into()));
        }
        let most = self.0.most.get();
        if most.is_some_and(|most| message.as_str().len() > most) {
            return Err(SendError::TooLarge);
        }
        let value = serde_json::from_str(message.as_str()).expect("what is sent is JSON");
        self.0.messages.borrow_mut().push((topic.into(), value));
        Ok(())
    }
}

/// A topic in memory.
pub struct Topic {
    messages: RefCell<VecDeque<Vec<u8>>>,
    closed: Cell<bool>,
    changed: Notify,
    most: usize,
    out: Cell<usize>,
    /// The most that were out at once.
    pub highest: Cell<usize>,
}

impl Topic {
    pub fn new(most: usize) -> Rc<Self> {
        Rc::new(Self {
            messages: RefCell::default(),
            closed: Cell::new(false),
            changed: Notify::default(),
            most,
            out: Cell::new(0),
            highest: Cell::new(0),
        })
    }

    pub fn push(&self, message: impl Into<Vec<u8>>) {
        self.messages.borrow_mut().push_back(message.into());
        self.changed.notify_one();
    }

    /// No more will come.
    pub fn close(&self) {
        self.closed.set(true);
        self.changed.notify_one();
    }
}

impl Feed for Topic {
    async fn next(&self) -> Option<Vec<u8>> {
        loop {
            if self.out.get() < self.most {
                if let Some(message) = self.messages.borrow_mut().pop_front() {
                    self.out.set(self.out.get() + 1);
                    self.highest.set(self.highest.get().max(self.out.get()));
                    return Some(message);
                }
                if self.closed.get() {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    fn processed(&self) {
        self.out.set(self.out.get() - 1);
        self.changed.notify_one();
    }
}

/// A database in memory.
#[derive(Clone, Default)]
pub struct Database(Rc<Documents>);

#[derive(Default)]
pub struct Documents {
    actions: RefCell<BTreeMap<String, Result<Json, StoreError>>>,
    attachments: RefCell<BTreeMap<String, Result<Vec<u8>, StoreError>>>,
    records: RefCell<BTreeMap<String, Value>>,
    blocked: RefCell<Vec<String>>,
    /// What the next attempts to store fail with.
    failures: RefCell<VecDeque<StoreError>>,
    /// Requests for actions.
    pub reads: Cell<usize>,
}

impl Database {
    pub fn set_action(&self, id: &str, document: Result<&str, StoreError>) {
        let document = document.map(|text| Json::parse(text).expect("JSON"));
        self.0.actions.borrow_mut().insert(id.into(), document);
    }

    pub fn set_attachment(&self, name: &str, bytes: Result<&[u8], StoreError>) {
        let bytes = bytes.map(<[u8]>::to_vec);
        self.0.attachments.borrow_mut().insert(name.into(), bytes);
    }

    pub fn block(&self, namespaces: &[&str]) {
        *self.0.blocked.borrow_mut() = namespaces.iter().map(|&n| n.into()).collect();
    }

    pub fn fail_stores(&self, failures: impl IntoIterator<Item = StoreError>) {
        self.0.failures.borrow_mut().extend(failures);
    }

    pub fn records(&self) -> BTreeMap<String, Value> {
        self.0.records.borrow().clone()
    }

    pub fn reads(&self) -> usize {
        self.0.reads.get()
    }

    fn put(&self, document: &Json) -> Result<(), StoreError> {
        let value: Value = serde_json::from_str(document.as_str()).expect("JSON");
        let id = value["_id"].as_str().expect("an id").to_owned();
        let mut records = self.0.records.borrow_mut();
        match records.insert(id, value) {
            None => Ok(()),
            Some(_) => Err(StoreError::Conflict),
        }
    }
}

impl Store for Database {
    async fn action(&self, id: &str, _: Option<&str>) -> Result<Json, StoreError> {
        self.0.reads.set(self.0.reads.get() + 1);
        time::sleep(Duration::from_millis(2)).await;
        let actions = self.0.actions.borrow();
        actions.get(id).cloned().unwrap_or(Err(StoreError::Missing))
    }

    async fn attachment(&self, _: &str, _: &str, name: &str) -> Result<Vec<u8>, StoreError> {
        let attachments = self.0.attachments.borrow();
        attachments
            .get(name)
            .cloned()
            .unwrap_or(Err(StoreError::Missing))
    }

    async fn put_action(&self, id: &str, document: &Json) -> Result<(), StoreError> {
        self.set_action(id, Ok(document.as_str()));
        Ok(())
    }

    async fn limits(&self, _: &str) -> Result<Object, StoreError> {
        Ok(Object::default())
    }

    async fn put_record(&self, id: &str, document: &Json) -> Result<(), StoreError> {
        let failure = self.0.failures.borrow_mut().pop_front();
        match failure {
            Some(failure) => Err(failure),
            None => {
                let value: Value = serde_json::from_str(document.as_str()).expect("JSON");
                assert_eq!(value["_id"], id);
                self.put(document)
            }
        }
    }

    async fn put_records(
        &self,
        documents: &[Json],
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let failure = self.0.failures.borrow_mut().pop_front();
        match failure {
            Some(failure) => Err(failure),
            None => Ok(documents
                .iter()
                .map(|document| self.put(document))
                .collect()),
        }
    }

    async fn blocked_namespaces(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.0.blocked.borrow().clone())
    }
}

/// Runs calls without instances: the answer is the argument, or what the name of the action asks for.
#[derive(Clone, Default)]
pub struct Echo(Rc<EchoState>);

#[derive(Default)]
struct EchoState {
    calls: RefCell<Vec<Call>>,
    gone: RefCell<Vec<u64>>,
    takes: Cell<Duration>,
}

impl Echo {
    pub fn takes(&self, time: Duration) {
        self.0.takes.set(time);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.0.calls.borrow().clone()
    }

    pub fn gone(&self) -> Vec<u64> {
        self.0.gone.borrow().clone()
    }
}

impl Engine for Echo {
    async fn call(&self, call: &Call) -> Result<CallOutcome, Unanswered> {
        let is_first = self.0.calls.borrow().is_empty();
        self.0.calls.borrow_mut().push(call.clone());
        time::sleep(self.0.takes.get()).await;
        let unanswered = |may_have_run| Unanswered {
            may_have_run,
            why: "The machine was lost.".into(),
        };
        match call.action.common.name.name.as_str() {
            "nowhere" => return Err(unanswered(false)),
            "torn" => return Err(unanswered(true)),
            _ => {}
        }
        let outcome = match call.action.common.name.name.as_str() {
            "panics" => panic!("the engine panics, as the test wants it"),
            "lost" => Outcome::error(Status::InternalError, "The platform is ending."),
            "throws" => Outcome::error(Status::DeveloperError, "it threw"),
            "fails" => Outcome::error(Status::ApplicationError, "it failed"),
            _ => Outcome::success(call.arguments.clone()),
        };
        Ok(CallOutcome {
            start_ms: 2000,
            end_ms: 2010,
            init_ms: is_first.then_some(4),
            spent: Spent::default(),
            kind: Start::Hot,
            outcome,
            timed_out: false,
            logs: vec!["a line of its log".into()],
            streamed: None,
        })
    }

    fn forget(&self, revision: u64) {
        self.0.gone.borrow_mut().push(revision);
    }
}
