//! What the fuzz target drives (`fuzz/fuzz_targets/rings.rs`): the guarded queue and the drivers above it, against a device that does
//! in its rings, its registers and the memory that it was lent whatever the input says.
//!
//! What must hold: the device writes to nothing but its rings and what is lent, which [`Recorded`] knows from the queue itself; so
//! AddressSanitizer sees a buffer that a driver frees while it is lent, and [`Recorded`] one that is lent twice.

extern crate std;

use alloc::{
    alloc::{Layout, alloc_zeroed, dealloc},
    boxed::Box,
    collections::BTreeMap,
    sync::Arc,
    vec,
    vec::Vec,
};
use core::{
    cell::{Cell, RefCell},
    ptr::NonNull,
    task::{Context, Waker},
};

use ebb_block::{BLOCK, BlockDevice, Pending};
use ebb_net::vsock::Address;
use spin::mutex::SpinMutex as Mutex;
use virtio_drivers::{
    BufferDirection, Hal, PAGE_SIZE, PhysAddr, Result as VirtioResult,
    transport::{DeviceStatus, DeviceType, Transport},
};
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    block::{Disk, Driver, LIMIT_NS},
    console::Console,
    played::{says_nothing, word},
    queue::{Guarded, Lent, Span},
    vsock::device::Sockets,
};

std::thread_local! {
    /// What devices of this thread have been lent: where it begins, its bytes, and whether the device writes to it.
    static LENT: RefCell<BTreeMap<usize, (usize, bool)>> = const { RefCell::new(BTreeMap::new()) };
    static NOW_NS: Cell<u64> = const { Cell::new(0) };
    /// Devices so far that never did their reset: drivers must not free what those have.
    static NEVER_RESET: Cell<u32> = const { Cell::new(0) };
}

/// Memory whose addresses the device sees as they are, with a record of what it is lent.
struct Recorded;

fn pages(count: usize) -> Layout {
    Layout::from_size_align(count * PAGE_SIZE, PAGE_SIZE).expect("a queue is small")
}

// SAFETY: pages of their own, zeroed; the device, which is in the same thread, uses none of them once its driver is gone.
unsafe impl Hal for Recorded {
    fn dma_alloc(count: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: there is at least one page.
        let memory = NonNull::new(unsafe { alloc_zeroed(pages(count)) }).expect("there is memory");
        (memory.as_ptr().expose_provenance() as u64, memory)
    }

    unsafe fn dma_dealloc(_: PhysAddr, memory: NonNull<u8>, count: usize) -> i32 {
        // SAFETY: allocated above, with this layout.
        unsafe { dealloc(memory.as_ptr(), pages(count)) };
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        unreachable!("no registers are mapped")
    }

    unsafe fn share(buffer: NonNull<[u8]>, direction: BufferDirection) -> PhysAddr {
        let start = buffer.cast::<u8>().as_ptr().expose_provenance();
        let end = start + buffer.len();
        LENT.with_borrow_mut(|lent| {
            let before = lent.range(..end).next_back();
            let is_apart = before.is_none_or(|(at, (length, _))| at + length <= start);
            assert!(is_apart, "what the device has is lent again");
            let is_written = direction == BufferDirection::DeviceToDriver;
            lent.insert(start, (buffer.len(), is_written));
        });
        start as u64
    }

    unsafe fn unshare(_: PhysAddr, buffer: NonNull<[u8]>, _: BufferDirection) {
        let start = buffer.cast::<u8>().as_ptr().addr();
        let was = LENT.with_borrow_mut(|lent| lent.remove(&start));
        let length = was.map(|(length, _)| length);
        assert_eq!(length, Some(buffer.len()), "taken back and was not lent");
    }
}

/// Bytes that say what happens; none left are zeros.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn next(&mut self) -> Option<u8> {
        self.0.split_off_first().copied()
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn long(&mut self) -> u32 {
        u32::from(self.word()) | u32::from(self.word()) << 16
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit.max(1)
    }
}

