//! The driver of disks against devices that are played here: honest ones, and ones that lie.

extern crate std;

use alloc::{sync::Arc, vec, vec::Vec};
use core::task::{Context, Poll, Waker};
use std::{boxed::Box, cell::Cell, thread_local};

use ebb_block::sim::Random;
use virtio_drivers::{
    PhysAddr, Result as VirtioResult,
    queue::VirtQueue,
    transport::{DeviceStatus, DeviceType},
};
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::{
    identity::Identity,
    played::{says_nothing, word},
};

/// What driver and device both see.
struct Registers {
    features: u64,
    config: Vec<u8>,
    status: DeviceStatus,
    /// The status never becomes 0 again.
    stuck: bool,
    /// Addresses of the descriptors, the driver's area and the device's.
    rings: [u64; 3],
    size: u16,
    doorbells: u64,
}

#[derive(Clone)]
struct Fake(Arc<Mutex<Registers>>);

impl Transport for Fake {
    says_nothing!();
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }
    fn read_device_features(&mut self) -> u64 {
        self.0.lock().features
    }
    fn write_driver_features(&mut self, features: u64) {
        let offered = self.0.lock().features;
        assert_eq!(features & !offered, 0, "a feature that was not offered");
    }
    fn max_queue_size(&mut self, _: u16) -> u32 {
        256
    }
    fn notify(&mut self, queue: u16) {
        assert_eq!(queue, 0);
        self.0.lock().doorbells += 1;
    }
    fn get_status(&self) -> DeviceStatus {
        self.0.lock().status
    }
    fn set_status(&mut self, status: DeviceStatus) {
        let mut registers = self.0.lock();
        if !(registers.stuck && status.is_empty()) {
            registers.status = status;
        }
    }
    fn queue_set(&mut self, _: u16, size: u32, a: PhysAddr, b: PhysAddr, c: PhysAddr) {
        let mut registers = self.0.lock();
        registers.size = size as u16;
        registers.rings = [a, b, c];
    }
    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> VirtioResult<T> {
        let registers = self.0.lock();
        let bytes = registers.config.get(offset..offset + size_of::<T>());
        Ok(T::read_from_bytes(bytes.ok_or(virtio_drivers::Error::ConfigSpaceTooSmall)?).unwrap())
    }
}

/// A chain that the device was given.
struct Chain {
    head: u16,
    /// Address, length, whether the device writes it.
    parts: Vec<(u64, u32, bool)>,
}

/// The device's side.
struct Device {
    fake: Fake,
    seen: u16,
    used: u16,
    disk: Vec<u8>,
}

const SIZE: u64 = 1 << 20;

impl Device {
    fn new(features: u64, size_max: u32) -> Self {
        let mut config = vec![0; 60];
        config[..8].copy_from_slice(&(SIZE / 512).to_le_bytes());
        config[8..12].copy_from_slice(&size_max.to_le_bytes());
        config[20..24].copy_from_slice(&512u32.to_le_bytes());
        let registers = Registers {
            features: features | device::VERSION_1,
            config,
            status: DeviceStatus::empty(),
            stuck: false,
            rings: [0; 3],
            size: 0,
            doorbells: 0,
        };
        Self {
            fake: Fake(Arc::new(Mutex::new(registers))),
            seen: 0,
            used: 0,
            disk: vec![0; SIZE as usize],
        }
    }

    fn driver(&self) -> Arc<Driver<Identity, Fake>> {
        let driver = Driver::new(self.fake.clone(), now_ns).unwrap();
        driver.start();
        Arc::new(driver)
    }

    fn disk(&self) -> Disk<Identity, Fake> {
        Disk(self.driver())
    }

    fn size(&self) -> u16 {
        self.fake.0.lock().size
    }

    fn rings(&self) -> [u64; 3] {
        self.fake.0.lock().rings
    }

    /// The next chain that the driver has made available.
    fn take(&mut self) -> Option<Chain> {
        if self.fake.0.lock().status.is_empty() {
            // It was reset.
            return None;
        }
        let [descriptors, driver, _] = self.rings();
        // SAFETY: the rings of the queue, which are never freed; everything here is one thread.
        unsafe {
            if word(driver + 2).read_volatile() == self.seen {
                return None;
            }
            let head = word(driver + 4 + 2 * u64::from(self.seen % self.size())).read_volatile();
            self.seen = self.seen.wrapping_add(1);
            let (mut at, mut parts) = (head, Vec::new());
            loop {
                let descriptor = descriptors + 16 * u64::from(at);
                let address = word(descriptor).cast::<u64>().read_volatile();
                let length = word(descriptor + 8).cast::<u32>().read_volatile();
                let flags = word(descriptor + 12).read_volatile();
                parts.push((address, length, flags & 2 != 0));
                if flags & 1 == 0 {
                    return Some(Chain { head, parts });
                }
                at = word(descriptor + 14).read_volatile();
            }
        }
    }

