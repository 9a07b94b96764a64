//! A disk in memory for tests: it does requests in an order of its own, and a power cut leaves of what was not flushed
//! whatever chance will have, sector by sector. The same seed gives the same disk.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec, vec::Vec};

use ebb::sync::oneshot;
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use spin::mutex::SpinMutex as Mutex;

use crate::{BLOCK, BlockDevice, Error, Pending, SECTOR, check, ready};

/// The random numbers of a simulation.
#[derive(Clone, Debug)]
pub struct Random(SplitMix64);

impl Random {
    /// A sequence.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::seed_from_u64(seed))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Blocks whose reading fails: first and last byte.
    pub read: Vec<(u64, u64)>,
    /// How writes fail, if they do: this many succeed first.
    pub write: Option<(u64, Error)>,
    /// How flushes fail, if they do.
    pub flush: Option<Error>,
}

type Block = Arc<[u8; BLOCK]>;

enum Work {
    Read(usize, oneshot::Sender<Result<Vec<u8>, Error>>),
    Write(u64, oneshot::Sender<Result<(), Error>>),
    /// Covers the writes that had ended when it began.
    Flush(Vec<u64>, oneshot::Sender<Result<(), Error>>),
}

/// A write that no flush has covered.
struct Volatile {
    id: u64,
    offset: u64,
    bytes: Vec<u8>,
    ended: bool,
}

struct State {
    size: u64,
    /// What a power cut leaves.
    stable: BTreeMap<u64, Block>,
    /// What a read finds.
    seen: BTreeMap<u64, Block>,
    volatile: Vec<Volatile>,
    queue: Vec<(u64, Work)>,
    next_id: u64,
    random: Random,
    faults: Faults,
    /// Requests end at once.
    immediate: bool,
    off: bool,
    flushes: u64,
    written: u64,
    read: u64,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

fn put(blocks: &mut BTreeMap<u64, Block>, offset: u64, bytes: &[u8]) {
    for (n, chunk) in bytes.chunks(SECTOR).enumerate() {
        let at = offset + (n * SECTOR) as u64;
        let block = blocks
            .entry(at / BLOCK as u64)
            .or_insert_with(|| Arc::new([0; BLOCK]));
        let within = (at % BLOCK as u64) as usize;
        Arc::make_mut(block)[within..within + chunk.len()].copy_from_slice(chunk);
    }
}

fn take(blocks: &BTreeMap<u64, Block>, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    for (n, chunk) in bytes.chunks_mut(BLOCK).enumerate() {
        if let Some(block) = blocks.get(&(offset / BLOCK as u64 + n as u64)) {
            chunk.copy_from_slice(&block[..]);
        }
    }
    bytes
}

impl SimDisk {
    /// A disk of zeros, `size` bytes, whose requests end when [`step`](Self::step) says so.
    #[must_use]
    pub fn new(size: u64, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            size,
            stable: BTreeMap::new(),
            seen: BTreeMap::new(),
            volatile: Vec::new(),
            queue: Vec::new(),
            next_id: 0,
            random: Random::new(seed),
            faults: Faults::default(),
            immediate: false,
            off: false,
            flushes: 0,
            written: 0,
            read: 0,
        })))
    }

    /// The same disk with requests that end at once.
    #[must_use]
    pub fn immediate(self) -> Self {
        self.0.lock().immediate = true;
        self
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// Ends one of the requests under way; false when there is none.
    pub fn step(&self) -> bool {
        let mut state = self.0.lock();
        if state.queue.is_empty() || state.off {
            return false;
        }
        let count = state.queue.len() as u64;
        let n = state.random.below(count) as usize;
        let (offset, work) = state.queue.swap_remove(n);
        state.end(offset, work);
        true
    }

    /// Requests under way.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.0.lock().queue.len()
    }

    /// Flushes that have succeeded.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.0.lock().flushes
    }

    /// Bytes written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.0.lock().written
    }

    /// Bytes read.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.0.lock().read
    }

    /// Changes a bit, behind the back of everything.
    pub fn flip(&self, offset: u64, bit: u8) {
        let mut state = self.0.lock();
        let (at, within) = (offset / BLOCK as u64, (offset % BLOCK as u64) as usize);
        let State { seen, stable, .. } = &mut *state;
        for blocks in [seen, stable] {
            let block = blocks.entry(at).or_insert_with(|| Arc::new([0; BLOCK]));
            Arc::make_mut(block)[within] ^= 1 << bit;
        }
    }

    /// The whole disk as a read would find it.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        let state = self.0.lock();
        take(&state.seen, 0, state.size as usize)
    }

    /// Another disk with what has been flushed to this one.
    #[must_use]
    pub fn copy(&self, seed: u64) -> Self {
        let state = self.0.lock();
        let copy = Self::new(state.size, seed);
        {
            let mut next = copy.0.lock();
            next.immediate = state.immediate;
            next.stable.clone_from(&state.stable);
            next.seen.clone_from(&state.stable);
        }
        copy
    }

    /// Cuts the power: requests under way never end, and the disk that is found afterwards has everything flushed, and of
    /// the rest any sectors of any writes, done in any order.
    #[must_use]
    pub fn power_cut(&self, seed: u64) -> Self {
        let after = self.copy(seed);
        let mut state = self.0.lock();
        state.off = true;
        {
            let mut next = after.0.lock();
            let mut random = next.random.clone();
            let mut left: Vec<&Volatile> = state.volatile.iter().collect();
            // Mostly torn, sometimes all or none of them.
            let mood = random.below(4);
            while !left.is_empty() {
                let n = random.below(left.len() as u64) as usize;
                let write = left.swap_remove(n);
                let whole = random.one_in(3);
                if mood == 0 || mood != 1 && random.one_in(3) {
                    continue;
                }
                for (n, sector) in write.bytes.chunks(SECTOR).enumerate() {
                    if mood == 1 || whole || random.one_in(2) {
                        put(&mut next.stable, write.offset + (n * SECTOR) as u64, sector);
                    }
                }
            }
            next.random = random;
            next.seen = next.stable.clone();
        }
        state.queue.clear();
        after
    }

    fn begin<T: Send + 'static>(
        &self,
        offset: u64,
        work: impl FnOnce(&mut State, oneshot::Sender<Result<T, Error>>) -> Work,
    ) -> Pending<T> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.0.lock();
        let work = work(&mut state, sender);
        if state.immediate {
            state.end(offset, work);
        } else {
            state.queue.push((offset, work));
        }
        Box::pin(async move { receiver.await.unwrap_or(Err(Error::Broken)) })
    }
}

