//! What outlives the machine: entities, their code, the key of the first run, and the records of activations, in a store on a disk.
//!
//! | key | value |
//! |---|---|
//! | `entity/NAMESPACE/..` | the document of an entity ([`ebb_openwhisk::entity::kept`]); its code is a blob, once for equal code |
//! | `namespace/NAME` | a namespace: its limits, and a hash of its key ([`ebb_openwhisk::namespaces`]) |
//! | `record/` and the record's place, big endian | the record of an activation |
//! | `platform/key` | the key of the user `guest`, if it was drawn |
//! | `platform/revision` | a number that no action's revision has reached |
//!
//! A document that is too long for a value is a blob as well, and the value says so.
//!
//! What must hold:
//! - A change is answered after it is durable. With the change goes a [`Ticket`], and changes are queued for the disk in the order of
//!   their tickets, so the disk has them in the order in which the API made them. None waits for the disk's work on another, so changes
//!   that wait together are flushed together.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    format,
    string::String,
    sync::Arc,
    vec::Vec,
};
use core::future::{Future, poll_fn};
use core::task::Poll;

use ebb::sync::oneshot;
use ebb_block::BlockDevice;
use ebb_openwhisk::Controller;
use ebb_openwhisk::activation::Activation;
use ebb_openwhisk::activations::Change;
use ebb_openwhisk::entity::{
    Entity,
    kept::{self, Kept},
};
use ebb_openwhisk::json::Json;
use ebb_openwhisk::name::FullName;
use ebb_openwhisk::namespaces::Namespace;
use ebb_openwhisk::runtimes::Runtimes;
use ebb_store::{Batch, Error, Hash, Store, Writer, hash_in_pieces};
use hashbrown::HashMap;
use spin::mutex::SpinMutex;

/// Bytes of a document that are a value; longer ones are blobs.
const INLINE: usize = 32 << 10;
/// How much further revisions begin with each start: more than a machine gives in its life.
const REVISIONS: u64 = 1 << 32;

const ENTITY: &str = "entity/";
const NAMESPACE: &str = "namespace/";
const RECORD: &[u8] = b"record/";
const KEY: &str = "platform/key";
const REVISION: &str = "platform/revision";

/// First byte of a value that is the document.
const WHOLE: u8 = b'=';
/// First byte of a value that names a blob with the document.
const ELSEWHERE: u8 = b'>';
/// Behind that: code, as the name of its blob, or none.
const CODE: u8 = b'+';
const NO_CODE: u8 = b'-';

/// The store of a platform's state.
pub struct Keeper {
    store: Store,
    order: Arc<SpinMutex<Order>>,
    /// A number for each document on the disk, so that what stays the same is not written again.
    sums: SpinMutex<HashMap<FullName, Hash>>,
    /// The records on the disk, the oldest in front: the place that each has now, and the one that its key has.
    records: SpinMutex<VecDeque<(u64, u64)>>,
}

/// What a disk had.
#[derive(Default)]
pub struct Restored {
    /// Entities.
    pub entities: Vec<Entity>,
    /// Namespaces by name, as they were kept.
    pub namespaces: Vec<(String, Json)>,
    /// Records, the oldest first.
    pub records: Vec<Arc<Activation>>,
    /// The place that the first of them has from now on.
    pub first_record: u64,
    /// The key of the user `guest`.
    pub key: Option<String>,
    /// Revisions begin here.
    pub revision: u64,
    /// What could not be read, each with the reason.
    pub lost: Vec<String>,
}

/// Whose turn it is to queue a change for the disk.
#[derive(Default)]
struct Order {
    next: u64,
    now: u64,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
    /// Tickets after `now` that were given back.
    over: BTreeSet<u64>,
}

/// The place of a change among all; the next one's turn comes when it is dropped.
pub struct Ticket {
    number: u64,
    order: Arc<SpinMutex<Order>>,
}

