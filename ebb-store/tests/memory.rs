//! How much memory a store takes, by an allocator that counts.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use ebb_block::sim::SimDisk;
use ebb_store::{Batch, Store};
use futures_executor::block_on;

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(now, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_hundred_thousand_entities_take_at_most_a_fifth_more_than_their_bytes_and_32_mib() {
    const ENTITIES: usize = 100_000;
    let disk = SimDisk::new(256 << 20, 1).immediate();
    let (store, writer, _) = block_on(Store::open(Arc::new(disk.clone()), [1; 16])).unwrap();
    let writer = std::thread::spawn(move || block_on(writer.run()));
    let mut bytes = 0;
    for group in 0..ENTITIES / 500 {
        let mut batch = Batch::default();
        for n in 0..500 {
            let key = format!("namespace/package/action-{}", group * 500 + n);
            let value = vec![n as u8; 100];
            bytes += key.len() + value.len();
            batch.put(key, value);
        }
        block_on(store.commit(batch)).unwrap();
    }
    block_on(store.close()).unwrap();
    writer.join().unwrap();
    drop(store);
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    let begun = Instant::now();
    let (store, _writer, report) = block_on(Store::open(Arc::new(disk.clone()), [1; 16])).unwrap();
    println!("opened in {:?}, {} frames", begun.elapsed(), report.frames);
    assert_eq!(store.stats().keys, ENTITIES);
    let (held, most) = (NOW.load(Relaxed) - before, MOST.load(Relaxed) - before);
    println!("{bytes} bytes of entities; {held} held, {most} at most while opening");
    assert!(most < bytes / 5 * 6 + (32 << 20), "{most} for {bytes}");
}
