#![no_std]
//! A store of small values and larger blobs on a disk ([`ebb_block`]): atomic batches, group commit, checksums.
//!
//! - [`Store::commit`] ends when its batch survives a power cut; until then nobody sees it. A batch is there as a whole or
//!   not at all, and batches are there in the order of their commits, without a gap.
//! - Batches that wait together are written and flushed together.
//! - Every byte that is read was checked. What is damaged is named ([`Store::damage`], [`Error::Damaged`]) and everything
//!   else is served.
//! - Values stay on the disk; memory holds the keys, and 64 bytes or so for each. A blob has the SHA-256 of its content as
//!   its name, is stored once, and goes when the last value that refers to it does.
//!
//! On the disk is a log in a ring (see `layout`). When it runs out of room, or is longer than twice what counts and 16 MiB,
//! what counts of its oldest part is written anew at its head.
//!
//! ```no_run
//! # async fn example(device: std::sync::Arc<dyn ebb_block::BlockDevice>, id: [u8; 16]) -> Result<(), Box<dyn core::error::Error>> {
//! let (store, writer, report) = ebb_store::Store::open(device, id).await?;
//! ebb_runtime::spawn(writer.run());
//! let mut batch = ebb_store::Batch::default();
//! let code = batch.blob(b"function main() {}".to_vec());
//! batch.put_with("action/guest/hello", b"nodejs:20".to_vec(), [code]);
//! store.commit(batch).await?;
//! assert_eq!(store.blob(&code).await?.as_deref(), Some(&b"function main() {}"[..]));
//! # Ok(()) }
//! ```

extern crate alloc;
extern crate ebb_runtime as ebb;

#[cfg(any(test, fuzzing))]
extern crate std;

mod checkpoint;
mod crc32c;
mod digest;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod index;
mod layout;
mod open;
pub mod pieces;
mod shared;
mod walk;
mod writer;

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};
use core::fmt;

use ebb::{EbbRef, platform::Entropy, sync::oneshot};
use ebb_block::{BLOCK, BlockDevice, Disks};
use sha2::{Digest, Sha256};
use spin::mutex::SpinMutex as Mutex;

use index::{Item, Location};
use layout::{Builder, FRAME, HEADER, KEY, LOG, REFERENCES, VALUE, is_digest};
use shared::{Inner, Queued, Shared};

pub use layout::Hash;
pub use open::{Damage, OpenError, Report, SMALLEST};
pub use writer::Writer;

/// Why a commit or a read failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no room. Batches that only delete are still taken.
    Full,
    /// A key, a value or a batch is larger than the store takes.
    TooLarge,
    /// A value refers to a blob that is neither stored nor in the batch.
    MissingBlob(Hash),
    /// The value or blob is damaged on the disk.
    Damaged,
    /// The disk failed. Of a batch that was answered so, nothing is there once a later one has been committed.
    Device(ebb_block::Error),
    /// The store was closed.
    Closed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the disk is full"),
            Self::TooLarge => f.write_str("a key, a value or a batch is too large for the store"),
            Self::MissingBlob(_) => f.write_str("a value refers to a blob that is not stored"),
            Self::Damaged => f.write_str("the value is damaged on the disk"),
            Self::Device(error) => error.fmt(f),
            Self::Closed => f.write_str("the store is closed"),
        }
    }
}

impl core::error::Error for Error {}

impl From<ebb_block::Error> for Error {
    fn from(error: ebb_block::Error) -> Self {
        match error {
            ebb_block::Error::NoSpace => Self::Full,
            error => Self::Device(error),
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Put {
        value: Vec<u8>,
        references: Box<[Hash]>,
        mark: u8,
    },
    Delete,
}

/// Changes that are made together. The last one of a key counts.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    changes: BTreeMap<Box<[u8]>, Change>,
    blobs: BTreeMap<Hash, Vec<u8>>,
    too_large: bool,
    /// Bytes of its entries, with those that others of the same key have replaced.
    most: usize,
}

impl Batch {
    /// Gives a key a value; keys have up to 1,024 bytes, values up to 64 KiB.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl Into<Vec<u8>>) {
        self.put_with(key, value, []);
    }