impl State {
    /// Of a write that fails, some sectors at its beginning are written.
    fn fail_write(&mut self, id: u64) {
        let Some(n) = self.volatile.iter().position(|w| w.id == id) else {
            return;
        };
        let write = &mut self.volatile[n];
        let sectors = self.random.below((write.bytes.len() / SECTOR) as u64 + 1);
        write.bytes.truncate(sectors as usize * SECTOR);
        write.ended = true;
        put(&mut self.seen, write.offset, &write.bytes);
    }

    fn end(&mut self, offset: u64, work: Work) {
        match work {
            Work::Read(length, sender) => {
                let end = offset + length as u64;
                let bad = self
                    .faults
                    .read
                    .iter()
                    .any(|(a, b)| *a < end && offset <= *b);
                self.read += length as u64;
                let _ = sender.send(if bad {
                    Err(Error::Io)
                } else {
                    Ok(take(&self.seen, offset, length))
                });
            }
            Work::Write(id, sender) => {
                if let Some((left, error)) = &mut self.faults.write {
                    if *left == 0 {
                        let error = *error;
                        self.fail_write(id);
                        let _ = sender.send(Err(error));
                        return;
                    }
                    *left -= 1;
                }
                let Self { volatile, seen, .. } = self;
                if let Some(write) = volatile.iter_mut().find(|w| w.id == id) {
                    write.ended = true;
                    put(seen, write.offset, &write.bytes);
                    self.written += write.bytes.len() as u64;
                }
                let _ = sender.send(Ok(()));
            }
            Work::Flush(covered, sender) => {
                if let Some(error) = self.faults.flush {
                    let _ = sender.send(Err(error));
                    return;
                }
                let Self {
                    volatile, stable, ..
                } = self;
                volatile.retain(|write| {
                    let covers = covered.contains(&write.id);
                    if covers {
                        put(stable, write.offset, &write.bytes);
                    }
                    !covers
                });
                self.flushes += 1;
                let _ = sender.send(Ok(()));
            }
        }
    }
}