impl Ticket {
    async fn turn(&self) {
        let waiting = {
            let mut order = self.order.lock();
            if order.now == self.number {
                return;
            }
            let (sender, waiting) = oneshot::channel();
            order.waiting.insert(self.number, sender);
            waiting
        };
        // Whoever has the turn before gives it on.
        let _ = waiting.await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut order = self.order.lock();
        order.waiting.remove(&self.number);
        order.over.insert(self.number);
        while {
            let now = order.now;
            order.over.remove(&now)
        } {
            order.now += 1;
        }
        let now = order.now;
        let next = order.waiting.remove(&now);
        drop(order);
        if let Some(next) = next {
            let _ = next.send(());
        }
    }
}

/// What was changed together, and what it is now.
pub struct Changed {
    ticket: Ticket,
    failed: Failed,
}

/// What could not be kept, as it was to be.
pub struct Failed {
    /// Entities.
    pub entities: Entities,
    /// Namespaces.
    pub namespaces: Vec<(Arc<str>, Option<Json>)>,
}

fn namespace_key(name: &str) -> String {
    format!("{NAMESPACE}{name}")
}

fn entity_key(name: &FullName) -> String {
    format!("{ENTITY}{name}")
}

fn record_key(place: u64) -> Vec<u8> {
    [RECORD, &place.to_be_bytes()].concat()
}

/// Entities by name, and what they were to be.
pub type Entities = Vec<(FullName, Option<Entity>)>;

/// A document and code with their numbers.
struct Document {
    kept: Kept,
    /// Of the document.
    hash: Hash,
    /// Of the code.
    code: Option<Hash>,
    /// Of both.
    sum: Hash,
}

impl Document {
    /// Takes as long as the code is large; other events run meanwhile.
    async fn of(kept: Kept) -> Self {
        let code = match &kept.code {
            Some(code) => Some(hash_in_pieces(code.as_str().as_bytes()).await),
            None => None,
        };
        let hash = hash_in_pieces(kept.document.as_str().as_bytes()).await;
        Self {
            kept,
            hash,
            code,
            sum: sum(&hash, code.as_ref()),
        }
    }

    fn put(self, batch: &mut Batch, key: impl AsRef<[u8]>) {
        let document = self.kept.document.as_str().as_bytes();
        let (mut value, mut blobs) = (Vec::new(), Vec::new());
        let is_long = document.len() > INLINE;
        value.push(if is_long { ELSEWHERE } else { WHOLE });
        if is_long {
            batch.known_blob(self.hash, document);
            value.extend(self.hash);
            blobs.push(self.hash);
        }
        match (self.code, &self.kept.code) {
            (Some(hash), Some(code)) => {
                batch.known_blob(hash, code.as_str().as_bytes());
                value.push(CODE);
                value.extend(hash);
                blobs.push(hash);
            }
            _ => value.push(NO_CODE),
        }
        if !is_long {
            value.extend(document);
        }
        batch.put_with(key, value, blobs);
    }
}

/// A number for a document and its code.
fn sum(document: &Hash, code: Option<&Hash>) -> Hash {
    ebb_store::hash(&[&document[..], code.map_or(&[], |code| &code[..])].concat())
}

fn text(bytes: Vec<u8>) -> Result<Json, String> {
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    Json::parse(&text)
}

fn taken_hash(rest: &mut &[u8]) -> Result<Hash, String> {
    let (hash, after) = rest.split_first_chunk().ok_or("it is cut short")?;
    *rest = after;
    Ok(*hash)
}

/// Reads a document, and the code that goes with it.
async fn get(store: &Store, key: &[u8]) -> Got {
    let said = |error: Error| format!("{error}");
    let Some(value) = store.get(key).await.map_err(said)? else {
        return Ok(None);
    };
    let (first, mut rest) = value.split_first().ok_or("it is empty")?;
    let elsewhere = match *first {
        WHOLE => None,
        ELSEWHERE => Some(taken_hash(&mut rest)?),
        other => return Err(format!("it begins with the byte {other}")),
    };
    let (second, mut rest) = rest.split_first().ok_or("it is cut short")?;
    let code_hash = match *second {
        CODE => Some(taken_hash(&mut rest)?),
        NO_CODE => None,
        other => return Err(format!("its second part begins with the byte {other}")),
    };
    let blob = async |hash: &Hash| {
        let blob = store.blob(hash).await.map_err(said)?;
        blob.ok_or_else(|| String::from("a part of it is missing"))
    };
    let document = match elsewhere {
        Some(hash) => blob(&hash).await?,
        None => rest.to_vec(),
    };
    let code = match code_hash {
        // It was checked when it was uploaded, and has a checksum.
        Some(hash) => Some(text(blob(&hash).await?)?),
        None => None,
    };
    let hash = match elsewhere {
        Some(hash) => hash,
        None => ebb_store::hash(&document),
    };
    let kept = Kept {
        document: text(document)?,
        code,
    };
    Ok(Some((kept, sum(&hash, code_hash.as_ref()))))
}

