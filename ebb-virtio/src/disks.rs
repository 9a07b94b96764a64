//! The provider of [`Disks`] on a machine of its own: the virtio disks in the order of [`find`], which
//! is that in which QEMU was given them.
//!
//! What must hold: a device is set up once, and its interrupt goes to the core that opened it.

use alloc::{sync::Arc, vec::Vec};
use core::{future::poll_fn, task::Poll, time::Duration};

use atomic_waker::AtomicWaker;
use ebb::{EbbRef, platform::Clock, provides, time::sleep};
use ebb_block::{BlockDevice, Disks, Error};
use spin::Once;
use virtio_drivers::transport::DeviceType;

use crate::{
    block::{Disk, Driver, Fault, LIMIT_NS},
    bus::{Place, Transport, find},
    transport::{Machine, Queues},
};

/// virtio's number for disks.
const BLOCK_DEVICE: u16 = 2;
/// How often a device that may not answer is polled.
const WATCH: Duration = Duration::from_secs(1);

struct Slot {
    at: Place,
    opened: Once<Result<Arc<dyn BlockDevice>, Error>>,
}

static SLOTS: Once<Vec<Slot>> = Once::new();

fn slots() -> &'static [Slot] {
    SLOTS.call_once(|| {
        let slot = |at| Slot {
            at,
            opened: Once::new(),
        };
        find(BLOCK_DEVICE).map(slot).collect()
    })
}

fn now_ns() -> u64 {
    EbbRef::<dyn Clock>::get().now_ns()
}

/// Runs on the core of the interrupt, outside of any event.
fn interrupt(argument: usize) {
    // SAFETY: `argument` is a waker that `set_up` leaked.
    let waker: &AtomicWaker = unsafe { &*core::ptr::with_exposed_provenance(argument) };
    waker.wake();
}

fn set_up(at: Place) -> Result<Arc<dyn BlockDevice>, Fault> {
    let registers = Transport::new(at)?;
    if registers.vectors() == 0 {
        return Err("it has no interrupts of its own (MSI-X)");
    }
    let waker: &'static AtomicWaker = alloc::boxed::Box::leak(Default::default());
    registers.no_config_vector();
    let argument = core::ptr::from_ref(waker).expose_provenance();
    if !registers.bind(0, interrupt, argument) {
        return Err("there is no interrupt left for it");
    }
    let driver = Driver::<Machine, _>::new(Queues::new(registers, DeviceType::Block), now_ns)?;
    if !driver.with_transport(Queues::has_queues) {
        return Err("it does not take its queue");
    }
    let driver = Arc::new(driver);
    driver.start();
    let serviced = driver.clone();
    ebb::spawn(poll_fn(move |context| {
        waker.register(context.waker());
        if serviced.service() {
            // Others first.
            context.waker().wake_by_ref();
        }
        Poll::<()>::Pending
    }));
    let watched = driver.clone();
    ebb::spawn(async move {
        while !watched.is_broken() {
            sleep(WATCH).await;
            watched.watch(LIMIT_NS);
        }
        ebb::inform!(
            "ebb: the disk at {at} broke its protocol or did not answer, and is used no more"
        );
    });
    Ok(Arc::new(Disk(driver)))
}

/// The provider.
struct Native;

#[provides(Disks, instance = &Native)]
impl Disks for Native {
    fn count(&self) -> usize {
        slots().len()
    }

    fn open(&self, number: usize) -> Result<Arc<dyn BlockDevice>, Error> {
        let slot = slots().get(number).ok_or(Error::Missing)?;
        let open = || {
            set_up(slot.at).map_err(|fault| {
                ebb::inform!("ebb: the disk at {} is not used: {fault}", slot.at);
                Error::Broken
            })
        };
        slot.opened.call_once(open).clone()
    }
}