impl BlockDevice for SimDisk {
    fn size(&self) -> u64 {
        self.0.lock().size
    }

    fn read(&self, offset: u64, length: usize) -> Pending<Vec<u8>> {
        if let Err(error) = check(self.size(), offset, length) {
            return ready(Err(error));
        }
        self.begin(offset, |_, sender| Work::Read(length, sender))
    }

    fn write(&self, offset: u64, bytes: Vec<u8>) -> Pending<()> {
        if let Err(error) = check(self.size(), offset, bytes.len()) {
            return ready(Err(error));
        }
        self.begin(offset, |state, sender| {
            let id = state.next_id;
            state.next_id += 1;
            state.volatile.push(Volatile {
                id,
                offset,
                bytes,
                ended: false,
            });
            Work::Write(id, sender)
        })
    }

    fn flush(&self) -> Pending<()> {
        self.begin(0, |state, sender| {
            let ended = state.volatile.iter().filter(|w| w.ended).map(|w| w.id);
            Work::Flush(ended.collect(), sender)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::task::{Context, Poll, Waker};

    fn now<T>(pending: &mut Pending<T>) -> Option<Result<T, Error>> {
        match pending
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    #[test]
    fn what_was_flushed_survives_every_power_cut_and_the_rest_only_some() {
        let (mut kept, mut lost, mut torn) = (0, 0, 0);
        for seed in 0..200 {
            let disk = SimDisk::new(1 << 20, seed);
            let mut first = disk.write(0, vec![1; BLOCK]);
            while disk.step() {}
            assert_eq!(now(&mut first), Some(Ok(())));
            let mut flush = disk.flush();
            // Begun after the flush: not covered.
            let _late = disk.write(BLOCK as u64, vec![2; BLOCK]);
            while disk.step() {}
            assert_eq!(now(&mut flush), Some(Ok(())));
            let after = disk.power_cut(seed).contents();
            assert!(after[..BLOCK].iter().all(|b| *b == 1));
            let sectors = after[BLOCK..2 * BLOCK].chunks(SECTOR);
            match sectors.filter(|s| s[0] == 2).count() {
                0 => lost += 1,
                8 => kept += 1,
                _ => torn += 1,
            }
        }
        assert!(kept > 10 && lost > 10 && torn > 10, "{kept} {lost} {torn}");
    }

    #[test]
    fn a_flush_does_not_cover_a_write_that_had_not_ended_when_it_began() {
        let lost = (0..100).any(|seed| {
            let disk = SimDisk::new(1 << 20, seed);
            let _write = disk.write(0, vec![1; BLOCK]);
            let mut flush = disk.flush();
            while disk.step() {}
            assert_eq!(now(&mut flush), Some(Ok(())));
            disk.power_cut(seed).contents()[0] == 0
        });
        assert!(lost);
    }

    #[test]
    fn requests_beyond_the_end_or_of_parts_of_blocks_are_refused() {
        let disk = SimDisk::new(2 * BLOCK as u64, 0);
        let (block, at) = (BLOCK, BLOCK as u64);
        assert_eq!(
            now(&mut disk.read(at, 2 * block)),
            Some(Err(Error::OutOfRange))
        );
        assert_eq!(now(&mut disk.read(1, block)), Some(Err(Error::Misaligned)));
        assert_eq!(now(&mut disk.read(0, 0)), Some(Err(Error::Misaligned)));
        let end = u64::MAX - (at - 1);
        assert_eq!(
            now(&mut disk.write(end, vec![0; block])),
            Some(Err(Error::OutOfRange))
        );
        assert_eq!(disk.pending(), 0);
    }
}
