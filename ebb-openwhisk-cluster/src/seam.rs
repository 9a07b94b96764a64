//! What the invoker works with: the bus, the database, and what runs calls. Each has the real thing in a module of this crate, and
//! others in tests.

use std::future::Future;

use ebb::sync::queue;
use ebb_invoker::back_end::Unanswered;
use ebb_openwhisk::call::{Call, CallOutcome};
use ebb_openwhisk::json::{Json, Object};

use crate::message::container::{Endpoint, Fetch, GivenBack};

/// Why a message did not reach the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// It is larger than the topic takes.
    TooLarge,
    /// Anything else, after all attempts. Says why.
    Failed(String),
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the message is larger than the topic takes"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// What became of two messages.
pub type Both = (Result<(), SendError>, Option<Result<(), SendError>>);

/// Where messages go.
pub trait Bus {
    /// Sends a message; ready when the bus has it.
    fn send(&self, topic: &str, message: &Json) -> impl Future<Output = Result<(), SendError>>;

    /// Sends two messages in their order; ready when it is known what became of both. The second is not sent (`None`) when it is known
    /// before that the first is too large.
    fn send_both(&self, topic: &str, [first, second]: [&Json; 2]) -> impl Future<Output = Both> {
        async move {
            let first = self.send(topic, first).await;
            match first {
                Err(SendError::TooLarge) => (first, None),
                _ => (first, Some(self.send(topic, second).await)),
            }
        }
    }
}

/// Where messages come from, one at a time. What comes out has been committed: it does not come again, whatever happens here.
pub trait Feed {
    /// The next message; `None` when the feed has been closed and everything in it has come.
    fn next(&self) -> impl Future<Output = Option<Vec<u8>>>;
    /// A message that has come needs nothing here any more: there is room for another one.
    fn processed(&self);
}

/// Why the database did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// There is no such thing (404).
    Missing,
    /// There is one already (409).
    Conflict,
    /// It does not want this, and will not if it is asked again. Says why.
    Refused(String),
    /// Anything else: it is away, busy, or broken. Says what.
    Failed(String),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such document"),
            Self::Conflict => f.write_str("there is such a document already"),
            Self::Refused(why) | Self::Failed(why) => f.write_str(why),
        }
    }
}

/// The database.
pub trait Store {
    /// The document of an action, whichever revision is the newest: CouchDB heeds no revision in the headers of a GET, and the
    /// reference sends it there.
    fn action(
        &self,
        id: &str,
        revision: Option<&str>,
    ) -> impl Future<Output = Result<Json, StoreError>>;
    /// An attachment of a document.
    fn attachment(
        &self,
        id: &str,
        revision: &str,
        name: &str,
    ) -> impl Future<Output = Result<Vec<u8>, StoreError>>;
    /// Stores the document of an action, if there is none.
    fn put_action(&self, id: &str, document: &Json)
    -> impl Future<Output = Result<(), StoreError>>;
    /// The limits of a namespace that differ from the system's; none if nothing is said of it.
    fn limits(&self, namespace: &str) -> impl Future<Output = Result<Object, StoreError>>;
    /// Stores one record.
    fn put_record(&self, id: &str, document: &Json)
    -> impl Future<Output = Result<(), StoreError>>;
    /// Stores several; the answer has one for each.
    fn put_records(
        &self,
        documents: &[Json],
    ) -> impl Future<Output = Result<Vec<Result<(), StoreError>>, StoreError>>;
    /// The namespaces that may not run anything.
    fn blocked_namespaces(&self) -> impl Future<Output = Result<Vec<String>, StoreError>>;
}

/// What runs calls.
pub trait Engine {
    /// Makes a call, however long it takes to get an instance.
    ///
    /// # Errors
    /// It was not made, or it is not known what became of it.
    fn call(&self, call: &Call) -> impl Future<Output = Result<CallOutcome, Unanswered>>;
    /// Nobody will call this revision ([`Action::revision`](ebb_openwhisk::entity::Action::revision)) again.
    fn forget(&self, revision: u64);
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub key: String,
    /// Its value; `None` when it is not there any more.
    pub value: Option<String>,
}

/// Where invokers and schedulers find each other.
pub trait Directory {
    /// This is to be there, with the invoker's lease. Nothing waits for it; it comes to pass when the directory can be reached.
    fn put(&self, key: &str, value: &str);
    /// This is not to be there any more, likewise.
    fn delete(&self, key: &str);
    /// The value of a key.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<String>, String>>;
    /// The values of all keys that begin so.
    fn below(&self, prefix: &str) -> impl Future<Output = Result<Vec<String>, String>>;
    /// What is below a prefix, and from then on what becomes of it. When the directory was away what is there is told again, and
    /// what went meanwhile is not told.
    fn watch(&self, prefix: &str) -> queue::Receiver<Change>;
    /// How many keys begin so.
    fn count(&self, prefix: &str) -> impl Future<Output = Result<u64, String>>;
}

/// Why a scheduler has not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// There is nothing of its name. Says what.
    NoHost(String),
    /// Anything else. Says what.
    Failed(String),
}

impl std::fmt::Display for FetchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoHost(why) | Self::Failed(why) => f.write_str(why),
        }
    }
}

/// Those who have the activations.
pub trait Schedulers {
    /// Asks for an activation; the scheduler answers when there is one, or after a while. The answer is read by
    /// [`Fetched::parse`](crate::message::container::Fetched::parse).
    fn fetch(
        &self,
        at: &Endpoint,
        request: Fetch,
    ) -> impl Future<Output = Result<String, FetchError>>;
    /// Gives an activation back that was not run; whether it was taken.
    fn reschedule(
        &self,
        at: &Endpoint,
        request: GivenBack,
    ) -> impl Future<Output = Result<bool, FetchError>>;
}
