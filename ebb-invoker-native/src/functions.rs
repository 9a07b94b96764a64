//! Functions' snapshots on the disk: written when they have been captured, and read when the function is called and has none in
//! memory, so that a function is as fast after a restart as before.
//!
//! What must hold:
//! - a function's snapshot is what differs from a base, and is used with that very base: its name on the disk begins with that
//!   of the base's content;
//! - nothing waits for the disk but a call whose function has a snapshot there; what cannot be read is as if it was not there,
//!   and what is damaged is named: the store has a checksum of each piece, and none is looked at before that was right;
//! - pieces are of one snapshot: each begins with the tag that was drawn when it was written;
//! - snapshots are written one at a time, in the order in which they come. There are only those of bases that are on the disk.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use ebb::platform::Entropy;
use ebb::{EbbRef, ebb, println, spawn, time};
use ebb_block::{BlockDevice, Part};
use ebb_invoker::instance::{FunctionSnapshot, Instance, InstanceLimits, NotMade};
use ebb_invoker::state::disk_name;
use ebb_linux::Snapshot;
use ebb_linux::snapshot::{LINE_BYTES, Restoring};
use ebb_openwhisk::runtimes::Launch;
use ebb_store::{Batch, Error, Store};
use spin::mutex::SpinMutex;

use crate::guest::{ChannelIds, Frozen};

/// Bytes of a snapshot in a value of the store: whole lines.
const PIECE: usize = 60 << 10;
const _: () = assert!(PIECE.is_multiple_of(LINE_BYTES));
/// Pieces that are read at once, as many as a disk has under way.
const READS: usize = 32;
/// Pieces that are taken in before other events have their turn.
const TURN: usize = 16;
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

/// Reads a snapshot whose pieces' keys begin with `key`; `None` where there is none, or not all of it.
async fn read(
    store: &Store,
    base: &Snapshot,
    key: [u8; 32],
) -> Result<Option<(Frozen, u64)>, String> {
    let count = store.keys(key).len() as u32;
    let reads = (0..count).map(|number| store.get(piece_key(&key, number)));
    let mut pieces = Ahead::new(reads);
    let (mut header, mut head) = (None, Vec::new());
    let mut restoring: Option<(Restoring, Written)> = None;
    let mut taken = 0;
    while let Some(piece) = pieces.next().await {
        let damaged = |error: Error| format!("piece {taken} of {count}: {error}");
        // It may have been deleted meanwhile, or written anew.
        let Some(piece) = piece.map_err(damaged)? else {
            return Ok(None);
        };
        let beginning = match header {
            None => Header::of_first(&piece),
            Some(header) => Header::of_later(header, &piece),
        };
        let Some((of_piece, mut bytes)) = beginning else {
            return Ok(None);
        };
        header = Some(of_piece);
        if restoring.is_none() {
            let some = bytes.len().min(of_piece.head as usize - head.len());
            head.extend_from_slice(&bytes[..some]);
            bytes = &bytes[some..];
            if head.len() == of_piece.head as usize {
                let written = head.get(..of_piece.used as usize).unwrap_or_default();
                let written: Written = borsh::from_slice(written).map_err(|e| e.to_string())?;
                let begun = Restoring::new(&written.record).map_err(|why| why.to_string())?;
                restoring = Some((begun, written));
            }
        }
        if let Some((restoring, _)) = &mut restoring {
            restoring.put_lines(bytes).map_err(|why| why.to_string())?;
        }
        taken += 1;
        // One that was longer before may have left pieces behind it.
        if taken == of_piece.count as usize {
            break;
        }
        if taken.is_multiple_of(TURN) {
            ebb::yield_now().await;
        }
    }
    let Some((restoring, written)) = restoring else {
        return Ok(None);
    };
    if header.is_none_or(|header| header.count as usize != taken) {
        return Ok(None);
    }
    let snapshot = restoring
        .finish(Some(base))
        .map_err(|why| why.to_string())?;
    let frozen = Frozen::from_parts(snapshot, written.channels);
    Ok(Some((frozen, written.cost_us)))
}