/// What came of reading a document.
type Got = Result<Option<(Kept, Hash)>, String>;

/// Reads documents, some at once: a disk that is asked for one after the other waits most of the time.
async fn get_all(store: &Store, keys: Vec<Box<[u8]>>) -> Vec<(Box<[u8]>, Got)> {
    /// So many reads are under way.
    const AT_ONCE: usize = 32;
    enum Read<F, T> {
        UnderWay(F),
        Done(T),
    }
    let mut all = Vec::with_capacity(keys.len());
    let mut keys = keys.into_iter();
    let mut reads = VecDeque::new();
    poll_fn(|task| {
        loop {
            while reads.len() < AT_ONCE
                && let Some(key) = keys.next()
            {
                reads.push_back(Read::UnderWay(Box::pin(async move {
                    let got = get(store, &key).await;
                    (key, got)
                })));
            }
            for read in &mut reads {
                if let Read::UnderWay(future) = read
                    && let Poll::Ready(got) = future.as_mut().poll(task)
                {
                    *read = Read::Done(got);
                }
            }
            let before = all.len();
            while let Some(Read::Done(_)) = reads.front() {
                if let Some(Read::Done(got)) = reads.pop_front() {
                    all.push(got);
                }
            }
            if reads.is_empty() && keys.len() == 0 {
                return Poll::Ready(());
            }
            if all.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
    all
}

impl Keeper {
    /// Opens the store of a disk, or makes one on an empty disk; `id` is random. The writer has to run for anything to be kept.
    ///
    /// # Errors
    /// A text that says what is wrong with the disk. It is not touched then.
    pub async fn open(
        device: Arc<dyn BlockDevice>,
        id: [u8; 16],
    ) -> Result<(Self, Writer, Vec<String>), String> {
        let opened = Store::open(device, id).await;
        let (store, writer, report) = opened.map_err(|error| format!("{error}"))?;
        let damage = report.damage.iter().map(|damage| format!("{damage:?}"));
        let keeper = Self {
            store,
            order: Arc::default(),
            sums: SpinMutex::default(),
            records: SpinMutex::default(),
        };
        Ok((keeper, writer, damage.collect()))
    }

    /// Reads all that is kept.
    ///
    /// # Errors
    /// The disk takes no writes.
    pub async fn restore(&self, runtimes: &Runtimes) -> Result<Restored, String> {
        let mut restored = Restored::default();
        let mut rules: HashMap<FullName, Vec<(FullName, FullName, bool)>> = HashMap::new();
        for (key, read) in get_all(&self.store, self.store.keys(ENTITY)).await {
            let read = match read {
                Ok(Some((kept, sum))) => kept::read(&kept, runtimes).map(|entity| (entity, sum)),
                Ok(None) => continue,
                Err(why) => Err(why),
            };
            match read {
                Ok((entity, sum)) => {
                    let name = entity.common().name.clone();
                    if let Entity::Rule(rule) = &entity {
                        let of_trigger = rules.entry_ref(&rule.trigger).or_default();
                        of_trigger.push((name.clone(), rule.action.clone(), rule.active));
                    }
                    self.sums.lock().insert(name, sum);
                    restored.entities.push(entity);
                }
                Err(why) => {
                    let key = String::from_utf8_lossy(&key);
                    restored.lost.push(format!("{key}: {why}"));
                }
            }
        }
        // A trigger's rules are those that name it.
        for entity in &mut restored.entities {
            if let Entity::Trigger(trigger) = entity {
                let trigger = Arc::make_mut(trigger);
                let own = rules.remove(&trigger.common.name).unwrap_or_default();
                trigger.rules = own
                    .into_iter()
                    .map(|(rule, action, active)| (rule, (action, active)))
                    .collect();
            }
        }
        for key in self.store.keys(NAMESPACE) {
            let shown = String::from_utf8_lossy(&key).into_owned();
            let name = shown.strip_prefix(NAMESPACE).unwrap_or_default();
            match self.kept_namespace(name).await {
                Ok(Some(kept)) => restored.namespaces.push((name.into(), kept)),
                Ok(None) => {}
                Err(why) => restored.lost.push(format!("{shown}: {why}")),
            }
        }
        let mut on_disk = Vec::new();
        for (key, read) in get_all(&self.store, self.store.keys(RECORD)).await {
            let Some(place) = key[RECORD.len()..].first_chunk() else {
                continue;
            };
            let place = u64::from_be_bytes(*place);
            restored.first_record = place + 1;
            let read = match read {
                Ok(kept) => kept.and_then(|(kept, _)| Activation::read(&kept.document)),
                Err(_) => None,
            };
            match read {
                Some(record) => {
                    on_disk.push(place);
                    restored.records.push(Arc::new(record));
                }
                None => restored
                    .lost
                    .push(format!("the record of activation {place}")),
            }
        }
        // Places are without gaps, keys may have some.
        *self.records.lock() = (restored.first_record..).zip(on_disk).collect();
        let said = |error: Error| format!("{error}");
        let key = self.store.get(KEY).await.map_err(said)?;
        restored.key = key.and_then(|key| String::from_utf8(key).ok());
        let stored = self.store.get(REVISION).await.map_err(said)?;
        let stored = stored.and_then(|bytes| Some(u64::from_le_bytes(*bytes.first_chunk()?)));
        restored.revision = stored.unwrap_or(0);
        let next = restored.revision + REVISIONS;
        let mut batch = Batch::default();
        batch.put(REVISION, next.to_le_bytes());
        self.store.commit(batch).await.map_err(said)?;
        Ok(restored)
    }

    /// Keeps the key of the user `guest`.
    ///
    /// # Errors
    /// That of the disk.
    pub async fn keep_key(&self, key: &str) -> Result<(), String> {
        let mut batch = Batch::default();
        batch.put(KEY, key);
        let done = self.store.commit(batch).await;
        done.map_err(|error| format!("{error}"))
    }

    /// What has changed in the controller since this was asked the last time; to be called before anybody else can change it again.
    pub fn changed(&self, controller: &mut Controller) -> Option<Changed> {
        let mut names = controller.store_mut().take_changed();
        let changed = controller.namespaces_mut().take_changed();
        if names.is_empty() && changed.is_empty() {
            return None;
        }
        let namespaces = changed.into_iter().map(|name| {
            let namespace = controller.namespaces().get(&name);
            let kept = namespace.map(Namespace::to_kept);
            (name, kept)
        });
        let namespaces = namespaces.collect();
        names.sort_unstable();
        names.dedup();
        let entities = names.into_iter().map(|name| {
            let entity = controller.store().get(&name).cloned();
            (name, entity)
        });
        let mut order = self.order.lock();
        order.next += 1;
        Some(Changed {
            ticket: Ticket {
                number: order.next - 1,
                order: Arc::clone(&self.order),
            },
            failed: Failed {
                entities: entities.collect(),
                namespaces,
            },
        })
    }

    /// Makes a change durable.
    ///
    /// # Errors
    /// It could not be; what it was, and why. The disk has what it had.
    pub async fn commit(&self, changed: Changed) -> Result<(), (Failed, Error)> {
        let Changed { ticket, failed } = changed;
        let entities = &failed.entities;
        let mut documents = Vec::with_capacity(entities.len());
        for (_, entity) in entities {
            documents.push(match entity {
                Some(entity) => Some(Document::of(kept::write(entity)).await),
                None => None,
            });
        }
        ticket.turn().await;
        let mut batch = Batch::default();
        let mut sums = self.sums.lock();
        for ((name, _), document) in entities.iter().zip(documents) {
            match document {
                Some(document) => {
                    if sums.insert(name.clone(), document.sum) != Some(document.sum) {
                        document.put(&mut batch, entity_key(name));
                    }
                }
                None => {
                    sums.remove(name);
                    batch.delete(entity_key(name));
                }
            }
        }
        drop(sums);
        for (name, kept) in &failed.namespaces {
            match kept {
                Some(kept) => batch.put(namespace_key(name), kept.as_str()),
                None => batch.delete(namespace_key(name)),
            };
        }
        let done = self.store.commit(batch);
        drop(ticket);
        done.await.map_err(|error| {
            let mut sums = self.sums.lock();
            for (name, _) in &failed.entities {
                sums.remove(name);
            }
            drop(sums);
            (failed, error)
        })
    }

    /// What the disk has of an entity, after a change of it could not be kept.
    pub async fn kept(&self, name: &FullName, runtimes: &Runtimes) -> Option<Entity> {
        let (kept, _) = get(&self.store, entity_key(name).as_bytes()).await.ok()??;
        kept::read(&kept, runtimes).ok()
    }

    /// What the disk has of a namespace.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn kept_namespace(&self, name: &str) -> Result<Option<Json>, String> {
        let read = self.store.get(namespace_key(name).as_bytes()).await;
        let bytes = read.map_err(|error| format!("{error}"))?;
        bytes.map(text).transpose()
    }

    /// Keeps records that came, and drops those that went.
    ///
    /// # Errors
    /// That of the disk: none of them is kept then.
    pub fn keep_records(
        &self,
        changes: Vec<Change>,
    ) -> impl Future<Output = Result<(), Error>> + use<> {
        let mut batch = Batch::default();
        let mut records = self.records.lock();
        for change in changes {
            match change {
                Change::Came(place, record) => {
                    let document = Kept {
                        document: record.to_json(true),
                        code: None,
                    };
                    let hash = match document.document.as_str().len() > INLINE {
                        true => ebb_store::hash(document.document.as_str().as_bytes()),
                        false => [0; 32],
                    };
                    let document = Document {
                        kept: document,
                        hash,
                        code: None,
                        sum: [0; 32],
                    };
                    document.put(&mut batch, record_key(place));
                    records.push_back((place, place));
                }
                Change::Went(place) => {
                    while let Some((_, key)) = records.pop_front_if(|(own, _)| *own <= place) {
                        batch.delete(record_key(key));
                    }
                }
            }
        }
        drop(records);
        self.store.commit(batch)
    }

    /// Ends when all that was committed before is on the disk; nothing can be kept then.
    pub async fn close(&self) {
        // A disk that failed has said so before.
        let _ = self.store.close().await;
    }

    /// For people: how much there is.
    pub fn stats(&self) -> ebb_store::Stats {
        self.store.stats()
    }
}

/// Brings back what a disk had, and follows changes from now on. What there is no room for is told in `lost`; what comes back are the
/// records that had to go.
pub fn bring_back(controller: &mut Controller, restored: &mut Restored) -> Vec<Change> {
    for (name, kept) in restored.namespaces.drain(..) {
        if let Err(why) = controller.namespaces_mut().restore(&name, &kept) {
            restored.lost.push(format!("{NAMESPACE}{name}: {why}"));
        }
    }
    for entity in restored.entities.drain(..) {
        let name = entity.common().name.clone();
        if let Err(failure) = controller.store_mut().insert(entity) {
            restored.lost.push(format!("{name}: {}", failure.text));
        }
    }
    controller.store_mut().begin_revisions(restored.revision);
    controller.store_mut().follow_changes();
    let records = controller.activations_mut();
    records.follow_changes(restored.first_record);
    for record in restored.records.drain(..) {
        records.insert(record);
    }
    // They are on the disk already; what had to go for them still has to go there.
    let changes = records.take_changes();
    changes
        .into_iter()
        .filter(|change| matches!(change, Change::Went(_)))
        .collect()
}