/// What driver and device both see.
struct Registers {
    kind: DeviceType,
    features: u64,
    config: Vec<u8>,
    status: u32,
    /// It never does its reset.
    is_stuck: bool,
    queue_size: u32,
    /// By queue: descriptors, addresses of them, of the driver's area and the device's.
    rings: BTreeMap<u16, (u16, [u64; 3])>,
}

#[derive(Clone)]
struct Whatever(Arc<Mutex<Registers>>);

impl Transport for Whatever {
    says_nothing!();
    fn device_type(&self) -> DeviceType {
        self.0.lock().kind
    }
    fn read_device_features(&mut self) -> u64 {
        self.0.lock().features
    }
    fn write_driver_features(&mut self, _: u64) {}
    fn max_queue_size(&mut self, _: u16) -> u32 {
        self.0.lock().queue_size
    }
    fn notify(&mut self, _: u16) {}
    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.0.lock().status)
    }
    fn set_status(&mut self, status: DeviceStatus) {
        let mut registers = self.0.lock();
        if !status.is_empty() {
            registers.status = status.bits();
        } else if !registers.is_stuck {
            registers.status = 0;
            LENT.with_borrow_mut(BTreeMap::clear);
        }
    }
    fn queue_set(&mut self, queue: u16, size: u32, a: PhysAddr, b: PhysAddr, c: PhysAddr) {
        let ring = (size as u16, [a, b, c]);
        self.0.lock().rings.insert(queue, ring);
    }
    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> VirtioResult<T> {
        let registers = self.0.lock();
        let bytes = registers.config.get(offset..offset + size_of::<T>());
        let bytes = bytes.ok_or(virtio_drivers::Error::ConfigSpaceTooSmall)?;
        Ok(T::read_from_bytes(bytes).expect("as long as it is"))
    }
}

/// The device's side: how much of each queue it has looked at.
struct Device {
    registers: Whatever,
    seen: BTreeMap<u16, u16>,
    last: u32,
}

impl Device {
    fn new(input: &mut Input, kind: DeviceType, mut config: Vec<u8>) -> Self {
        NOW_NS.set(0);
        LENT.with_borrow_mut(BTreeMap::clear);
        let what = input.byte();
        // Sometimes, since what such a device has is lost to this process.
        let is_stuck = what == 0x5a && NEVER_RESET.get() < 1_000;
        NEVER_RESET.set(NEVER_RESET.get() + u32::from(is_stuck));
        if what & 0x80 != 0 {
            let at = input.below(config.len());
            config[at] = input.byte();
        }
        let registers = Registers {
            kind,
            features: 1 << 32 | u64::from(input.long()) & !(u64::from(what & 1) << 29),
            config,
            status: 0,
            is_stuck,
            queue_size: 256,
            rings: BTreeMap::new(),
        };
        Self {
            registers: Whatever(Arc::new(Mutex::new(registers))),
            seen: BTreeMap::new(),
            last: 0,
        }
    }

    /// Fills what is lent at `address` to be written to, if it still is.
    fn fill(address: u64, input: &mut Input, most: usize) {
        let lent = LENT.with_borrow(|lent| lent.get(&(address as usize)).copied());
        if let Some((length, true)) = lent {
            let count = usize::from(input.byte()).min(most).min(length);
            let byte = input.byte();
            for n in 0..length {
                let byte = if n < count { input.byte() } else { byte };
                // SAFETY: within what is lent to be written to.
                unsafe { word(address).cast::<u8>().add(n).write_volatile(byte) };
            }
        }
    }

    /// Writes to all that it still has: it may, whatever the driver thinks of it.
    fn write_everywhere() {
        let lent: Vec<_> = LENT.with_borrow(|lent| lent.iter().map(|(at, l)| (*at, *l)).collect());
        for (at, (length, _)) in lent.into_iter().filter(|(_, (_, is_written))| *is_written) {
            for place in [at, at + length - 1] {
                // SAFETY: within what is lent to be written to.
                unsafe { word(place as u64).cast::<u8>().write_volatile(0x55) };
            }
        }
    }