    /// Does what a chain says; gives how much was written, with the status.
    fn perform(&mut self, chain: &Chain, status: u8) -> u32 {
        let bytes = |part: &(u64, u32, bool)| {
            // SAFETY: a buffer that the driver has lent.
            unsafe { core::slice::from_raw_parts_mut(word(part.0).cast::<u8>(), part.1 as usize) }
        };
        let header = bytes(&chain.parts[0]);
        assert_eq!(header.len(), 16);
        let kind = u32::from_le_bytes(header[..4].try_into().unwrap());
        let at = u64::from_le_bytes(header[8..].try_into().unwrap()) as usize * 512;
        let (last, data) = chain.parts[1..].split_last().unwrap();
        let mut written = 0;
        for part in data {
            let disk = &mut self.disk[at..at + part.1 as usize];
            if kind == 0 {
                bytes(part).copy_from_slice(disk);
                written += part.1;
            } else {
                disk.copy_from_slice(bytes(part));
            }
        }
        assert!(last.2 && last.1 == 1);
        bytes(last)[0] = status;
        written + 1
    }

    /// Gives something back.
    fn give(&mut self, id: u32, length: u32) {
        let device = self.rings()[2];
        // SAFETY: as in `take`.
        unsafe {
            let entry = word(device + 4 + 8 * u64::from(self.used % self.size())).cast::<u32>();
            entry.write_volatile(id);
            entry.add(1).write_volatile(length);
            self.used = self.used.wrapping_add(1);
            word(device + 2).write_volatile(self.used);
        }
    }

    /// Does everything that there is, honestly.
    fn serve(&mut self) -> usize {
        let mut count = 0;
        while let Some(chain) = self.take() {
            let length = self.perform(&chain, 0);
            self.give(chain.head.into(), length);
            count += 1;
        }
        count
    }
}

thread_local!(static NOW_NS: Cell<u64> = const { Cell::new(0) });

fn now_ns() -> u64 {
    NOW_NS.get()
}

