//! Functions' snapshots on the disk: written when they have been captured, and read when the function is called and has none in
//! memory, so that a function is as fast after a restart as before.
//!
//! What must hold:
//! - a function's snapshot is what differs from a base, and is used with that very base: its name on the disk begins with that
//!   of the base's content;
//! - nothing waits for the disk but a call whose function has a snapshot there; what cannot be read is as if it was not there,
//!   and what is damaged is named: the store has a checksum of each piece, and none is looked at before that was right;
//! - what is read is of one writing ([`ebb_store::pieces`]), whatever is deleted or written meanwhile;
//! - snapshots are written one at a time, in the order in which they come. There are only those of bases that are on the disk;
//! - those that wait to be written take no more than [`MOST_DUE`] bytes, for the books do not count them once they are evicted: what
//!   comes when there are as many is not written.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use ebb::platform::Entropy;
use ebb::{EbbRef, ebb, println, spawn, time};
use ebb_block::{BlockDevice, Part};
use ebb_invoker::instance::{FunctionSnapshot, Instance, InstanceLimits, NotMade};
use ebb_invoker::state::disk_name;
use ebb_linux::Snapshot;
use ebb_linux::snapshot::{LINE_BYTES, RecordedLines, Restoring, Unusable};
use ebb_openwhisk::runtimes::Launch;
use ebb_store::pieces::{self, Body, ReadError, Reading, Record};
use ebb_store::{Batch, Error, Store};
use spin::mutex::SpinMutex;

use crate::guest::{ChannelIds, Frozen};
use crate::near::give_function;

const _: () = assert!(pieces::LINE == LINE_BYTES);
/// Pieces that are taken in before other events have their turn.
const TURN: usize = 16;
/// How long other events have the core between two snapshots that are written, and before it is looked again for a base that is
/// not on the disk yet.
const PAUSE: Duration = Duration::from_millis(2);
const BASE_PAUSE: Duration = Duration::from_millis(200);
/// Bytes of snapshots that wait for the disk.
const MOST_DUE: u64 = 64 << 20;
/// Batches of a snapshot that are under way: the store writes four at once, and four wait meanwhile.
const AT_ONCE: usize = 8;
/// How many keys are deleted at once.
const CLEARED: usize = 512;

impl FunctionSnapshot for Frozen {
    fn copy(&self, limits: InstanceLimits) -> Result<Box<dyn Instance>, NotMade> {
        Ok(Box::new(self.copy_function(limits)?))
    }

    fn memory_bytes(&self) -> u64 {
        self.own()
    }

    fn keep(&self, name: u128, cost_us: u64) {
        let (snapshot, channels) = self.parts();
        let same = Self::from_parts(snapshot.clone(), channels);
        EbbRef::<KeptFunctions>::get().keep(name, cost_us, same);
    }

    fn give(&self, base: u128) -> Option<ebb_invoker::pieces::Snapshot> {
        give_function(self, base)
    }
}

/// What is on the disk of a function, before the lines of its memory.
#[derive(BorshSerialize, BorshDeserialize)]
struct Written {
    /// How long it takes to start an instance without it.
    cost_us: u64,
    channels: ChannelIds,
    record: Vec<u8>,
}

/// A snapshot that is to be written.
struct Due {
    name: u128,
    cost_us: u64,
    frozen: Frozen,
    bytes: u64,
}

/// A base that is on the disk.
struct OnDisk {
    launch: Launch,
    base: Snapshot,
    content: u128,
}

#[derive(Default)]
struct Inner {
    store: Option<Store>,
    bases: Vec<OnDisk>,
    /// Bases that are being written.
    coming: Vec<Snapshot>,
    due: VecDeque<Due>,
    /// Bytes of these, and of the one that is being written.
    due_bytes: u64,
    /// How many there was no room for since the disk had caught up.
    passed_over: u64,
    writing: bool,
    told: bool,
}

/// Functions' snapshots on the disk.
#[ebb(shared)]
pub struct KeptFunctions {
    inner: SpinMutex<Inner>,
}

impl Default for KeptFunctions {
    fn default() -> Self {
        Self {
            inner: SpinMutex::new(Inner::default()),
        }
    }
}

/// What all keys of a function's snapshot begin with.
fn key_of(content: u128, name: u128) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&content.to_be_bytes());
    key[16..].copy_from_slice(&name.to_be_bytes());
    key
}

