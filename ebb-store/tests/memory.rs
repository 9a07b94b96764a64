//! How much memory a store takes, by an allocator that counts.

use std::{sync::Arc, time::Instant};

use ebb_block::sim::SimDisk;
use ebb_store::{Batch, Store};
use futures_executor::block_on;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

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
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let begun = Instant::now();
    let (store, _writer, report) = block_on(Store::open(Arc::new(disk.clone()), [1; 16])).unwrap();
    println!("opened in {:?}, {} frames", begun.elapsed(), report.frames);
    assert_eq!(store.stats().keys, ENTITIES);
    let (held, most) = (
        ALLOCATOR.current_usage() - before,
        ALLOCATOR.peak_usage() - before,
    );
    println!("{bytes} bytes of entities; {held} held, {most} at most while opening");
    assert!(most < bytes / 5 * 6 + (32 << 20), "{most} for {bytes}");
}