fn poll<T>(pending: &mut Pending<T>) -> Option<Result<T, Error>> {
    let mut context = Context::from_waker(Waker::noop());
    match pending.as_mut().poll(&mut context) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

fn block(byte: u8) -> Vec<u8> {
    vec![byte; BLOCK]
}

#[test]
fn the_device_is_told_of_every_batch_also_of_the_one_that_takes_the_index_over_its_end() {
    let mut device = Device::new(feature::FLUSH, 0);
    let disk = device.disk();
    for n in 0..70_000u64 {
        let mut flush = disk.flush();
        assert_eq!(device.fake.0.lock().doorbells, n + 1);
        assert_eq!(device.serve(), 1);
        disk.0.service();
        assert_eq!(poll(&mut flush), Some(Ok(())));
    }
}

/// What the guard is for. When this fails, the crate has mended it.
#[test]
fn virtio_drivers_forgets_to_tell_the_device_when_the_index_wraps_under_event_index() {
    let device = Device::new(0, 0);
    let mut fake = device.fake.clone();
    fake.set_status(DeviceStatus::DRIVER_OK);
    let mut queue = VirtQueue::<Identity, QUEUE>::new(&mut fake, 0, false, true).unwrap();
    let mut device = device;
    let byte = [0u8];
    for _ in 0..65_534 {
        // SAFETY: the byte outlives the queue.
        let token = unsafe { queue.add(&[&byte], &mut []) }.unwrap();
        let chain = device.take().unwrap();
        device.give(chain.head.into(), 0);
        // SAFETY: as above, the same buffer.
        unsafe { queue.pop_used(token, &[&byte], &mut []) }.unwrap();
    }
    // The device wants to hear of the next one, number 65,534; two come, so that the index is 0.
    // SAFETY: as in `take`; the place of `avail_event`.
    unsafe { word(device.rings()[2] + 4 + 8 * QUEUE as u64).write_volatile(65_534) };
    for _ in 0..2 {
        // SAFETY: as above.
        unsafe { queue.add(&[&byte], &mut []) }.unwrap();
    }
    assert!(!queue.should_notify());
}

#[test]
fn more_requests_than_the_queue_holds_end_in_whatever_order_the_device_likes() {
    let mut device = Device::new(feature::FLUSH, 0);
    let disk = device.disk();
    let mut random = Random::new(5);
    let mut writes: Vec<_> = (0..200u64)
        .map(|n| disk.write(n * BLOCK as u64, block(n as u8)))
        .collect();
    let mut given = Vec::new();
    loop {
        given.extend(core::iter::from_fn(|| device.take()));
        if given.is_empty() {
            break;
        }
        let chain = given.swap_remove(random.below(given.len() as u64) as usize);
        let length = device.perform(&chain, 0);
        device.give(chain.head.into(), length);
        disk.0.service();
    }
    assert!(writes.iter_mut().all(|w| poll(w) == Some(Ok(()))));
    for n in 0..200u64 {
        let mut read = disk.read(n * BLOCK as u64, BLOCK);
        device.serve();
        disk.0.service();
        assert_eq!(poll(&mut read), Some(Ok(block(n as u8))));
    }
}

#[test]
fn a_request_is_cut_into_parts_that_the_device_takes_at_once() {
    let mut device = Device::new(feature::SIZE_MAX, 9_000);
    let disk = device.disk();
    let mut write = disk.write(0, vec![3; 5 * BLOCK]);
    for expected in [2, 2, 1] {
        let chain = device.take().unwrap();
        assert_eq!(chain.parts[1].1 as usize, expected * BLOCK);
        let length = device.perform(&chain, 0);
        device.give(chain.head.into(), length);
        assert_eq!(poll(&mut write), None);
        disk.0.service();
    }
    assert_eq!(poll(&mut write), Some(Ok(())));
    assert!(device.disk[..5 * BLOCK].iter().all(|b| *b == 3) && device.disk[5 * BLOCK] == 0);
}

#[test]
fn what_the_device_cannot_do_is_an_error_of_that_request_only() {
    let mut device = Device::new(feature::FLUSH, 0);
    let disk = device.disk();
    let mut end = |pending: &mut dyn FnMut() -> bool, status: u8, less: u32| {
        let chain = device.take().unwrap();
        let length = device.perform(&chain, status) - less;
        device.give(chain.head.into(), length);
        disk.0.service();
        assert!(pending(), "status {status}");
    };
    let mut flush = disk.flush();
    end(&mut || poll(&mut flush) == Some(Err(Error::NoFlush)), 2, 0);
    let mut write = disk.write(0, block(1));
    end(&mut || poll(&mut write) == Some(Err(Error::Io)), 1, 0);
    let mut read = disk.read(0, BLOCK);
    end(&mut || poll(&mut read) == Some(Err(Error::Io)), 2, 0);
    // A status that was never written, and a read of less than was asked for.
    let mut read = disk.read(0, BLOCK);
    end(
        &mut || poll(&mut read) == Some(Err(Error::Io)),
        UNWRITTEN,
        0,
    );
    let mut read = disk.read(0, BLOCK);
    end(&mut || poll(&mut read) == Some(Err(Error::Io)), 0, 512);
    let mut read = disk.read(0, BLOCK);
    end(&mut || matches!(poll(&mut read), Some(Ok(_))), 0, 0);
}

#[test]
fn without_the_feature_writes_last_when_they_end_and_a_flush_has_nothing_to_do() {
    let mut device = Device::new(0, 0);
    assert_eq!(poll(&mut device.disk().flush()), Some(Ok(())));
    assert!(device.take().is_none());
    let device = Device::new(feature::RO, 0);
    let disk = device.disk();
    assert!(disk.is_read_only());
    assert_eq!(
        poll(&mut disk.write(0, block(0))),
        Some(Err(Error::ReadOnly))
    );
}

#[test]
fn a_device_that_does_not_answer_is_given_up_after_the_limit_and_not_before() {
    for stuck in [false, true] {
        NOW_NS.set(1_000);
        let mut device = Device::new(feature::FLUSH, 0);
        let disk = device.disk();
        let mut reads: Vec<_> = (0..100).map(|_| disk.read(0, BLOCK)).collect();
        device.fake.0.lock().stuck = stuck;
        NOW_NS.set(1_000 + LIMIT_NS);
        disk.0.watch(LIMIT_NS);
        assert!(reads.iter_mut().all(|r| poll(r).is_none()));
        NOW_NS.set(1_001 + LIMIT_NS);
        disk.0.watch(LIMIT_NS);
        assert!(
            reads
                .iter_mut()
                .all(|r| poll(r) == Some(Err(Error::Broken)))
        );
        assert_eq!(poll(&mut disk.flush()), Some(Err(Error::Broken)));
        // Only a device that was reset has let go of the memory; the other one may write to it, and it is still there.
        if stuck {
            while let Some(chain) = device.take() {
                device.perform(&chain, 0);
            }
        }
    }
}

#[test]
fn a_device_that_gives_back_what_it_does_not_have_is_broken() {
    type Lie = fn(&mut Device, u16);
    let lies: [Lie; 5] = [
        // No such chain, far away, in the middle of one, the same twice, an index that runs ahead.
        |device, _| device.give(77, 1),
        |device, _| device.give(u32::MAX, 1),
        |device, head| device.give(u32::from(head) + 1, 1),
        |device, head| {
            device.give(head.into(), 1);
            device.give(head.into(), 1);
        },
        |device, _| {
            device.used = device.used.wrapping_add(999);
            device.give(0, u32::MAX);
        },
    ];
    for lie in lies {
        let mut device = Device::new(feature::FLUSH, 0);
        let disk = device.disk();
        let mut reads: Vec<_> = (0..3).map(|_| disk.read(0, BLOCK)).collect();
        let head = device.take().unwrap().head;
        lie(&mut device, head);
        while disk.0.service() {}
        assert!(disk.0.is_broken());
        assert!(reads.iter_mut().all(|r| matches!(poll(r), Some(Err(_)))));
    }
}

#[test]
fn whatever_a_device_does_the_driver_ends_every_request_and_touches_nothing_else() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        NOW_NS.set(0);
        let mut device = Device::new(random.number(), 4_096 + random.below(60_000) as u32);
        device.fake.0.lock().stuck = random.one_in(2);
        let Ok(driver) = Driver::<Identity, _>::new(device.fake.clone(), now_ns) else {
            continue;
        };
        let disk = Disk(Arc::new(driver));
        let mut pending: Vec<Pending<()>> = Vec::new();
        for _ in 0..random.below(200) {
            let at = random.below(100) * BLOCK as u64;
            let length = (1 + random.below(40) as usize) * BLOCK;
            match random.below(6) {
                0 => pending.push(disk.flush()),
                1 => pending.push(disk.write(at, vec![1; length])),
                2 => {
                    let read = disk.read(at, length);
                    pending.push(Box::pin(async move { read.await.map(drop) }));
                }
                3 => _ = device.serve(),
                4 => {
                    if let Some(chain) = device.take() {
                        let length = device.perform(&chain, random.number() as u8);
                        let id = if random.one_in(3) {
                            // Never a chain that the device has not looked at yet: its memory would be freed under it.
                            random.number() as u32 | QUEUE as u32
                        } else {
                            chain.head.into()
                        };
                        device.give(
                            id,
                            if random.one_in(2) {
                                random.number() as u32
                            } else {
                                length
                            },
                        );
                    }
                }
                _ => _ = disk.0.service(),
            }
        }
        disk.0.service();
        NOW_NS.set(2 * LIMIT_NS);
        disk.0.watch(LIMIT_NS);
        disk.0.watch(LIMIT_NS);
        for request in &mut pending {
            assert!(poll(request).is_some(), "seed {seed}");
        }
    }
}