    /// The same with blobs that the value refers to.
    pub fn put_with(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl Into<Vec<u8>>,
        blobs: impl IntoIterator<Item = Hash>,
    ) {
        self.put_marked(key, value, blobs, 0);
    }

    /// The same with a mark that [`Store::visit`] shows: what of the value has to be known without reading it. It is 0 of what was
    /// put without one.
    pub fn put_marked(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl Into<Vec<u8>>,
        blobs: impl IntoIterator<Item = Hash>,
        mark: u8,
    ) {
        let (key, value) = (key.as_ref(), value.into());
        let references: Box<[Hash]> = blobs.into_iter().collect();
        self.too_large |= key.len() > KEY || value.len() > VALUE || references.len() > REFERENCES;
        self.most += Builder::cost(key.len(), references.len(), value.len());
        let change = Change::Put {
            value,
            references,
            mark,
        };
        self.changes.insert(key.into(), change);
    }

    /// Takes a key's value away.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) {
        let key = key.as_ref();
        self.too_large |= key.len() > KEY;
        self.most += Builder::cost(key.len(), 0, 0);
        self.changes.insert(key.into(), Change::Delete);
    }

    /// Brings a blob, which a value of the batch should refer to, and gives its name.
    pub fn blob(&mut self, bytes: impl Into<Vec<u8>>) -> Hash {
        let bytes = bytes.into();
        let hash = hash(&bytes);
        self.blobs.insert(hash, bytes);
        hash
    }

    /// The same for a blob whose name is known ([`hash_in_pieces`]).
    pub fn known_blob(&mut self, name: Hash, bytes: impl Into<Vec<u8>>) {
        self.blobs.insert(name, bytes.into());
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether another change of any size may be too much for it: changes that need not be made together then go in the next one.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.most + Builder::cost(KEY, REFERENCES, VALUE) + HEADER > FRAME
    }

    fn references(&self) -> impl Iterator<Item = Hash> {
        self.changes.values().flat_map(|change| match change {
            Change::Put { references, .. } => references.to_vec(),
            Change::Delete => Vec::new(),
        })
    }

    fn puts(&self) -> bool {
        self.changes
            .values()
            .any(|c| matches!(c, Change::Put { .. }))
    }

    /// Bytes of its entries.
    fn cost(&self) -> usize {
        let costs = self.changes.iter().map(|(key, change)| match change {
            Change::Put {
                value, references, ..
            } => Builder::cost(key.len(), references.len(), value.len()),
            Change::Delete => Builder::cost(key.len(), 0, 0),
        });
        costs.sum()
    }

    fn bytes(&self) -> usize {
        self.cost() + self.blobs.values().map(Vec::len).sum::<usize>()
    }
}

/// The name of a blob: its SHA-256.
#[must_use]
pub fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// The name of a large blob, computed in pieces between which other events run.
pub async fn hash_in_pieces(bytes: &[u8]) -> Hash {
    /// Bytes of a piece: a millisecond when emulated.
    const PIECE: usize = 64 << 10;
    let mut digest = Sha256::new();
    for (number, piece) in bytes.chunks(PIECE).enumerate() {
        if number > 0 {
            ebb::yield_now().await;
        }
        digest.update(piece);
    }
    digest.finalize().into()
}

/// What a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Keys that have values.
    pub keys: usize,
    /// Blobs.
    pub blobs: usize,
    /// Bytes that count, with what surrounds them.
    pub live: u64,
    /// Most of them that there is room for.
    pub limit: u64,
    /// Bytes of log, with what no longer counts.
    pub used: u64,
    /// Groups of batches committed since it was opened.
    pub commits: u64,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Bytes of its value.
    pub value: u32,
    /// Blobs that the value refers to.
    pub blobs: usize,
    /// What it was marked with.
    pub mark: u8,
}