/// Reads that are begun before the ones in front of them have ended.
struct Ahead<I: Iterator<Item: Future>> {
    later: I,
    under_way: VecDeque<Begun<I::Item>>,
}

/// A read that was begun, or what it has come to.
enum Begun<F: Future> {
    Waits(Pin<Box<F>>),
    Ended(F::Output),
}

impl<I: Iterator<Item: Future>> Ahead<I> {
    fn new(reads: I) -> Self {
        Self {
            later: reads,
            under_way: VecDeque::new(),
        }
    }

    /// What the next read in order comes to.
    async fn next(&mut self) -> Option<<I::Item as Future>::Output> {
        while self.under_way.len() < READS
            && let Some(read) = self.later.next()
        {
            // Its first poll begins it.
            let mut read = Box::pin(read);
            let begun = poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await;
            self.under_way.push_back(match begun {
                Poll::Ready(result) => Begun::Ended(result),
                Poll::Pending => Begun::Waits(read),
            });
        }
        match self.under_way.pop_front()? {
            Begun::Waits(read) => Some(read.await),
            Begun::Ended(result) => Some(result),
        }
    }
}

/// What a first piece begins with; the others have the tag.
#[derive(Clone, Copy)]
struct Header {
    /// Drawn for each time that a snapshot is written.
    tag: [u8; 16],
    /// How many pieces there are.
    count: u32,
    /// Bytes of the head in whole lines, and how many of them are used.
    head: u32,
    used: u32,
}

impl Header {
    fn to_bytes(self) -> Vec<u8> {
        let numbers = [self.count, self.head, self.used].map(u32::to_le_bytes);
        [&self.tag, numbers.as_flattened()].concat()
    }

    /// That of a first piece, and what follows.
    fn of_first(piece: &[u8]) -> Option<(Self, &[u8])> {
        let (tag, rest) = piece.split_first_chunk()?;
        let (numbers, rest) = rest.split_first_chunk::<12>()?;
        let (numbers, _) = numbers.as_chunks();
        let &[count, head, used] = numbers else {
            return None;
        };
        let [count, head, used] = [count, head, used].map(u32::from_le_bytes);
        let tag = *tag;
        let header = Self {
            tag,
            count,
            head,
            used,
        };
        let most = (LARGEST / PIECE) as u32 + 2;
        (count <= most && used <= head && head as usize <= LARGEST).then_some((header, rest))
    }

    /// What a later piece of the same has.
    fn of_later(self, piece: &[u8]) -> Option<(Self, &[u8])> {
        let (tag, rest) = piece.split_first_chunk()?;
        (*tag == self.tag).then_some((self, rest))
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
    let lines = recording.lines();
    let written = Written {
        cost_us: due.cost_us,
        channels,
        record: recording.finish().map_err(refused)?,
    };
    let mut bytes = borsh::to_vec(&written).map_err(|error| error.to_string())?;
    let used = bytes.len() as u32;
    bytes.resize(bytes.len().next_multiple_of(LINE_BYTES), 0);
    let head = bytes.len() as u32;
    bytes.extend(lines);
    if bytes.len() > LARGEST {
        return Ok(());
    }
    let pieces: Vec<&[u8]> = bytes.chunks(PIECE).collect();
    let mut tag = [0; 16];
    EbbRef::<dyn Entropy>::get().fill(&mut tag);
    let header = Header {
        tag,
        count: pieces.len() as u32,
        head,
        used,
    };
    let key = key_of(content, due.name);
    // The first one last: until it is there, whoever reads finds that the tag is another one's, or nothing.
    let mut numbered: Vec<(usize, &[u8])> = pieces.iter().copied().enumerate().collect();
    numbered.rotate_left(1);
    for some in numbered.chunks(TOGETHER) {
        let batch = || {
            let mut batch = Batch::default();
            for (number, piece) in some {
                let value = match number {
                    0 => [&header.to_bytes(), *piece].concat(),
                    _ => [&header.tag[..], *piece].concat(),
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
