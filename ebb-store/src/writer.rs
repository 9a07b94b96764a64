//! The writer: groups of batches become frames, frames are written and flushed together, and the tail of the log is
//! written anew at its head when room is needed.
//!
//! What must hold: the index changes only after the flush that makes a change last; a part of the ring is written only
//! after a superblock whose tail is beyond it was flushed; frames whose flush failed are wiped before another is written.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec,
    vec::Vec,
};
use core::{future::poll_fn, task::Poll};

use ebb::sync::oneshot;
use ebb_block::{BLOCK, BlockDevice, Pending};

use crate::{
    Batch, Change, Error,
    checkpoint::{self, Cursor},
    index::Location,
    layout::{
        Builder, CHUNK, Checkpoint, ChunkKey, FRAME, Hash, Kind, LAYOUT, LOG, Place, SUPERBLOCKS,
        Superblock,
    },
    open::Damage,
    shared::{Queued, Shared},
    walk::{Next, UNFLUSHED, Walk, after},
};

/// Bytes that only cleaning may use.
const RESERVE: u64 = 2 * FRAME as u64;
/// Bytes of the log beyond twice what counts before it is cleaned without need.
const SLACK: u64 = 16 << 20;
/// Bytes of batches that are committed together.
const GROUP: usize = 1 << 20;
/// Bytes of log after which the superblock learns where it is.
const HINT: u64 = 16 << 20;
/// Bytes of commits after which a checkpoint is made when nothing else is to be done, if the last one had not more.
const CHECKPOINT: u64 = 4 << 20;
/// So many times that is the most that opening has to read beside a checkpoint: then one is made whatever waits.
const OVERDUE: u64 = 8;

/// Writes what is committed. Its [`run`](Self::run) is to be spawned once.
pub struct Writer {
    pub(crate) shared: Arc<Shared>,
    device: Arc<dyn BlockDevice>,
    superblock: Superblock,
    /// Where the next frame goes, and the sequence number it gets.
    head: Place,
    /// The head when everything before it was flushed and in the index.
    applied: Place,
    /// Positions of frames written since.
    unapplied: Vec<u64>,
    /// What they say.
    pending: Vec<Frame>,
    /// Bytes of them.
    unflushed: u64,
    /// Whether they are to be wiped, for a write or a flush has failed.
    failed: bool,
    since_hint: u64,
    /// Bytes of log since the last checkpoint.
    since_checkpoint: u64,
    /// The part of them that commits have written.
    committed: u64,
    /// Bytes after which one is made.
    checkpoint_after: u64,
    /// What [`CHECKPOINT`] is here.
    checkpoint_least: u64,
    /// Writes under way.
    writes: Vec<Pending<()>>,
}

enum Work {
    Group(Vec<Queued>),
    Tidy,
    Checkpoint,
    Close(oneshot::Sender<Result<(), Error>>),
}

/// A change that was put into a frame.
struct Planned {
    kind: Kind,
    mark: u8,
    key: Box<[u8]>,
    references: Box<[Hash]>,
    location: Location,
    lost: bool,
}

/// A frame in the making, or written and not yet flushed.
#[derive(Default)]
struct Frame {
    builder: Builder,
    planned: Vec<Planned>,
    /// Its values come from an older frame.
    moved: bool,
    /// Told when it is safe: the batches that end with it.
    done: Vec<oneshot::Sender<Result<(), Error>>>,
}

/// Frames in the making, in order.
#[derive(Default)]
struct Plan {
    frames: Vec<Frame>,
}

