//! The actions that this invoker has fetched: one revision of each, the least recently used ones first to go.
//!
//! What must hold:
//! - A revision that the message names is what runs, if the database still has it as its newest; else the newest runs, as in
//!   the reference, which asks again without a revision when they differ (`InvokerReactive.scala`).
//! - A message without a revision is never served from here.
//! - However many messages want an action that is not here, it is fetched once.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use ebb::sync::oneshot;
use ebb_openwhisk::runtimes::Runtimes;

use crate::document::{CodePlace, Document, Runnable, Unusable};
use crate::seam::{Store, StoreError};

/// What a fetch comes to.
type Fetched = Result<Runnable, Unusable>;

/// An id and a revision, or the newest.
type Wanted = (String, Option<String>);

struct Entry {
    revision: String,
    runnable: Runnable,
    used: u64,
}

/// Fetched actions.
pub struct Cache<S> {
    store: S,
    runtimes: Runtimes,
    /// Bytes that all of them may take.
    most_bytes: usize,
    bytes: Cell<usize>,
    entries: RefCell<HashMap<String, Entry>>,
    /// Ids by their last use.
    by_use: RefCell<BTreeMap<u64, String>>,
    clock: Cell<u64>,
    numbers: Cell<u64>,
    /// Who waits for what is being fetched.
    pending: RefCell<HashMap<Wanted, Vec<oneshot::Sender<Fetched>>>>,
    /// Numbers of revisions that are not here any more.
    gone: RefCell<Vec<u64>>,
    fetches: Cell<u64>,
}

impl<S: Store> Cache<S> {
    /// An empty cache.
    pub fn new(store: S, runtimes: Runtimes, most_bytes: usize) -> Self {
        Self {
            store,
            runtimes,
            most_bytes,
            bytes: Cell::new(0),
            entries: RefCell::default(),
            by_use: RefCell::default(),
            clock: Cell::new(0),
            numbers: Cell::new(0),
            pending: RefCell::default(),
            gone: RefCell::default(),
            fetches: Cell::new(0),
        }
    }

    /// The database behind it.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// How many actions are here, and the bytes that they take.
    pub fn size(&self) -> (usize, usize) {
        (self.entries.borrow().len(), self.bytes.get())
    }

    /// How often the database was asked for an action.
    pub fn fetches(&self) -> u64 {
        self.fetches.get()
    }

    /// Takes the numbers of revisions that have been replaced: their instances are of no use.
    pub fn take_gone(&self) -> Vec<u64> {
        std::mem::take(&mut self.gone.borrow_mut())
    }

    /// An action in the revision that a message names, or in the newest one.
    ///
    /// # Errors
    /// Why it cannot be run.
    pub async fn get(&self, id: &str, revision: Option<&str>) -> Fetched {
        if let Some(revision) = revision
            && let Some(runnable) = self.here(id, revision)
        {
            return Ok(runnable);
        }
        let key = (id.to_owned(), revision.map(str::to_owned));
        let waiting = {
            let mut pending = self.pending.borrow_mut();
            match pending.get_mut(&key) {
                Some(waiting) => {
                    let (sender, receiver) = oneshot::channel();
                    waiting.push(sender);
                    Some(receiver)
                }
                None => {
                    pending.insert(key.clone(), Vec::new());
                    None
                }
            }
        };
        if let Some(waiting) = waiting {
            let lost = || Unusable::NotFetched("the fetch was given up".into());
            return waiting.await.unwrap_or_else(|_| Err(lost()));
        }
        let leader = Leader {
            cache: self,
            key: &key,
        };
        let fetched = self.fetch(id, revision).await;
        for waiting in leader.followers() {
            let _ = waiting.send(fetched.clone());
        }
        fetched
    }

    fn here(&self, id: &str, revision: &str) -> Option<Runnable> {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(id).filter(|e| e.revision == revision)?;
        let now = self.tick();
        let mut by_use = self.by_use.borrow_mut();
        if let Some(id) = by_use.remove(&entry.used) {
            by_use.insert(now, id);
        }
        entry.used = now;
        Some(entry.runnable.clone())
    }

    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    async fn fetch(&self, id: &str, revision: Option<&str>) -> Fetched {
        self.fetches.set(self.fetches.get() + 1);
        let answered = self.store.action(id, revision).await;
        let document = Document::read(id, &answered.map_err(unusable)?)?;
        // The same revision has been seen before: its instances go on.
        if let Some(known) = self.here(id, &document.revision) {
            return Ok(known);
        }
        let code = match document.code_place()? {
            CodePlace::Here(code) => Some(code),
            CodePlace::Nowhere => None,
            CodePlace::Attached { name, length } => {
                let attachment = self.store.attachment(id, &document.revision, &name);
                let bytes = attachment.await.map_err(unusable)?;
                if let Some(length) = length.filter(|&n| n != bytes.len() as u64) {
                    return Err(Unusable::NotFetched(format!(
                        "the attachment of '{id}' has {} of {length} bytes",
                        bytes.len()
                    )));
                }
                Some(document.code_of(&bytes)?)
            }
        };
        self.numbers.set(self.numbers.get() + 1);
        let runnable = document.runnable(code, self.numbers.get(), &self.runtimes)?;
        self.insert(id, document.revision, runnable.clone());
        Ok(runnable)
    }

    fn insert(&self, id: &str, revision: String, runnable: Runnable) {
        let used = self.tick();
        let mut entries = self.entries.borrow_mut();
        let mut by_use = self.by_use.borrow_mut();
        let drop_entry = |entry: Entry| {
            self.bytes.set(self.bytes.get() - entry.runnable.bytes);
            self.gone.borrow_mut().push(entry.runnable.action.revision);
            entry.used
        };
        self.bytes.set(self.bytes.get() + runnable.bytes);
        let entry = Entry {
            revision,
            runnable,
            used,
        };
        if let Some(old) = entries.insert(id.to_owned(), entry) {
            by_use.remove(&drop_entry(old));
        }
        by_use.insert(used, id.to_owned());
        // What was just fetched stays, however large it is.
        while self.bytes.get() > self.most_bytes && by_use.len() > 1 {
            let Some((_, oldest)) = by_use.pop_first() else {
                break;
            };
            if let Some(old) = entries.remove(&oldest) {
                drop_entry(old);
            }
        }
    }
}

/// The one task that fetches what others wait for. If it is dropped on the way, they learn it.
struct Leader<'a, S> {
    cache: &'a Cache<S>,
    key: &'a Wanted,
}

impl<S> Leader<'_, S> {
    fn followers(&self) -> Vec<oneshot::Sender<Fetched>> {
        let mut pending = self.cache.pending.borrow_mut();
        pending.remove(self.key).unwrap_or_default()
    }
}

impl<S> Drop for Leader<'_, S> {
    fn drop(&mut self) {
        drop(self.followers());
    }
}

fn unusable(error: StoreError) -> Unusable {
    match error {
        StoreError::Missing => Unusable::Missing,
        StoreError::Conflict => Unusable::NotFetched("the database answered 409 to a GET".into()),
        StoreError::Refused(why) | StoreError::Failed(why) => Unusable::NotFetched(why),
    }
}