impl KeptFunctions {
    /// Opens what a part of a disk has of functions' snapshots of these bases, and forgets those of others.
    pub async fn open(&self, part: Part, contents: Vec<u128>) {
        if part.is_read_only() {
            return;
        }
        let mut id = [0; 16];
        EbbRef::<dyn Entropy>::get().fill(&mut id);
        let (store, writer, _) = match Store::open(Arc::new(part), id).await {
            Ok(opened) => opened,
            Err(why) => {
                println!("invoker: snapshots of functions are not kept: {why}");
                return;
            }
        };
        spawn(writer.run());
        self.inner.lock().store = Some(store.clone());
        let of_base = |key: &[u8]| {
            let content = key.first_chunk().copied().map(u128::from_be_bytes);
            content.is_some_and(|content| contents.contains(&content))
        };
        let keys = store.keys([]);
        let stale: Vec<_> = keys.iter().filter(|key| !of_base(key)).collect();
        for keys in stale.chunks(CLEARED) {
            let mut batch = Batch::default();
            keys.iter().for_each(|key| batch.delete(key));
            if store.commit(batch).await.is_err() {
                return;
            }
        }
    }

    /// Whether there is a disk for them, and it has been read.
    pub fn is_open(&self) -> bool {
        self.inner.lock().store.is_some()
    }

    /// A base is about to be written.
    pub fn base_is_coming(&self, base: &Frozen) {
        self.inner.lock().coming.push(base.parts().0.clone());
    }

    /// The base of a launch is on the disk, with this content; `None` when it could not be written.
    pub fn base_is_kept(&self, launch: &Launch, base: &Frozen, content: Option<u128>) {
        let base = base.parts().0;
        let mut inner = self.inner.lock();
        inner.coming.retain(|coming| !coming.is(base));
        if let Some(content) = content {
            inner.bases.push(OnDisk {
                launch: launch.clone(),
                base: base.clone(),
                content,
            });
        }
    }

    /// Writes a function's snapshot when its turn comes.
    pub fn keep(&self, name: u128, cost_us: u64, frozen: Frozen) {
        let bytes = frozen.own();
        let mut inner = self.inner.lock();
        if inner.store.is_none() {
            return;
        }
        if inner.writing && inner.due_bytes + bytes > MOST_DUE {
            inner.passed_over += 1;
            return;
        }
        inner.due_bytes += bytes;
        inner.due.push_back(Due {
            name,
            cost_us,
            frozen,
            bytes,
        });
        if !core::mem::replace(&mut inner.writing, true) {
            drop(inner);
            drop(spawn(write_due()));
        }
    }

    /// The next one to be written, and what its key begins with; with `None` in its place when its base is not on the disk yet.
    fn next_due(&self) -> Option<(Store, Due, Option<u128>)> {
        let mut inner = self.inner.lock();
        let store = inner.store.clone()?;
        while let Some(due) = inner.due.pop_front() {
            let root = due.frozen.parts().0.root();
            let base = inner.bases.iter().find(|on_disk| on_disk.base.is(root));
            let content = base.map(|on_disk| on_disk.content);
            if content.is_some() || inner.coming.iter().any(|base| base.is(root)) {
                return Some((store, due, content));
            }
            inner.due_bytes -= due.bytes;
        }
        inner.writing = false;
        let passed_over = core::mem::take(&mut inner.passed_over);
        drop(inner);
        if passed_over > 0 {
            println!(
                "invoker: {} took functions' snapshots more slowly than they came: {passed_over} were not kept on it",
                disk_name(FUNCTIONS)
            );
        }
        None
    }

    /// The snapshot that the disk has of a function, and how long it takes to start an instance without it.
    pub async fn read(&self, launch: &Launch, name: u128) -> Option<(Frozen, u64)> {
        let (store, base, content) = {
            let inner = self.inner.lock();
            let of_launch = |on_disk: &&OnDisk| on_disk.launch == *launch;
            let base = inner.bases.iter().find(of_launch)?;
            (inner.store.clone()?, base.base.clone(), base.content)
        };
        match read(&store, &base, key_of(content, name)).await {
            Ok(found) => found,
            Err(why) => {
                let disk = disk_name(FUNCTIONS);
                println!(
                    "invoker: a function's snapshot on {disk} cannot be used, and is made anew: {why}"
                );
                None
            }
        }
    }
}

/// The number of the disk that functions' snapshots are on.
const FUNCTIONS: usize = 1;

