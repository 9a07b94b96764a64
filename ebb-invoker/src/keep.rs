//! What outlives the machine: entities, their code, the key of the first run, and the records of activations, in a store on a disk.
//!
//! | key | value |
//! |---|---|
//! | `entity/NAMESPACE/..` | the document of an entity ([`ebb_openwhisk::entity::kept`]) with its code; code of more than 4 KiB is a blob, once for equal code. The value's mark says what the entity is |
//! | `namespace/NAME` | a namespace: its limits, and a hash of its key ([`ebb_openwhisk::namespaces`]) |
//! | `record/` and the record's place, big endian | the record of an activation |
//! | `platform/certificate` | the certificate of `--tls` with its key, PEM |
//! | `platform/key` | the key of the user `guest`, if it was drawn |
//! | `platform/revision` | a number that no action's revision has reached |
//! | `platform/removal` | nothing, with a blob of the keys that are to go: a change with more of them than go at once |
//!
//! A document that is too long for a value is a blob as well, and the value says so.
//!
//! What must hold:
//! - A change is answered after it is durable. With the change goes a ticket, and changes are queued for the disk in the order of
//!   their tickets, so the disk has them in the order in which the API made them. None waits for the disk's work on another, so changes
//!   that wait together are flushed together.

mod document;
mod load;
mod order;

use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::future::Future;

use ebb_block::BlockDevice;
use ebb_openwhisk::Controller;
use ebb_openwhisk::activations::Change;
use ebb_openwhisk::entity::{Entity, absent::Expected, kept};
use ebb_openwhisk::json::Json;
use ebb_openwhisk::name::FullName;
use ebb_openwhisk::namespaces::Namespace;
use ebb_openwhisk::runtimes::Runtimes;
use ebb_store::{Batch, Error, Hash, Store, Writer};
use hashbrown::HashMap;
use spin::mutex::SpinMutex;

use document::{Document, get, text};
use load::Waiting;
use order::{Order, Ticket};

pub use load::{Holder, Loaded};

/// How much further revisions begin with each start: more than a machine gives in its life.
const REVISIONS: u64 = 1 << 32;

/// Bytes that an entity takes besides its document and code, about.
const SURROUNDINGS: u32 = 512;

const ENTITY: &str = "entity/";
const NAMESPACE: &str = "namespace/";
const RECORD: &[u8] = b"record/";
const KEY: &str = "platform/key";
const CERTIFICATE: &str = "platform/certificate";
const REVISION: &str = "platform/revision";
const REMOVAL: &str = "platform/removal";

/// Entities that go in one batch. Those of a namespace may be more than a batch of the store holds.
const AT_ONCE: usize = 1000;

/// The store of a platform's state.
pub struct Keeper {
    store: Store,
    order: Arc<SpinMutex<Order>>,
    /// A number for each trigger's document on the disk: those change with their rules, which are no part of the document, and what
    /// stays the same is not written again.
    sums: SpinMutex<HashMap<FullName, Hash>>,
    /// The places of the records that are to be read, the oldest first.
    records: SpinMutex<Vec<u64>>,
    waiting: SpinMutex<Waiting>,
    /// Where revisions begin at the next start, until a change is kept that was queued behind it: a start need not wait for a flush, for
    /// nobody is told of a revision before that.
    next_revision: SpinMutex<Option<u64>>,
}

/// What a disk has.
#[derive(Default)]
pub struct Restored {
    /// The entities, which are yet to be read.
    pub expected: Expected,
    /// Namespaces by name, as they were kept.
    pub namespaces: Vec<(String, Json)>,
    /// How many records are yet to be read.
    pub records: usize,
    /// The place that the next record has.
    pub next_record: u64,
    /// The key of the user `guest`.
    pub key: Option<String>,
    /// Revisions begin here.
    pub revision: u64,
    /// What could not be read, each with the reason.
    pub lost: Vec<String>,
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

impl Keeper {
    /// Opens the store of a disk, or makes one on an empty disk; `id` is random. The writer has to run for anything to be kept.
    ///
    /// # Errors
    /// A text that says what is wrong with the disk. It is not touched then.
    pub async fn open(
        device: Arc<dyn BlockDevice>,
        id: [u8; 16],
    ) -> Result<(Self, Writer, Vec<String>), String> {
        if device.is_read_only() {
            return Err("it cannot be written to".into());
        }
        let opened = Store::open(device, id).await;
        let (store, writer, report) = opened.map_err(|error| format!("{error}"))?;
        let damage = report.damage.iter().map(|damage| format!("{damage:?}"));
        let keeper = Self {
            store,
            order: Arc::default(),
            sums: SpinMutex::default(),
            records: SpinMutex::default(),
            waiting: SpinMutex::default(),
            next_revision: SpinMutex::default(),
        };
        Ok((keeper, writer, damage.collect()))
    }

