//! How much memory a platform's entities take, by an allocator that counts.

use std::{
    cell::RefCell,
    future::ready,
    sync::{Arc, Mutex},
    time::Instant,
};

use ebb_block::{BlockDevice, Pending};
use ebb_invoker::keep::{Holder, Keeper, bring_back};
use ebb_openwhisk::activations::Budget;
use ebb_openwhisk::json::{Json, Members};
use ebb_openwhisk::limits::NamespaceLimits;
use ebb_openwhisk::runtimes::Runtimes;
use ebb_openwhisk::{Config, Controller};
use futures_executor::block_on;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// A disk whose bytes were all allocated before.
struct Flat(Mutex<Vec<u8>>);

impl BlockDevice for Flat {
    fn size(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    fn read(&self, offset: u64, length: usize) -> Pending<Vec<u8>> {
        let at = offset as usize;
        let bytes = self.0.lock().unwrap()[at..at + length].to_vec();
        Box::pin(ready(Ok(bytes)))
    }

    fn write(&self, offset: u64, bytes: Vec<u8>) -> Pending<()> {
        let at = offset as usize;
        self.0.lock().unwrap()[at..at + bytes.len()].copy_from_slice(&bytes);
        Box::pin(ready(Ok(())))
    }

    fn flush(&self) -> Pending<()> {
        Box::pin(ready(Ok(())))
    }
}

struct Held(RefCell<Controller>);

impl Holder for Held {
    fn controller<R>(&self, f: impl FnOnce(&mut Controller) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }

    fn now_ms(&self) -> u64 {
        0
    }
}

fn controller() -> Controller {
    Controller::new(Config {
        subjects: Vec::new(),
        admin: None,
        runtimes: Runtimes::default(),
        limits: NamespaceLimits::default(),
        entity_bytes: 256 << 20,
        records: Budget::bytes(64 << 20),
        seed: [7; 32],
        entropy: |bytes| bytes.fill(7),
    })
}

#[test]
fn a_hundred_thousand_actions_take_at_most_a_fifth_more_than_their_bytes_and_32_mib() {
    // Those of the platform's own count as well.
    const ACTIONS: usize = 99_990;
    let device = Arc::new(Flat(Mutex::new(vec![0; 512 << 20])));
    let (keeper, writer, _) = block_on(Keeper::open(device.clone(), [1; 16])).unwrap();
    let writer = std::thread::spawn(move || block_on(writer.run()));
    let mut whole = controller();
    bring_back(&mut whole, &mut block_on(keeper.restore()).unwrap());
    let mut bytes = 0;
    for group in 0..ACTIONS / 90 {
        for n in group * 90..group * 90 + 90 {
            let code = format!("exports.main = ({{ name }}) => ({{ hello: name, number: {n} }})");
            let exec = Members::new()
                .text("kind", "nodejs:default")
                .text("code", &code)
                .finish();
            let document = Members::new().raw("exec", exec.as_str()).finish();
            whole
                .deploy(
                    "guest",
                    &format!("action-{n}"),
                    &document,
                    1_700_000_000_000,
                )
                .unwrap();
        }
        let changed = keeper.changed(&mut whole).unwrap();
        assert!(block_on(keeper.commit(changed)).is_ok());
    }
    // What an API would send of them, as JSON.
    let documents = whole.store().iter().map(|entity| entity.to_json());
    bytes += documents
        .map(|json: Json| json.as_str().len())
        .sum::<usize>();
    block_on(keeper.close());
    writer.join().unwrap();
    drop((keeper, whole));
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let begun = Instant::now();
    let (keeper, writer, _) = block_on(Keeper::open(device, [1; 16])).unwrap();
    let writer = std::thread::spawn(move || block_on(writer.run()));
    println!("opened after {:?}", begun.elapsed());
    let mut restored = block_on(keeper.restore()).unwrap();
    let held = Held(RefCell::new(controller()));
    held.controller(|c| bring_back(c, &mut restored));
    println!("ready to answer after {:?}", begun.elapsed());
    let loaded = block_on(keeper.load(&held, &Runtimes::default()));
    println!("read after {:?}", begun.elapsed());
    assert_eq!((loaded.entities, loaded.lost.len()), (ACTIONS, 0));
    let (kept, most) = (
        ALLOCATOR.current_usage() - before,
        ALLOCATOR.peak_usage() - before,
    );
    println!("{bytes} bytes of documents; {kept} held, {most} at most while they are read");
    block_on(keeper.close());
    writer.join().unwrap();
    assert!(most < bytes / 5 * 6 + (32 << 20), "{most} for {bytes}");
}