    /// One thing that a device may do.
    fn step(&mut self, input: &mut Input) {
        let (what, number) = (input.byte(), input.byte());
        let ring = {
            let registers = self.registers.0.lock();
            let count = registers.rings.len().max(1);
            let ring = registers.rings.iter().nth(usize::from(number) % count);
            ring.map(|(queue, ring)| (*queue, *ring))
        };
        let Some((queue, (size, [descriptors, driver, device]))) = ring else {
            return;
        };
        let ring = Ring { size, device };
        match what % 12 {
            // As it should be, with what is in the buffers of the input's choice.
            0..=4 => {
                let seen = self.seen.entry(queue).or_default();
                // SAFETY: the rings of a queue that is there, as long as its driver is; everything is one thread.
                let index = unsafe { word(driver + 2).read_volatile() };
                if index == *seen {
                    return;
                }
                // SAFETY: as above.
                let head =
                    unsafe { word(driver + 4 + 2 * u64::from(*seen % size)).read_volatile() };
                *seen = seen.wrapping_add(1);
                let mut written = 0;
                let mut at = head % size;
                for _ in 0..4 {
                    let descriptor = descriptors + 16 * u64::from(at);
                    // SAFETY: as above; a descriptor of the table.
                    let (address, length, flags, next) = unsafe {
                        (
                            word(descriptor).cast::<u64>().read_volatile(),
                            word(descriptor + 8).cast::<u32>().read_volatile(),
                            word(descriptor + 12).read_volatile(),
                            word(descriptor + 14).read_volatile(),
                        )
                    };
                    if flags & 2 != 0 {
                        Self::fill(address, input, 96);
                        written += length;
                    }
                    if flags & 1 == 0 {
                        break;
                    }
                    at = next % size;
                }
                self.last = head.into();
                ring.give(head.into(), if what < 128 { written } else { input.long() });
            }
            // No such chain, or one that it has not looked at; the last one again; entries that were never written.
            5 => ring.give(input.long(), input.long()),
            6 => ring.give(input.below(size.into()) as u32, input.long()),
            7 => ring.give(self.last, input.long()),
            8 => ring.set_index(ring.index().wrapping_add(input.word())),
            9 => ring.write(input.word(), input.long(), input.long()),
            // A descriptor; the device's wishes; anything that it was lent, at any time.
            10 => {
                let at = input.below(8 * usize::from(size));
                // SAFETY: as above; within the table.
                unsafe { word(descriptors + 2 * at as u64).write_volatile(input.word()) };
            }
            _ if number & 1 == 0 => {
                let wish = device + 4 + 8 * u64::from(size);
                // SAFETY: as above; the flags, and what follows the ring.
                unsafe {
                    word(device).write_volatile(input.word());
                    word(wish).write_volatile(input.word());
                }
            }
            _ => {
                let at = input.below(LENT.with_borrow(BTreeMap::len));
                let address = LENT.with_borrow(|lent| lent.keys().nth(at).copied());
                if let Some(address) = address {
                    Self::fill(address as u64, input, 96);
                }
            }
        }
    }
}

/// A used ring.
struct Ring {
    size: u16,
    device: u64,
}

impl Ring {
    fn index(&self) -> u16 {
        // SAFETY: the ring of a queue that is there, as long as its driver is; everything is one thread.
        unsafe { word(self.device + 2).read_volatile() }
    }

    fn set_index(&self, index: u16) {
        // SAFETY: as above.
        unsafe { word(self.device + 2).write_volatile(index) };
    }

    fn write(&self, place: u16, id: u32, length: u32) {
        // SAFETY: as above; an entry of the ring.
        unsafe {
            let entry = word(self.device + 4 + 8 * u64::from(place % self.size)).cast::<u32>();
            entry.write_volatile(id);
            entry.add(1).write_volatile(length);
        }
    }

    fn give(&self, id: u32, length: u32) {
        self.write(self.index(), id, length);
        self.set_index(self.index().wrapping_add(1));
    }
}

/// What an input begins with says which driver it is for.
pub fn rings(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 4 {
        0 => queue(&mut input),
        1 => disk(&mut input),
        2 => channels(&mut input),
        _ => sockets(&mut input),
    }
    LENT.with_borrow_mut(BTreeMap::clear);
}

