//! What the fuzz target drives (`fuzz/fuzz_targets`): a disk with a store on it whose bytes were changed, with checksums
//! that are right all the same, so that what is behind them is reached.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use ebb_block::{BLOCK, BlockDevice, sim::SimDisk};

use crate::{
    Batch, Store,
    layout::{ENTRY, HEADER, LOG, SUPERBLOCKS, checksum, digest},
};

const SIZE: u64 = 2 << 20;

/// Polls a future, and a writer, until the future has ended.
fn finish<T>(
    future: impl Future<Output = T>,
    writer: &mut Option<core::pin::Pin<Box<dyn Future<Output = ()>>>>,
) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        if let Some(running) = writer
            && running.as_mut().poll(&mut context).is_ready()
        {
            *writer = None;
        }
    }
    panic!("it waits for something that never comes");
}

/// The bytes of a disk with some values and blobs on it.
fn sample() -> Vec<u8> {
    let disk = SimDisk::new(SIZE, 1).immediate();
    let (store, writer, _) =
        finish(Store::open(Arc::new(disk.clone()), [1; 16]), &mut None).expect("an empty disk");
    let mut writer: Option<core::pin::Pin<Box<dyn Future<Output = ()>>>> =
        Some(Box::pin(writer.checkpoint_after(5 * BLOCK as u64).run()));
    for n in 0..12u8 {
        let mut batch = Batch::default();
        let blob = batch.blob(alloc::vec![n / 3; usize::from(n) * 100]);
        batch.put_marked([n % 8], [n; 40], [blob], n % 3);
        batch.delete([n % 5]);
        finish(store.commit(batch), &mut writer).expect("room");
    }
    disk.contents()
}

/// Makes the checksums of a frame's values right, as far as its table can be read. Those of a checkpoint are places.
fn seal_values(frame: &mut [u8], table: usize) -> Option<()> {
    let entries = u32::from_le_bytes(*frame.get(52..)?.first_chunk()?);
    let (mut at, mut value) = (HEADER, HEADER + table);
    for _ in 0..entries {
        let fixed = *frame.get(at..HEADER + table)?.first_chunk::<ENTRY>()?;
        let length = u32::from_le_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]) as usize;
        let sum = digest(frame.get(value..value.checked_add(length)?)?);
        frame[at + 8..at + 12].copy_from_slice(&sum.to_le_bytes());
        let key = usize::from(u16::from_le_bytes([fixed[2], fixed[3]]));
        let references = usize::from(u16::from_le_bytes([fixed[12], fixed[13]]));
        at += ENTRY + key + 32 * references;
        value += length;
    }
    Some(())
}

/// Makes the checksums of superblocks and of frames' headers and tables right, and those of values if that is asked for.
fn seal(disk: &mut [u8], values: bool) {
    let set = |bytes: &mut [u8], at: usize, sum: u32| {
        bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes())
    };
    for at in SUPERBLOCKS {
        let (head, checkpoint) = disk[at as usize..].split_at_mut(80);
        set(head, 12, 0);
        let sum = checksum(head);
        set(head, 12, sum);
        let sum = checksum(&checkpoint[..32]);
        set(checkpoint, 32, sum);
    }
    let log = &mut disk[LOG as usize..];
    for at in (0..log.len()).step_by(BLOCK) {
        let frame = &mut log[at..];
        if !frame.starts_with(b"ebbframe") {
            continue;
        }
        let table = u32::from_le_bytes([frame[48], frame[49], frame[50], frame[51]]) as usize;
        if values {
            seal_values(frame, table);
        }
        if let Some(table) = frame.get(HEADER..HEADER + table) {
            let sum = digest(table);
            set(frame, 56, sum);
        }
        set(frame, 60, 0);
        let sum = checksum(&frame[..HEADER]);
        set(frame, 60, sum);
    }
}

/// Opens a disk that `data` has changed, reads everything and commits something. Each six bytes of `data` are a place
/// (four bytes; the highest bit says superblock or log), a byte to put there, and how many times. Of an even number of bytes the
/// checksums of values are right, too.
pub fn open(data: &[u8]) {
    let mut disk = sample();
    for edit in data.as_chunks::<6>().0 {
        let [a, b, c, d, byte, count] = *edit;
        let place = u32::from_le_bytes([a, b, c, d]);
        // Most of what there is to break is near the beginning of what is there.
        let at = if place >> 31 == 0 {
            LOG as usize + (place as usize % (20 * BLOCK))
        } else {
            SUPERBLOCKS[place as usize >> 30 & 1] as usize + place as usize % 116
        };
        disk[at..at + 1 + usize::from(count % 8)].fill(byte);
    }
    // Else what is changed of a value is damage.
    seal(&mut disk, data.len().is_multiple_of(2));
    let device = SimDisk::new(SIZE, 2).immediate();
    finish(device.write(0, disk), &mut None).expect("it fits");
    let Ok((store, writer, _)) = finish(Store::open(Arc::new(device), [1; 16]), &mut None) else {
        return;
    };
    for key in store.keys("") {
        let _ = finish(store.get(key), &mut None);
    }
    store.visit("", |_, entry| assert!(entry.blobs < 1 << 16));
    let blobs: Vec<_> = store.0.inner.lock().index.blobs.keys().copied().collect();
    for hash in blobs {
        let _ = finish(store.blob(&hash), &mut None);
    }
    let mut writer: Option<core::pin::Pin<Box<dyn Future<Output = ()>>>> =
        Some(Box::pin(writer.run()));
    for n in 0..8u8 {
        let mut batch = Batch::default();
        batch.put([n], alloc::vec![n; 60_000]);
        let _ = finish(store.commit(batch), &mut writer);
    }
}

#[cfg(test)]
mod tests {
    use ebb_block::sim::Random;

    #[test]
    fn the_disk_that_is_changed_has_a_checkpoint() {
        use crate::layout::{Found, SUPERBLOCKS, Superblock};
        let disk = super::sample();
        let found = SUPERBLOCKS.map(|at| Superblock::decode(&disk[at as usize..]));
        let has = |f: &Found| matches!(f, Found::Valid(s) if s.checkpoint.is_some());
        assert!(found.iter().any(has), "{found:?}");
    }

    #[test]
    fn a_log_that_says_that_it_is_at_its_last_number_is_no_reason_to_panic() {
        // What the fuzzer has found: a superblock's place in the log.
        super::open(&[0x58, 0x0a, 0x3e, 0xf9, 0xff, 0xff, 0, 0xf4]);
    }

    #[test]
    fn whatever_a_disk_says_with_right_checksums_is_no_reason_to_panic() {
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let edits = 1 + random.below(12);
            let data = (0..edits * 6 + seed % 2).map(|_| random.number() as u8);
            super::open(&data.collect::<alloc::vec::Vec<u8>>());
        }
    }
}
