//! Functions' snapshots on the disk: written when they have been captured, and read when the function is called and has none in
//! memory, so that a function is as fast after a restart as before.
//!
//! What must hold:
//! - a function's snapshot is what differs from a base, and is used with that very base: its name on the disk begins with that
//!   of the base's content;
//! - nothing waits for the disk but a call whose function has a snapshot there; what cannot be read is as if it was not there;
//! - snapshots are written one at a time, in the order in which they come. There are only those of bases that are on the disk.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use ebb::platform::Entropy;
use ebb::{EbbRef, ebb, println, spawn, time};
use ebb_block::{BlockDevice, Part};
use ebb_invoker::instance::{FunctionSnapshot, Instance, InstanceLimits, NotMade};
use ebb_linux::Snapshot;
use ebb_linux::snapshot::Restoring;
use ebb_openwhisk::runtimes::Launch;
use ebb_store::{Batch, Error, Store};
use spin::mutex::SpinMutex;

use crate::guest::{ChannelIds, Frozen};

/// Bytes of a value of the store.
const PIECE: usize = 60 << 10;
/// Pieces of a batch: the store takes 256 KiB at once.
const TOGETHER: usize = 4;
/// Bytes beyond which a snapshot is not written.
const LARGEST: usize = 32 << 20;
/// How long other events have the core between two snapshots that are written, and before it is looked again for a base that is
/// not on the disk yet.
const PAUSE: Duration = Duration::from_millis(2);
const BASE_PAUSE: Duration = Duration::from_millis(200);
/// How many keys are deleted at once.
const CLEARED: usize = 512;

impl FunctionSnapshot for Frozen {
    fn copy(&self, limits: InstanceLimits) -> Result<Box<dyn Instance>, NotMade> {
        Ok(Box::new(self.copy_guest(limits)?))
    }

    fn memory_bytes(&self) -> u64 {
        self.own()
    }

    fn keep(&self, name: u128, cost_us: u64) {
        let (snapshot, channels) = self.parts();
        let same = Self::from_parts(snapshot.clone(), channels);
        EbbRef::<KeptFunctions>::get().keep(name, cost_us, same);
    }
}

/// What is on the disk of a function.
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

/// The key of a piece.
fn piece_key(key: &[u8; 32], number: u32) -> Vec<u8> {
    [&key[..], &number.to_be_bytes()].concat()
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
        let mut inner = self.inner.lock();
        if inner.store.is_none() {
            return;
        }
        inner.due.push_back(Due {
            name,
            cost_us,
            frozen,
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
        }
        inner.writing = false;
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
        let key = key_of(content, name);
        let count = store.keys(key).len() as u32;
        let mut pieces = at_once((0..count).map(|number| store.get(piece_key(&key, number)))).await;
        let first = pieces.first_mut()?.take()?;
        let (expected, sum, rest) = beginning(&first)?;
        let mut bytes = Vec::with_capacity(count as usize * PIECE);
        bytes.extend_from_slice(rest);
        // One that was longer before may have left pieces behind it.
        for piece in pieces.get_mut(1..expected as usize)? {
            bytes.extend(piece.take()?);
        }
        // It may have been written anew between two pieces.
        if ebb_shelf::checksum(&bytes) != sum {
            return None;
        }
        let written: Written = borsh::from_slice(&bytes).ok()?;
        let restoring = Restoring::new(&written.record).ok()?;
        let snapshot = restoring.finish(Some(&base)).ok()?;
        Some((
            Frozen::from_parts(snapshot, written.channels),
            written.cost_us,
        ))
    }
}

/// What the disk gives for each of these reads, which are all under way at once.
async fn at_once<F>(reads: impl Iterator<Item = F>) -> Vec<Option<Vec<u8>>>
where
    F: Future<Output = Result<Option<Vec<u8>>, Error>>,
{
    let mut reads: Vec<_> = reads.map(|read| (Box::pin(read), None)).collect();
    poll_fn(|context| {
        let mut left = false;
        for (read, done) in &mut reads {
            if done.is_none() {
                match read.as_mut().poll(context) {
                    Poll::Ready(result) => *done = Some(result.ok().flatten()),
                    Poll::Pending => left = true,
                }
            }
        }
        match left {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    })
    .await;
    reads.into_iter().map(|(_, done)| done.flatten()).collect()
}

/// The number of pieces and the checksum that a first piece begins with, and what follows.
fn beginning(piece: &[u8]) -> Option<(u32, u128, &[u8])> {
    let (count, rest) = piece.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let count = u32::from_le_bytes(*count);
    let most = (LARGEST / PIECE) as u32 + 2;
    (count <= most).then(|| (count, u128::from_le_bytes(*sum), rest))
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
        if let Err(why) = write(&store, content, &due).await {
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
    let written = Written {
        cost_us: due.cost_us,
        channels,
        record: recording.finish().map_err(refused)?,
    };
    let mut bytes = Vec::with_capacity(written.record.len() + PIECE);
    borsh::to_writer(&mut bytes, &written).map_err(|error| error.to_string())?;
    if bytes.len() > LARGEST {
        return Ok(());
    }
    let pieces: Vec<&[u8]> = bytes.chunks(PIECE).collect();
    let mut first = (pieces.len() as u32).to_le_bytes().to_vec();
    first.extend_from_slice(&ebb_shelf::checksum(&bytes).to_le_bytes());
    let key = key_of(content, due.name);
    // The first one last: until it is there, whoever reads finds that the checksum is another one's, or nothing.
    let mut numbered: Vec<(usize, &[u8])> = pieces.iter().copied().enumerate().collect();
    numbered.rotate_left(1);
    for some in numbered.chunks(TOGETHER) {
        let batch = || {
            let mut batch = Batch::default();
            for (number, piece) in some {
                let value = match number {
                    0 => [&first[..], piece].concat(),
                    _ => piece.to_vec(),
                };
                batch.put(piece_key(&key, *number as u32), value);
            }
            batch
        };
        match store.commit(batch()).await {
            Err(Error::Full) => {
                make_room(store).await?;
                store.commit(batch()).await.map_err(|e| e.to_string())?;
            }
            done => done.map_err(|error| error.to_string())?,
        }
    }
    Ok(())
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