/// A store. Clones are the same store; any core may use them.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

impl Store {
    /// Opens the store of a disk, or makes one on a disk of zeros; `id` is random and becomes the name of a new one. The
    /// writer's [`run`](Writer::run) has to be spawned for commits to end.
    ///
    /// # Errors
    /// See [`OpenError`]: a disk that is something else's is not touched.
    pub async fn open(
        device: Arc<dyn BlockDevice>,
        id: [u8; 16],
    ) -> Result<(Self, Writer, Report), OpenError> {
        let opened = open::open(&device, id).await?;
        let ring = opened.superblock.size - LOG;
        let shared = Arc::new(Shared {
            device: device.clone(),
            limit: (ring - 4 * FRAME as u64) / 100 * 85,
            inner: Mutex::new(Inner {
                index: opened.index,
                queue: Default::default(),
                writer: None,
                closing: None,
                closed: false,
                damage: opened.report.damage.clone(),
                tidy_failed: false,
                used: 0,
                commits: 0,
            }),
        });
        let writer = Writer::new(
            shared.clone(),
            device,
            opened.superblock,
            opened.head,
            opened.replayed,
        );
        Ok((Self(shared), writer, opened.report))
    }

    /// Opens the store on one of the machine's disks ([`ebb_block::Disks`]), or makes one there, and spawns its writer on this
    /// core.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`OpenError::Device`] when there is no such disk.
    pub async fn open_disk(number: usize) -> Result<(Self, Report), OpenError> {
        let device = EbbRef::<dyn Disks>::get().open(number)?;
        let mut id = [0; 16];
        EbbRef::<dyn Entropy>::get().fill(&mut id);
        let (store, writer, report) = Self::open(device, id).await?;
        ebb::spawn(writer.run());
        Ok((store, report))
    }