/// Reads a snapshot under this key; `None` where there is none, or not all of it.
async fn read(
    store: &Store,
    base: &Snapshot,
    key: [u8; 32],
) -> Result<Option<(Frozen, u64)>, String> {
    // It may be deleted or written anew while it is read.
    let told = |why: ReadError| match why {
        ReadError::Gone => Ok(None),
        ReadError::Piece { .. } => Err(why.to_string()),
    };
    let mut reading = match Reading::open(store, &key).await {
        Ok(Some(reading)) => reading,
        Ok(None) => return Ok(None),
        Err(why) => return told(why),
    };
    let written: Written = borsh::from_slice(&reading.head).map_err(|e| e.to_string())?;
    let unusable = |why: Unusable| why.to_string();
    let mut restoring = Restoring::new(&written.record).map_err(unusable)?;
    for taken in 1_usize.. {
        match reading.next().await {
            Ok(Some(lines)) => restoring.put_lines(&lines).map_err(unusable)?,
            Ok(None) => break,
            Err(why) => return told(why),
        }
        if taken.is_multiple_of(TURN) {
            ebb::yield_now().await;
        }
    }
    let snapshot = restoring.finish(Some(base)).map_err(unusable)?;
    let frozen = Frozen::from_parts(snapshot, written.channels);
    Ok(Some((frozen, written.cost_us)))
}

/// A snapshot's lines, which are written from where they lie.
struct Lines(RecordedLines);

impl Body for Lines {
    fn byte_count(&self) -> usize {
        self.0.byte_count()
    }

    fn append(&self, at: usize, count: usize, into: &mut Vec<u8>) {
        self.0.append(at, count, into);
    }
}

/// Writes what is due, one after the other.
async fn write_due() {
    let functions = EbbRef::<KeptFunctions>::get();
    while let Some((store, due, content)) = functions.next_due() {
        let Some(content) = content else {
            // It is being written, or cannot be.
            functions.inner.lock().due.push_back(due);
            time::sleep(BASE_PAUSE).await;
            continue;
        };
        let written = write(&store, content, &due).await;
        functions.inner.lock().due_bytes -= due.bytes;
        if let Err(why) = written {
            let mut inner = functions.inner.lock();
            if !core::mem::replace(&mut inner.told, true) {
                drop(inner);
                println!("invoker: a function's snapshot is not kept on the disk: {why}");
            }
        }
        time::sleep(PAUSE).await;
    }
}

async fn write(store: &Store, content: u128, due: &Due) -> Result<(), String> {
    let (snapshot, channels) = due.frozen.parts();
    let mut recording = snapshot.record();
    let mut pages = Vec::new();
    let refused = |what| format!("it has {what}, which cannot be written down");
    while recording.pages(usize::MAX, &mut pages).map_err(refused)? {}
    if !pages.is_empty() {
        // It is whole, so its base has nothing to do with it.
        return Ok(());
    }
    let lines = Lines(recording.lines());
    let written = Written {
        cost_us: due.cost_us,
        channels,
        record: recording.finish().map_err(refused)?,
    };
    let head = borsh::to_vec(&written).map_err(|error| error.to_string())?;
    let mut tag = [0; 16];
    EbbRef::<dyn Entropy>::get().fill(&mut tag);
    let Some(record) = Record::new(&key_of(content, due.name), tag, &head, &lines) else {
        return Ok(());
    };
    // Several, which the store writes together; the last one says that the others are there, and goes alone.
    let mut under_way = VecDeque::new();
    let mut batches = record.batches();
    let mut next = batches.next();
    while let Some(batch) = next {
        next = batches.next();
        if next.is_none() {
            for (batch, done) in under_way.drain(..) {
                committed(store, batch, done.await).await?;
            }
        }
        under_way.push_back((batch.clone(), store.commit(batch)));
        if under_way.len() == AT_ONCE
            && let Some((batch, done)) = under_way.pop_front()
        {
            committed(store, batch, done.await).await?;
        }
    }
    for (batch, done) in under_way {
        committed(store, batch, done.await).await?;
    }
    Ok(())
}

/// Sees to it that a batch is there which was to be committed: where there was no room, some is made.
async fn committed(store: &Store, batch: Batch, done: Result<(), Error>) -> Result<(), String> {
    let done = match done {
        Err(Error::Full) => {
            make_room(store).await?;
            store.commit(batch).await
        }
        done => done,
    };
    done.map_err(|error| error.to_string())
}

/// Forgets an eighth of all snapshots, chosen by chance, which their names are.
async fn make_room(store: &Store) -> Result<(), String> {
    let keys = store.keys([]);
    let mut left = keys.len().div_ceil(8);
    let mut random = [0; 1];
    EbbRef::<dyn Entropy>::get().fill(&mut random);
    let begin = keys.len() * usize::from(random[0]) / 256;
    for keys in keys[begin..].chunks(CLEARED) {
        let mut batch = Batch::default();
        let those = keys.iter().take(left);
        left -= those.len();
        those.for_each(|key| batch.delete(key));
        store.commit(batch).await.map_err(|e| e.to_string())?;
    }
    Ok(())
}