impl Plan {
    /// The last frame, if so much more fits, else a new one.
    fn frame(&mut self, cost: usize) -> &mut Frame {
        if self.frames.last().is_none_or(|f| !f.builder.fits(cost)) {
            self.frames.push(Frame::default());
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    fn add(&mut self, kind: Kind, mark: u8, key: &[u8], references: &[Hash], value: &[u8]) {
        let frame = self.frame(Builder::cost(key.len(), references.len(), value.len()));
        frame.builder.add(kind, mark, key, references, value);
        frame.planned.push(Planned {
            kind,
            mark,
            key: key.into(),
            references: references.into(),
            location: Location {
                position: 0,
                length: value.len() as u32,
                sum: 0,
            },
            lost: kind == Kind::Lost,
        });
    }
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        device: Arc<dyn BlockDevice>,
        superblock: Superblock,
        head: Place,
        replayed: u64,
    ) -> Self {
        let this = Self {
            shared,
            device,
            superblock,
            head,
            applied: head,
            unapplied: Vec::new(),
            pending: Vec::new(),
            unflushed: 0,
            failed: false,
            since_hint: 0,
            since_checkpoint: replayed,
            committed: replayed,
            checkpoint_after: CHECKPOINT,
            checkpoint_least: CHECKPOINT,
            writes: Vec::new(),
        };
        this.say_used();
        this
    }

    /// Sets after how many bytes of commits it writes down where everything is, so that the next opening need not find out:
    /// 4 MiB when not set; never with `u64::MAX`.
    #[must_use]
    pub fn checkpoint_after(mut self, bytes: u64) -> Self {
        self.checkpoint_least = bytes;
        self.checkpoint_after = bytes;
        self
    }

    /// Commits batches until the store is closed.
    pub async fn run(mut self) {
        loop {
            match self.work().await {
                Work::Group(group) => self.commit(group).await,
                Work::Tidy => {
                    let before = self.superblock.tail;
                    if self.repair().await.is_err()
                        || self.clean().await.is_err()
                        || self.superblock.tail == before
                    {
                        self.shared.inner.lock().tidy_failed = true;
                    }
                }
                Work::Checkpoint => self.try_checkpoint().await,
                Work::Close(done) => {
                    let result = self.close().await;
                    let _ = done.send(result);
                    return;
                }
            }
        }
    }

    async fn work(&mut self) -> Work {
        let used = self.used();
        poll_fn(|context| {
            let mut inner = self.shared.inner.lock();
            if !inner.queue.is_empty() {
                inner.tidy_failed = false;
                let mut bytes = 0;
                let mut group = Vec::new();
                while let Some(queued) = inner
                    .queue
                    .pop_front_if(|q| bytes == 0 || bytes + q.batch.bytes() <= GROUP)
                {
                    bytes += queued.batch.bytes().max(1);
                    group.push(queued);
                }
                return Poll::Ready(Work::Group(group));
            }
            if let Some(done) = inner.closing.take() {
                return Poll::Ready(Work::Close(done));
            }
            if self.committed >= self.checkpoint_after {
                return Poll::Ready(Work::Checkpoint);
            }
            if used > 2 * inner.index.live() + SLACK && !inner.tidy_failed {
                return Poll::Ready(Work::Tidy);
            }
            inner.writer = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    async fn close(&mut self) -> Result<(), Error> {
        self.repair().await?;
        if self.since_checkpoint > 0 && self.checkpoint_least < u64::MAX {
            // Opening does without.
            let _ = self.checkpoint().await;
            self.repair().await?;
        }
        self.write_superblock(self.superblock.tail).await?;
        Ok(self.device.flush().await?)
    }

    // --- Checkpoints ---------------------------------------------------------------------------------------

    /// Makes a checkpoint, or does without until as much has been committed again.
    async fn try_checkpoint(&mut self) {
        if self.checkpoint().await.is_err() {
            self.failed |= !self.unapplied.is_empty();
        }
        self.committed = 0;
        self.since_checkpoint = 0;
        self.say_used();
    }

    async fn checkpoint(&mut self) -> Result<(), Error> {
        self.repair().await?;
        let bytes = checkpoint::bytes(&self.shared.inner.lock().index);
        self.checkpoint_after = self.checkpoint_least.max(bytes);
        // Where it would take much of the disk, the log is soon read.
        if bytes == 0 || bytes > self.ring() / 8 {
            return Ok(());
        }
        self.upgrade().await?;
        self.make_room(bytes + 2 * FRAME as u64).await?;
        let mut first = None;
        let (mut cursor, mut frames) = (Cursor::default(), 0);
        while !matches!(cursor, Cursor::End) {
            if self.unflushed >= UNFLUSHED {
                self.flush().await?;
            }
            let builder = checkpoint::fill(&self.shared.inner.lock().index, &mut cursor);
            let sequence = self.head.sequence;
            self.append(Frame {
                builder,
                ..Frame::default()
            })?;
            let position = self.unapplied.last().copied().unwrap_or(LOG);
            first = first.or(Some(Place { position, sequence }));
            frames += 1;
        }
        self.flush().await?;
        if let Some(first) = first {
            self.superblock.checkpoint = Some(Checkpoint { first, frames });
        }
        self.write_superblock(self.superblock.tail).await?;
        self.committed = 0;
        self.since_checkpoint = 0;
        Ok(())
    }

    // --- The ring ------------------------------------------------------------------------------------------

    fn ring(&self) -> u64 {
        self.superblock.size - LOG
    }

    fn used(&self) -> u64 {
        let (head, tail) = (self.head.position, self.superblock.tail.position);
        if head >= tail {
            head - tail
        } else {
            self.ring() - (tail - head)
        }
    }

    fn say_used(&self) {
        self.shared.inner.lock().used = self.used();
    }

    /// Where a frame of so many bytes goes. The head never reaches the tail from behind.
    fn place(&self, length: u64) -> Option<u64> {
        let (head, tail) = (self.head.position, self.superblock.tail.position);
        if head < tail {
            return (tail - head > length).then_some(head);
        }
        if self.superblock.size - head >= length {
            // It may end the ring only if the tail is not at its beginning.
            let ends = self.superblock.size - head == length;
            return (!ends || tail != LOG).then_some(head);
        }
        (tail - LOG > length).then_some(LOG)
    }

    // --- Commits -------------------------------------------------------------------------------------------

    async fn commit(&mut self, group: Vec<Queued>) {
        let ready = match self.repair().await {
            Ok(()) => self.upgrade().await,
            failed => failed,
        };
        if let Err(error) = ready {
            for queued in group {
                let _ = queued.done.send(Err(error));
            }
            return;
        }
        if self.since_checkpoint >= self.checkpoint_after.saturating_mul(OVERDUE) {
            self.try_checkpoint().await;
        }
        let plan = self.plan(group);
        self.write_plan(plan).await;
        self.shared.inner.lock().index.collect();
        self.say_used();
    }

    /// Says the layout before a frame is written that an older one does not know.
    async fn upgrade(&mut self) -> Result<(), Error> {
        if self.superblock.layout < LAYOUT {
            self.write_superblock(self.superblock.tail).await?;
            self.device.flush().await?;
        }
        Ok(())
    }

    /// Turns batches into frames; those that cannot be are answered.
    fn plan(&self, group: Vec<Queued>) -> Plan {
        let mut plan = Plan::default();
        let mut fresh = BTreeSet::new();
        let inner = self.shared.inner.lock();
        let mut live = inner.index.live();
        for Queued { batch, done } in group {
            let known = |hash: &Hash| {
                let blob = inner.index.blobs.get(hash);
                blob.is_some_and(|b| b.references > 0 && b.is_complete())
            };
            let brought: BTreeMap<Hash, &Vec<u8>> = batch
                .blobs
                .iter()
                .filter(|(h, _)| !known(h) && !fresh.contains(*h))
                .map(|(h, b)| (*h, b))
                .collect();
            let referred: BTreeSet<Hash> = batch.references().collect();
            if let Some(missing) = referred
                .iter()
                .find(|h| !known(h) && !fresh.contains(*h) && !brought.contains_key(*h))
            {
                let _ = done.send(Err(Error::MissingBlob(*missing)));
                continue;
            }
            let blobs = brought.iter().filter(|(h, _)| referred.contains(*h));
            let more = batch.cost() as u64
                + blobs
                    .clone()
                    .map(|(_, b)| b.len() as u64 + 256)
                    .sum::<u64>();
            if batch.puts() && live + more > self.shared.limit {
                let _ = done.send(Err(Error::Full));
                continue;
            }
            live += more;
            for (hash, bytes) in blobs {
                let mut pieces: Vec<&[u8]> = bytes.chunks(CHUNK).collect();
                if pieces.is_empty() {
                    pieces.push(&[]);
                }
                for (index, piece) in pieces.into_iter().enumerate() {
                    let key = ChunkKey {
                        hash: *hash,
                        index: index as u32,
                        total: bytes.len() as u64,
                    };
                    plan.add(Kind::Chunk, 0, &key.encode(), &[], piece);
                }
                fresh.insert(*hash);
            }
            // A batch is in one frame: it is there as a whole or not at all.
            plan.frame(batch.cost());
            for (key, change) in &batch.changes {
                match change {
                    Change::Put {
                        value,
                        references,
                        mark,
                    } => plan.add(Kind::Put, *mark, key, references, value),
                    Change::Delete => plan.add(Kind::Delete, 0, key, &[], &[]),
                }
            }
            if let Some(frame) = plan.frames.last_mut() {
                frame.done.push(done);
            }
        }
        plan
    }

    /// Writes frames, and tells their batches how it went.
    async fn write_plan(&mut self, plan: Plan) {
        let mut frames = plan.frames.into_iter();
        let lengths = frames.as_slice().iter().map(|f| f.builder.length() as u64);
        // No cleaning in between: it would write old values behind new ones.
        let mut result = self.make_room(lengths.sum()).await;
        while result.is_ok()
            && let Some(frame) = frames.next()
        {
            if self.unflushed >= UNFLUSHED {
                result = self.flush().await;
            }
            match result {
                Ok(()) => result = self.append(frame),
                Err(error) => tell(frame, Err(error)),
            }
        }
        if result.is_ok() {
            result = self.flush().await;
        }
        if let Err(error) = result {
            self.failed |= !self.unapplied.is_empty();
            for frame in self.pending.drain(..).chain(frames) {
                tell(frame, Err(error));
            }
        } else if self.since_hint >= HINT {
            // What was committed is safe without it.
            let _ = self.write_superblock(self.superblock.tail).await;
        }
    }

    /// Begins to write a frame at the head.
    fn append(&mut self, mut frame: Frame) -> Result<(), Error> {
        let length = frame.builder.length();
        let Some(position) = self.place(length as u64) else {
            tell(frame, Err(Error::Full));
            return Err(Error::Full);
        };
        let builder = core::mem::take(&mut frame.builder);
        let places = builder.places.clone();
        let durable = self.applied.sequence - 1;
        let (bytes, values) = builder.finish(&self.superblock.store, self.head.sequence, durable);
        for (planned, (at, sum)) in frame.planned.iter_mut().zip(places) {
            planned.location.position = position + (values + at) as u64;
            planned.location.sum = sum;
        }
        let moved = frame.moved;
        self.pending.push(frame);
        self.unapplied.push(position);
        self.unflushed += length as u64;
        self.since_hint += length as u64;
        self.since_checkpoint += length as u64;
        if !moved {
            self.committed += length as u64;
        }
        self.writes.push(self.device.write(position, bytes));
        self.head = Place {
            position: after(position, length, self.superblock.size),
            sequence: self.head.sequence + 1,
        };
        Ok(())
    }

    /// Makes the frames written so far last, puts what they say into the index and tells their batches.
    async fn flush(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        // All of them, even after one has failed: none may be under way when its place is wiped.
        for write in core::mem::take(&mut self.writes) {
            result = result.and(write.await);
        }
        result?;
        self.device.flush().await?;
        self.unflushed = 0;
        self.unapplied.clear();
        self.applied = self.head;
        let mut inner = self.shared.inner.lock();
        // Frames of a checkpoint change nothing.
        inner.commits += u64::from(self.pending.iter().any(|f| !f.planned.is_empty()));
        for frame in &self.pending {
            for p in &frame.planned {
                if frame.moved {
                    inner.index.relocate(p.kind, &p.key, p.location, p.lost);
                } else {
                    inner
                        .index
                        .apply((p.kind, p.mark), &p.key, &p.references, p.location, p.lost);
                }
            }
        }
        drop(inner);
        for frame in self.pending.drain(..) {
            tell(frame, Ok(()));
        }
        Ok(())
    }

    /// Wipes frames whose fate is open since a write or a flush failed.
    async fn repair(&mut self) -> Result<(), Error> {
        if !self.failed {
            return Ok(());
        }
        for write in core::mem::take(&mut self.writes) {
            let _ = write.await;
        }
        self.pending.clear();
        for position in &self.unapplied {
            self.device.write(*position, vec![0; BLOCK]).await?;
        }
        self.device.flush().await?;
        self.unapplied.clear();
        self.unflushed = 0;
        self.head = self.applied;
        self.failed = false;
        Ok(())
    }

    // --- Room ----------------------------------------------------------------------------------------------

    /// Cleans until so many bytes of frames fit, whatever the ring's end wastes.
    async fn make_room(&mut self, length: u64) -> Result<(), Error> {
        let mut cleaned = 0;
        while self.ring() - self.used() < length + FRAME as u64 + RESERVE {
            let before = self.superblock.tail;
            self.clean().await?;
            let tail = self.superblock.tail;
            cleaned += (tail.position + self.ring() - before.position) % self.ring();
            if tail == before || cleaned > 3 * self.ring() {
                return Err(Error::Full);
            }
        }
        Ok(())
    }

    /// Writes what counts of the oldest frames anew, and gives their place up.
    async fn clean(&mut self) -> Result<(), Error> {
        let mut walk = Walk::new(
            self.device.clone(),
            self.superblock.store,
            self.superblock.size,
        );
        let mut plan = Plan::default();
        let mut tail = self.superblock.tail;
        let mut scanned = 0;
        while scanned < UNFLUSHED && tail.sequence < self.applied.sequence {
            match walk.next(tail, self.applied).await? {
                Next::Frame(position, header) => {
                    let frame = walk.bytes(position, header.length).await?;
                    let entries = header.entries(frame).unwrap_or_default();
                    let inner = self.shared.inner.lock();
                    let mut live = Vec::new();
                    for e in entries {
                        let location = Location {
                            position: position + e.value_at as u64,
                            length: e.value.len() as u32,
                            sum: e.value_sum,
                        };
                        if inner.index.is_live(e.kind, e.key, location) {
                            live.push(e);
                        }
                    }
                    drop(inner);
                    let cost: usize = live
                        .iter()
                        .map(|e| Builder::cost(e.key.len(), e.references.len(), e.value.len()))
                        .sum();
                    // One frame at a time: the reserve has room for it, whatever the ring's end wastes.
                    if plan.frames.last().is_some_and(|f| !f.builder.fits(cost)) {
                        break;
                    }
                    for e in live {
                        let whole = e.is_whole();
                        let (kind, value) = if whole {
                            (e.kind, e.value)
                        } else {
                            (Kind::Lost, &[][..])
                        };
                        if !whole {
                            self.damaged(e.kind, e.key);
                        }
                        if whole || e.kind != Kind::Chunk {
                            plan.add(kind, e.mark, e.key, e.references, value);
                        }
                    }
                    scanned += header.length as u64;
                    tail = Place {
                        position: after(position, header.length, self.superblock.size),
                        sequence: tail.sequence + 1,
                    };
                }
                Next::Damaged(next) => {
                    self.lose(tail, next);
                    scanned += UNFLUSHED;
                    tail = next;
                }
                Next::End => break,
            }
        }
        if tail == self.superblock.tail {
            return Ok(());
        }
        let result = self.move_to(plan, tail).await;
        self.failed |= result.is_err();
        result
    }

    async fn move_to(&mut self, plan: Plan, tail: Place) -> Result<(), Error> {
        for mut frame in plan.frames {
            frame.moved = true;
            self.append(frame)?;
        }
        self.flush().await?;
        self.write_superblock(tail).await
    }

    fn damaged(&self, kind: Kind, key: &[u8]) {
        let mut inner = self.shared.inner.lock();
        if kind == Kind::Chunk {
            if let Some(chunk) = ChunkKey::decode(key) {
                inner.damage.push(Damage::Blob(chunk.hash));
                let gone = Location {
                    position: 0,
                    length: 0,
                    sum: 0,
                };
                if let Some(blob) = inner.index.blobs.get(&chunk.hash)
                    && let Some(Some(at)) = blob.chunks.get(chunk.index as usize)
                {
                    let at = Location {
                        length: at.length,
                        ..gone
                    };
                    inner.index.relocate(kind, key, at, true);
                }
            }
        } else {
            inner.damage.push(Damage::Value(key.into()));
        }
    }

    /// The frames between two places cannot be read.
    fn lose(&self, from: Place, to: Place) {
        let mut inner = self.shared.inner.lock();
        inner.damage.push(Damage::Commits {
            first: from.sequence,
            count: to.sequence - from.sequence,
        });
        let (a, b) = (from.position, to.position);
        let inside = |p: u64| {
            if a < b {
                (a..b).contains(&p)
            } else {
                p >= a || p < b
            }
        };
        let (keys, hashes) = inner.index.lose(inside);
        inner.damage.extend(keys.into_iter().map(Damage::Value));
        inner.damage.extend(hashes.into_iter().map(Damage::Blob));
    }

    /// Writes both superblocks: the first is safe before the second changes, and the tail moves after that.
    async fn write_superblock(&mut self, tail: Place) -> Result<(), Error> {
        let next = Superblock {
            generation: self.superblock.generation + 1,
            tail,
            hint: self.applied,
            layout: LAYOUT,
            // One that the tail has passed may be written over.
            checkpoint: self
                .superblock
                .checkpoint
                .filter(|c| c.first.sequence >= tail.sequence),
            ..self.superblock
        };
        self.device.write(SUPERBLOCKS[0], next.encode()).await?;
        self.device.flush().await?;
        self.superblock = next;
        self.since_hint = 0;
        Ok(self.device.write(SUPERBLOCKS[1], next.encode()).await?)
    }
}

fn tell(frame: Frame, result: Result<(), Error>) {
    for done in frame.done {
        let _ = done.send(result);
    }
}

/// What a batch may cost: its frame has room for it.
pub fn check(batch: &Batch) -> Result<(), Error> {
    if batch.cost() + crate::layout::HEADER > FRAME {
        return Err(Error::TooLarge);
    }
    Ok(())
}