    /// Makes the changes of a batch. Begins at once; dropping the future does not take it back.
    ///
    /// # Errors
    /// See [`Error`]. Nothing was changed then.
    pub fn commit(&self, batch: Batch) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let begun = self.begin(batch);
        async move {
            match begun? {
                Some(done) => done.await.unwrap_or(Err(Error::Closed)),
                None => Ok(()),
            }
        }
    }

    fn begin(&self, batch: Batch) -> Result<Option<oneshot::Receiver<Result<(), Error>>>, Error> {
        if batch.is_empty() {
            return Ok(None);
        }
        if batch.too_large {
            return Err(Error::TooLarge);
        }
        writer::check(&batch)?;
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.0.inner.lock();
        if inner.closed {
            return Err(Error::Closed);
        }
        inner.queue.push_back(Queued {
            batch,
            done: sender,
        });
        let waker = inner.writer.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(Some(receiver))
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Damaged`], or that of the disk.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Error> {
        let key = key.as_ref();
        loop {
            let Some(item) = self.item(key) else {
                return Ok(None);
            };
            if item.lost {
                return Err(Error::Damaged);
            }
            if let Some(bytes) = self.bytes(item.location).await? {
                return Ok(Some(bytes));
            }
            // The log may have moved on under the read.
            if self
                .item(key)
                .is_some_and(|now| now.location == item.location)
            {
                self.note(Damage::Value(key.into()));
                return Err(Error::Damaged);
            }
        }
    }

    /// A blob.
    ///
    /// # Errors
    /// [`Error::Damaged`], or that of the disk.
    pub async fn blob(&self, hash: &Hash) -> Result<Option<Vec<u8>>, Error> {
        'again: loop {
            let Some(blob) = self.0.inner.lock().index.blobs.get(hash).cloned() else {
                return Ok(None);
            };
            if !blob.is_complete() {
                return Err(Error::Damaged);
            }
            let mut all = Vec::new();
            for location in blob.chunks.iter().flatten() {
                match self.bytes(*location).await? {
                    Some(bytes) => all.extend(bytes),
                    None => {
                        let inner = self.0.inner.lock();
                        let now = inner.index.blobs.get(hash);
                        if now.is_none_or(|now| now.chunks != blob.chunks) {
                            continue 'again;
                        }
                        drop(inner);
                        self.note(Damage::Blob(*hash));
                        return Err(Error::Damaged);
                    }
                }
            }
            if self::hash(&all) != *hash {
                self.note(Damage::Blob(*hash));
                return Err(Error::Damaged);
            }
            return Ok(Some(all));
        }
    }

    /// The keys that begin with `prefix`, in order.
    #[must_use]
    pub fn keys(&self, prefix: impl AsRef<[u8]>) -> Vec<Box<[u8]>> {
        let prefix = prefix.as_ref();
        let inner = self.0.inner.lock();
        let from = inner.index.items.range::<[u8], _>((
            core::ops::Bound::Included(prefix),
            core::ops::Bound::Unbounded,
        ));
        let keys = from.map(|(key, _)| key);
        keys.take_while(|key| key.starts_with(prefix))
            .cloned()
            .collect()
    }

    /// Shows the keys that begin with `prefix`, in order, with what is known of each without a look at the disk. Nobody else can
    /// use the store meanwhile.
    pub fn visit(&self, prefix: impl AsRef<[u8]>, mut visitor: impl FnMut(&[u8], Entry)) {
        let prefix = prefix.as_ref();
        let inner = self.0.inner.lock();
        let from = inner.index.items.range::<[u8], _>((
            core::ops::Bound::Included(prefix),
            core::ops::Bound::Unbounded,
        ));
        for (key, item) in from.take_while(|(key, _)| key.starts_with(prefix)) {
            let entry = Entry {
                value: item.location.length,
                blobs: item.references.len(),
                mark: item.mark,
            };
            visitor(key, entry);
        }
    }

    /// Whether there is a blob.
    #[must_use]
    pub fn has_blob(&self, hash: &Hash) -> bool {
        self.0.inner.lock().index.blobs.contains_key(hash)
    }

    /// What it holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let inner = self.0.inner.lock();
        Stats {
            keys: inner.index.items.len(),
            blobs: inner.index.blobs.len(),
            live: inner.index.live(),
            limit: self.0.limit,
            used: inner.used,
            commits: inner.commits,
        }
    }

    /// What was found damaged so far.
    #[must_use]
    pub fn damage(&self) -> Vec<Damage> {
        self.0.inner.lock().damage.clone()
    }

    /// Ends the writer once everything that was committed before is done. Later commits fail.
    ///
    /// # Errors
    /// That of the disk; what was acknowledged is there all the same.
    pub async fn close(&self) -> Result<(), Error> {
        let (sender, receiver) = oneshot::channel();
        let waker = {
            let mut inner = self.0.inner.lock();
            if inner.closed {
                return Err(Error::Closed);
            }
            inner.closed = true;
            inner.closing = Some(sender);
            inner.writer.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        receiver.await.unwrap_or(Err(Error::Closed))
    }

    fn item(&self, key: &[u8]) -> Option<Item> {
        self.0.inner.lock().index.items.get(key).cloned()
    }

    fn note(&self, damage: Damage) {
        let mut inner = self.0.inner.lock();
        if !inner.damage.contains(&damage) {
            inner.damage.push(damage);
        }
    }

    /// Reads bytes; `None` if they are not what they were.
    async fn bytes(&self, location: Location) -> Result<Option<Vec<u8>>, Error> {
        if location.length == 0 {
            return Ok(Some(Vec::new()));
        }
        let block = BLOCK as u64;
        let start = location.position / block * block;
        let end = (location.position + u64::from(location.length)).next_multiple_of(block);
        let mut bytes = match self.0.device.read(start, (end - start) as usize).await {
            Ok(bytes) => bytes,
            Err(ebb_block::Error::Io) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        bytes.drain(..(location.position - start) as usize);
        bytes.truncate(location.length as usize);
        Ok(is_digest(&bytes, location.sum).then_some(bytes))
    }
}
