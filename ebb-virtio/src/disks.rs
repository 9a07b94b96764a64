//! The provider of [`Disks`] on a machine of its own: the virtio disks in the order of [`find`], which
//! is that in which QEMU was given them, without the one that the machine was booted from.
//!
//! What must hold: a device is set up once, and its interrupt goes to the core that opened it.

use alloc::{sync::Arc, vec::Vec};
use core::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use atomic_waker::AtomicWaker;
use ebb::{
    EbbRef,
    platform::{Clock, Environment},
    provides,
    time::sleep,
};
use ebb_block::{BLOCK, BlockDevice, Disks, Error};
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

/// Where a disk with an ISO 9660 file system says what it is called (ECMA-119, 8.4), and how long that is.
const DESCRIPTOR: u64 = 32 << 10;
const VOLUME: core::ops::Range<usize> = 40..72;
/// How long a disk may take to say it.
const ANSWER_NS: u64 = 2_000_000_000;

type Device = Arc<Driver<Machine, Queues>>;

struct Slot {
    at: Place,
    opened: Once<Result<Arc<dyn BlockDevice>, Error>>,
}

impl Slot {
    fn open(&self) -> Result<Arc<dyn BlockDevice>, Error> {
        let open = || Ok(Arc::new(Disk(set_up_or_tell(self.at)?)) as Arc<dyn BlockDevice>);
        self.opened.call_once(open).clone()
    }
}

static SLOTS: Once<Vec<Slot>> = Once::new();

fn slots() -> &'static [Slot] {
    SLOTS.call_once(|| {
        let mut slots = Vec::new();
        let mut booted_from = EbbRef::<dyn Environment>::get().option("boot-volume");
        for at in find(BLOCK_DEVICE) {
            let opened = Once::new();
            if let Some(volume) = booted_from {
                let device = set_up_or_tell(at);
                if device
                    .as_ref()
                    .is_ok_and(|device| is_called(device, volume))
                {
                    // There may be a copy.
                    booted_from = None;
                    continue;
                }
                opened.call_once(|| device.map(|device| Arc::new(Disk(device)) as _));
            }
            slots.push(Slot { at, opened });
        }
        slots
    })
}

/// Whether a disk has a file system of that name. Waits for it: who asks how many disks there are cannot.
fn is_called(device: &Device, volume: &str) -> bool {
    let disk = Disk(device.clone());
    if disk.size() < DESCRIPTOR + BLOCK as u64 {
        return false;
    }
    let mut reading = pin!(disk.read(DESCRIPTOR, BLOCK));
    let begun_ns = now_ns();
    while now_ns() - begun_ns < ANSWER_NS {
        device.service();
        if let Poll::Ready(read) = reading
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return read.is_ok_and(|block| {
                &block[1..6] == b"CD001" && block[VOLUME].trim_ascii_end() == volume.as_bytes()
            });
        }
        core::hint::spin_loop();
    }
    false
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

fn set_up_or_tell(at: Place) -> Result<Device, Error> {
    set_up(at).map_err(|fault| {
        ebb::inform!("ebb: the disk at {at} is not used: {fault}");
        Error::Broken
    })
}

fn set_up(at: Place) -> Result<Device, Fault> {
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
    Ok(driver)
}

/// The provider.
struct Native;

#[provides(Disks, instance = &Native)]
impl Disks for Native {
    fn count(&self) -> usize {
        slots().len()
    }

    fn open(&self, number: usize) -> Result<Arc<dyn BlockDevice>, Error> {
        slots().get(number).ok_or(Error::Missing)?.open()
    }
}