#[test]
fn a_seed_is_taken_when_it_has_come_and_a_device_that_gives_nothing_is_not_asked_for_ever() {
    let mut device = Device::new(0, 0);
    let mut source = crate::entropy::Device::<Identity, _>::new(device.fake.clone()).unwrap();
    assert_eq!(source.take(), Ok(None));
    let mut write = |device: &mut Device, byte: u8, says: u32| {
        let chain = device.take().unwrap();
        let [(address, length, true)] = chain.parts[..] else {
            panic!("one part, to be written");
        };
        // SAFETY: the buffer that the driver has lent.
        unsafe {
            word(address)
                .cast::<u8>()
                .write_bytes(byte, length as usize)
        };
        device.give(chain.head.into(), says);
        source.take()
    };
    // A little, nothing, and more than there is room for.
    assert_eq!(write(&mut device, 1, 5), Ok(None));
    assert_eq!(write(&mut device, 2, 0), Ok(None));
    let seed = write(&mut device, 3, u32::MAX).unwrap().unwrap();
    assert!(seed[..5] == [1; 5] && seed[5..] == [3; 27]);

    let mut device = Device::new(0, 0);
    let mut source = crate::entropy::Device::<Identity, _>::new(device.fake.clone()).unwrap();
    let mut asked = 0;
    while let Some(chain) = device.take() {
        device.give(chain.head.into(), 0);
        asked += 1;
        if source.take().is_err() {
            break;
        }
    }
    assert!((2..100).contains(&asked), "{asked}");
}
