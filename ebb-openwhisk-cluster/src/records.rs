//! Records on their way to the database.
//!
//! The reference puts each record by itself while few are on their way, and up to 500 at once when there are more
//! (`CouchDbRestStore.scala`, `common/scala/.../core/database/Batcher.scala`). So does this; and what the database did not take is
//! tried again, while there is room.
//!
//! What must hold:
//! - An activation does not wait for its record: acknowledgements go out whatever the database does.
//! - Records that wait take bounded memory: the oldest go first, and are counted.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use ebb::sync::Notify;
use ebb::{println, spawn, time};
use ebb_openwhisk::json::Json;

use crate::seam::{Store, StoreError};

/// Records in one request.
const BATCH: usize = 500;
/// Requests at once.
const REQUESTS: usize = 4;
/// Bytes of records that wait.
const ROOM: usize = 32 << 20;
/// How long a record is tried again after a failure, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

struct Waiting {
    id: String,
    document: Json,
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.id.len() + self.document.as_str().len()
    }
}

/// What has become of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// In the database.
    pub stored: u64,
    /// Given up: the database did not take them, or there was no room for them here.
    pub lost: u64,
    /// Requests that failed and were made again.
    pub retries: u64,
    /// Bytes that wait.
    pub waiting_bytes: u64,
}

/// Records that wait.
pub struct Records<S> {
    store: S,
    queue: RefCell<VecDeque<Waiting>>,
    bytes: Cell<usize>,
    under_way: Cell<usize>,
    changed: Notify,
    counts: Cell<RecordCounts>,
    told: Cell<bool>,
}

impl<S: Store + Clone + 'static> Records<S> {
    /// None yet. The tasks that store them run from now on.
    pub fn start(store: S) -> Rc<Self> {
        let records = Rc::new(Self {
            store,
            queue: RefCell::default(),
            bytes: Cell::new(0),
            under_way: Cell::new(0),
            changed: Notify::default(),
            counts: Cell::default(),
            told: Cell::new(false),
        });
        for _ in 0..REQUESTS {
            drop(spawn(Rc::clone(&records).store_all()));
        }
        records
    }

    /// What has become of them.
    pub fn counts(&self) -> RecordCounts {
        RecordCounts {
            waiting_bytes: self.bytes.get() as u64,
            ..self.counts.get()
        }
    }

    /// Takes a record in.
    pub fn push(&self, id: String, document: Json) {
        let waiting = Waiting { id, document };
        self.bytes.set(self.bytes.get() + waiting.bytes());
        let mut queue = self.queue.borrow_mut();
        queue.push_back(waiting);
        while self.bytes.get() > ROOM && queue.len() > 1 {
            let Some(oldest) = queue.pop_front() else {
                break;
            };
            self.bytes.set(self.bytes.get() - oldest.bytes());
            self.lose(
                &oldest.id,
                "there is no room for more that wait for the database",
            );
        }
        drop(queue);
        self.changed.notify_one();
    }

    fn count(&self, f: impl FnOnce(&mut RecordCounts)) {
        let mut counts = self.counts.get();
        f(&mut counts);
        self.counts.set(counts);
    }

    fn lose(&self, id: &str, why: &str) {
        self.count(|c| c.lost += 1);
        // One line for all until the database is well again.
        if !self.told.replace(true) {
            println!("whisk-invoker: the record {id} is lost, and perhaps others: {why}");
        }
    }

    /// Waits until everything is stored or given up, at most so long; whether it is.
    pub async fn drained(&self, at_most: Duration) -> bool {
        let drained = async {
            while !self.queue.borrow().is_empty() || self.under_way.get() > 0 {
                time::sleep(Duration::from_millis(10)).await;
            }
        };
        time::timeout(at_most, drained).await.is_ok()
    }

    async fn store_all(self: Rc<Self>) {
        let mut pause = PAUSE.0;
        loop {
            while self.queue.borrow().is_empty() {
                self.changed.notified().await;
            }
            let batch: Vec<Waiting> = {
                let mut queue = self.queue.borrow_mut();
                let length = queue.len().min(BATCH);
                queue.drain(..length).collect()
            };
            let bytes: usize = batch.iter().map(Waiting::bytes).sum();
            self.under_way.set(self.under_way.get() + 1);
            let failed = self.store_batch(batch).await;
            self.under_way.set(self.under_way.get() - 1);
            self.bytes.set(self.bytes.get() - bytes);
            if failed.is_empty() {
                pause = PAUSE.0;
                continue;
            }
            self.count(|c| c.retries += 1);
            {
                let mut queue = self.queue.borrow_mut();
                for waiting in failed.into_iter().rev() {
                    self.bytes.set(self.bytes.get() + waiting.bytes());
                    queue.push_front(waiting);
                }
            }
            time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Stores some; those that are to be tried again come back.
    async fn store_batch(&self, batch: Vec<Waiting>) -> Vec<Waiting> {
        let results = match &*batch {
            [one] => Ok(vec![self.store.put_record(&one.id, &one.document).await]),
            several => {
                let documents: Vec<Json> = several.iter().map(|w| w.document.clone()).collect();
                self.store.put_records(&documents).await
            }
        };
        let results = match results {
            Ok(results) if results.len() == batch.len() => results,
            Ok(_) => batch
                .iter()
                .map(|_| Err(StoreError::Failed("the answer has too few results".into())))
                .collect(),
            Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut again = Vec::new();
        for (waiting, result) in batch.into_iter().zip(results) {
            match result {
                // It was stored by an attempt whose answer was lost.
                Ok(()) | Err(StoreError::Conflict) => {
                    self.count(|c| c.stored += 1);
                    self.told.set(false);
                }
                // The database itself is gone: the reference loses the record at any failure.
                Err(StoreError::Missing) => self.lose(&waiting.id, "its database does not exist"),
                Err(StoreError::Refused(why)) => self.lose(&waiting.id, &why),
                Err(StoreError::Failed(_)) => again.push(waiting),
            }
        }
        again
    }
}