/// The queue by itself: a chain comes back once, and only while the device has it.
fn queue(input: &mut Input) {
    const SIZE: usize = 16;
    type Buffers = [Box<[u8]>; 4];
    let mut device = Device::new(input, DeviceType::Block, vec![0; 8]);
    let mut transport = device.registers.clone();
    let event_index = input.byte() & 1 != 0;
    let queue =
        Guarded::<Recorded, (u32, Buffers), SIZE>::with_event_index(&mut transport, 0, event_index);
    let mut queue = queue.unwrap_or_else(|_| unreachable!("its queue is large enough"));
    let mut outside: BTreeMap<u32, ()> = BTreeMap::new();
    let mut next = 0;
    while let Some(what) = input.next() {
        match what % 8 {
            0 | 1 => {
                let mut buffers: Buffers =
                    core::array::from_fn(|_| vec![0; 1 + input.below(64)].into());
                let mut span = |n: usize| {
                    let start = NonNull::new(buffers[n].as_mut_ptr());
                    let start = start.filter(|_| n == 0 || what & 16 << n != 0);
                    let length = buffers[n].len();
                    start.map(|start| Span { start, length })
                };
                let lent = Lent {
                    read: [span(0), span(1)],
                    write: [span(2), span(3)],
                };
                // SAFETY: the tag keeps the buffers, which nobody touches until it comes back.
                if unsafe { queue.add(lent, (next, buffers)) }.is_ok() {
                    outside.insert(next, ());
                }
                next += 1;
                queue.notify(&mut transport);
            }
            2 => {
                if let Ok(Some(((tag, _), _))) = queue.pop() {
                    assert!(outside.remove(&tag).is_some(), "it came back twice");
                }
            }
            3 => queue.want_no_interrupt(),
            4 => _ = queue.want_interrupt(),
            _ => device.step(input),
        }
        let mut tags: Vec<u32> = queue.tags().map(|(tag, _)| *tag).collect();
        tags.sort_unstable();
        assert!(tags.iter().eq(outside.keys()), "a chain is lost");
    }
    transport.set_status(DeviceStatus::empty());
    let is_reset = transport.get_status().is_empty();
    Device::write_everywhere();
    let lent = queue.abandon();
    assert_eq!(lent.len(), outside.len());
    if !is_reset {
        lent.into_iter().for_each(core::mem::forget);
    }
}

fn now_ns() -> u64 {
    NOW_NS.get()
}

fn disk(input: &mut Input) {
    let mut config = vec![0; 60];
    config[..8].copy_from_slice(&2_048_u64.to_le_bytes());
    config[8..12].copy_from_slice(&8_192_u32.to_le_bytes());
    config[20..24].copy_from_slice(&512_u32.to_le_bytes());
    let mut device = Device::new(input, DeviceType::Block, config);
    let Ok(driver) = Driver::<Recorded, _>::new(device.registers.clone(), now_ns) else {
        return;
    };
    driver.start();
    let disk = Disk(Arc::new(driver));
    let mut pending: Vec<Pending<()>> = Vec::new();
    while let Some(what) = input.next() {
        let (at, length) = (u64::from(what >> 4), 1 + usize::from(what >> 6));
        let (at, length) = (at * BLOCK as u64, length * BLOCK);
        match what % 8 {
            0 => pending.push(disk.flush()),
            1 => pending.push(disk.write(at, vec![what; length])),
            2 => {
                let read = disk.read(at, length);
                pending.push(Box::pin(async move {
                    let bytes = read.await?;
                    assert_eq!(bytes.len(), length);
                    Ok(())
                }));
            }
            3 => _ = disk.0.service(),
            4 if what & 0x10 != 0 => drop(pending.pop()),
            4 => {
                NOW_NS.set(NOW_NS.get() + LIMIT_NS / 4);
                disk.0.watch(LIMIT_NS);
            }
            _ => device.step(input),
        }
    }
    // An index that runs ahead may first give back what is lent meanwhile.
    for _ in 0..3 {
        NOW_NS.set(NOW_NS.get() + 2 * LIMIT_NS);
        disk.0.watch(LIMIT_NS);
        disk.0.service();
    }
    Device::write_everywhere();
    let mut context = Context::from_waker(Waker::noop());
    for request in &mut pending {
        assert!(request.as_mut().poll(&mut context).is_ready());
    }
}