    /// Reads what a platform needs to begin with, and which entities and records there are ([`Keeper::load`] reads them).
    ///
    /// # Errors
    /// The disk takes no writes.
    pub async fn restore(&self) -> Result<Restored, String> {
        let mut restored = Restored::default();
        if let Err(why) = self.finish_removal().await {
            restored.lost.push(format!("{REMOVAL}: {why}"));
        }
        self.store.visit(ENTITY, |key, entry| {
            match core::str::from_utf8(&key[ENTITY.len()..]) {
                Ok(path) => {
                    let may_be_rule = match entry.mark {
                        // No rule has code, which was a blob as long as there were no marks, nor is in a package.
                        0 => entry.blobs == 0 && path.bytes().filter(|b| *b == b'/').count() == 1,
                        mark => mark == document::RULE,
                    };
                    let bytes = entry.value + SURROUNDINGS;
                    restored.expected.push(path, bytes, may_be_rule);
                }
                Err(_) => {
                    let key = String::from_utf8_lossy(key);
                    restored.lost.push(format!("{key}: its name is not UTF-8"));
                }
            }
        });
        self.restore_namespaces(&mut restored).await;
        let places = self.store.keys(RECORD).into_iter();
        let places = places.filter_map(|key| key[RECORD.len()..].first_chunk().copied());
        let places: Vec<u64> = places.map(u64::from_be_bytes).collect();
        restored.records = places.len();
        restored.next_record = places.last().map_or(0, |last| last + 1);
        *self.records.lock() = places;
        let said = |error: Error| format!("{error}");
        let key = self.store.get(KEY).await.map_err(said)?;
        restored.key = key.and_then(|key| String::from_utf8(key).ok());
        let stored = self.store.get(REVISION).await.map_err(said)?;
        let stored = stored.and_then(|bytes| Some(u64::from_le_bytes(*bytes.first_chunk()?)));
        restored.revision = stored.unwrap_or(0);
        let next = restored.revision + REVISIONS;
        *self.next_revision.lock() = Some(next);
        let mut batch = Batch::default();
        batch.put(REVISION, next.to_le_bytes());
        // It begins at once. If it fails, the first change makes up for it.
        drop(self.store.commit(batch));
        Ok(restored)
    }

    /// Ends what a power cut has interrupted.
    async fn finish_removal(&self) -> Result<(), String> {
        let said = |error: Error| format!("{error}");
        let Some(hash) = self.store.get(REMOVAL).await.map_err(said)? else {
            return Ok(());
        };
        let hash = hash.first_chunk().copied().unwrap_or_default();
        let list = self.store.blob(&hash).await.map_err(said)?;
        let list = String::from_utf8(list.unwrap_or_default()).unwrap_or_default();
        let keys: Vec<String> = list.lines().map(String::from).collect();
        self.remove(&keys).await.map_err(said)
    }

    /// Takes keys away in several batches, and the note that says so with the last of them.
    async fn remove(&self, keys: &[String]) -> Result<(), Error> {
        let mut left = keys.len();
        for some in keys.chunks(AT_ONCE) {
            let mut batch = Batch::default();
            some.iter().for_each(|key| batch.delete(key));
            left -= some.len();
            if left == 0 {
                batch.delete(REMOVAL);
            }
            self.store.commit(batch).await?;
        }
        Ok(())
    }

    /// Makes a change durable that takes away more than a batch holds: first everything else with a note of what is to go, so that
    /// all of it goes or nothing does, whenever the power does. On a full disk there is no room for the note, and a power cut may leave
    /// a part.
    async fn commit_many(&self, mut batch: Batch, gone: &[String]) -> Result<(), Error> {
        let list = batch.blob(gone.join("\n").into_bytes());
        batch.put_with(REMOVAL, list, [list]);
        match self.store.commit(batch).await {
            Ok(()) | Err(Error::Full) => self.remove(gone).await,
            Err(error) => Err(error),
        }
    }