fn channels(input: &mut Input) {
    let mut config = vec![0; 12];
    config[4] = 3;
    let mut device = Device::new(input, DeviceType::Console, config);
    let mut registers = device.registers.0.lock();
    registers.queue_size = 32;
    registers.features |= 2;
    drop(registers);
    let Ok(mut console) = Console::<Recorded, _>::new(device.registers.clone()) else {
        return;
    };
    console.start();
    let (mut held, mut wakers) = (Vec::new(), Vec::new());
    let waker = Waker::noop();
    while let Some(what) = input.next() {
        let number = held.get(usize::from(what >> 6)).copied();
        match (what % 16, number) {
            (0, _) => held.extend(console.take("")),
            (1, _) => held.extend(console.take("a")),
            (2, Some(number)) => {
                held.retain(|held| *held != number);
                console.release(number);
            }
            (3, Some(number)) => _ = console.poll_connected(number, waker),
            (4, Some(number)) => {
                let mut bytes = [0; 600];
                _ = console.poll_read(number, waker, &mut bytes[..10 * usize::from(what >> 2)]);
            }
            (5, Some(number)) => _ = console.poll_write(number, waker, &[what; 5_000]),
            (6, Some(number)) => _ = console.poll_flush(number, waker),
            (7 | 8, _) => _ = console.service(&mut wakers),
            _ => device.step(input),
        }
    }
    console.service(&mut wakers);
    Device::write_everywhere();
}

fn sockets(input: &mut Input) {
    const CID: u32 = 3;
    let peer = |what: u8| Address {
        cid: 2,
        port: u32::from(what >> 6),
    };
    let mut device = Device::new(
        input,
        DeviceType::Socket,
        vec![CID as u8, 0, 0, 0, 0, 0, 0, 0],
    );
    let Ok(mut driver) = Sockets::<Recorded, _>::new(device.registers.clone(), 8, now_ns) else {
        return;
    };
    driver.start();
    let mut held = Vec::new();
    while let Some(what) = input.next() {
        let place = usize::from(what >> 4) % held.len().max(1);
        let id = held.get(place).copied();
        match (what % 16, id) {
            (0, _) => held.extend(driver.listen(u32::from(what >> 5), 2)),
            (1, Some(id)) => held.extend(driver.accept(id).map(|(id, _)| id)),
            (2, _) => held.extend(driver.connect(peer(what))),
            (3, Some(id)) => _ = driver.send(id, &[what; 5_000]),
            (4, Some(id)) => {
                if let Ok(mut bytes) = driver.take_received(id) {
                    let count = bytes.len().min(usize::from(what));
                    bytes.drain(..count);
                    driver.put_back(id, bytes, count);
                }
            }
            (5, Some(id)) => _ = driver.shutdown_write(id),
            (6, Some(id)) => {
                held.swap_remove(place);
                match what & 0x80 {
                    0 => driver.close(id),
                    _ => driver.abort(id),
                }
            }
            (7, Some(id)) => _ = (driver.connected(id), driver.peer(id), driver.readiness(id)),
            (8, _) => {
                NOW_NS.set(NOW_NS.get() + (1 << 30));
                driver.tick();
            }
            (9 | 10, _) => _ = driver.service(),
            _ => device.step(input),
        }
        driver.woken.clear();
    }
    held.into_iter().for_each(|id| driver.close(id));
    driver.service();
    Device::write_everywhere();
}

#[cfg(test)]
mod tests {
    use ebb_block::sim::Random;

    /// The fuzz target's short form: each driver, and devices that chance makes.
    #[test]
    fn whatever_a_device_does_in_its_rings_no_driver_panics_or_lends_a_buffer_twice() {
        for seed in 0..4_000 {
            let mut random = Random::new(seed);
            let mut data = alloc::vec![seed as u8];
            for _ in 0..random.below(400) {
                // Honest steps and small numbers most of the time: a broken device is used no more.
                data.push(match random.below(4) {
                    0 => random.number() as u8,
                    1 => random.below(16) as u8,
                    2 => 15,
                    _ => 0,
                });
            }
            super::rings(&data);
        }
    }
}