    async fn restore_namespaces(&self, restored: &mut Restored) {
        let names = self.store.keys(NAMESPACE).into_iter();
        let mut names =
            names.map(|key| String::from_utf8_lossy(&key[NAMESPACE.len()..]).into_owned());
        let mut reads = Vec::new();
        loop {
            while reads.len() < load::AT_ONCE
                && let Some(name) = names.next()
            {
                reads.push(alloc::boxed::Box::pin(async move {
                    let kept = self.kept_namespace(&name).await;
                    (name, kept)
                }));
            }
            if reads.is_empty() {
                return;
            }
            match load::first(&mut reads).await {
                (name, Ok(Some(kept))) => restored.namespaces.push((name, kept)),
                (_, Ok(None)) => {}
                (name, Err(why)) => restored.lost.push(format!("{NAMESPACE}{name}: {why}")),
            }
        }
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

    /// The certificate of `--tls` with its key, PEM.
    ///
    /// # Errors
    /// That of the disk.
    pub async fn certificate(&self) -> Result<Option<String>, String> {
        let kept = self.store.get(CERTIFICATE).await;
        let kept = kept.map_err(|error| format!("{error}"))?;
        Ok(kept.and_then(|text| String::from_utf8(text).ok()))
    }

    /// Keeps another.
    ///
    /// # Errors
    /// That of the disk.
    pub async fn keep_certificate(&self, pem: &str) -> Result<(), String> {
        let mut batch = Batch::default();
        batch.put(CERTIFICATE, pem);
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
            let entity = controller.store().held(&name).cloned();
            (name, entity)
        });
        Some(Changed {
            ticket: Ticket::next(&self.order),
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
        let mut room = document::HERE;
        for (_, entity) in entities {
            documents.push(match entity {
                Some(entity) => Some(Document::of(entity, &mut room).await),
                None => None,
            });
        }
        ticket.turn().await;
        let mut batch = Batch::default();
        let next_revision = *self.next_revision.lock();
        if let Some(next) = next_revision
            && entities.iter().any(|(_, entity)| entity.is_some())
        {
            batch.put(REVISION, next.to_le_bytes());
        }
        let mut gone = Vec::new();
        let mut sums = self.sums.lock();
        for ((name, entity), document) in entities.iter().zip(documents) {
            match document {
                Some(document) => {
                    let compared = match entity {
                        Some(Entity::Trigger(_)) => document.hash,
                        _ => None,
                    };
                    let is_kept =
                        compared.is_some_and(|hash| sums.insert(name.clone(), hash) == Some(hash));
                    if !is_kept {
                        document.put(&mut batch, entity_key(name));
                    }
                }
                None => {
                    sums.remove(name);
                    gone.push(entity_key(name));
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
        let done = if gone.len() > AT_ONCE {
            // Nothing else is changed meanwhile.
            let done = self.commit_many(batch, &gone).await;
            drop(ticket);
            done
        } else {
            gone.iter().for_each(|key| batch.delete(key));
            let done = self.store.commit(batch);
            drop(ticket);
            done.await
        };
        if done.is_ok() && failed.entities.iter().any(|(_, entity)| entity.is_some()) {
            // Whoever took it has kept it, or nothing.
            self.next_revision
                .lock()
                .take_if(|next| Some(*next) == next_revision);
        }
        done.map_err(|error| {
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
    /// That of the disk: some of them are not kept then.
    pub fn keep_records(
        &self,
        changes: Vec<Change>,
    ) -> impl Future<Output = Result<(), Error>> + use<> {
        let store = self.store.clone();
        async move {
            let (mut batch, mut result) = (Batch::default(), Ok(()));
            for change in changes {
                match change {
                    Change::Came(place, record) => {
                        Document::plain(record.to_json(true)).put(&mut batch, record_key(place));
                    }
                    Change::Went(place) => batch.delete(record_key(place)),
                }
                if batch.is_full() {
                    // One at a time: changes that somebody waits for come between them.
                    result = result.and(store.commit(core::mem::take(&mut batch)).await);
                }
            }
            result.and(store.commit(batch).await)
        }
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

/// Brings back what a disk has, and follows changes from now on. Entities and records are expected: [`Keeper::load`] brings them.
/// What cannot be brought back is told in `lost`.
pub fn bring_back(controller: &mut Controller, restored: &mut Restored) {
    for (name, kept) in restored.namespaces.drain(..) {
        if let Err(why) = controller.namespaces_mut().restore(&name, &kept) {
            restored.lost.push(format!("{NAMESPACE}{name}: {why}"));
        }
    }
    let store = controller.store_mut();
    store.expect(core::mem::take(&mut restored.expected));
    store.begin_revisions(restored.revision);
    store.follow_changes();
    let records = controller.activations_mut();
    records.follow_changes(restored.next_record, restored.records);
}
