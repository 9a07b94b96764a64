//! A split virtqueue (VIRTIO 1.2, 2.7), as its driver.
//!
//! What must hold: the driver never believes what the device can write. Descriptor chains are remembered in memory of the
//! driver's own; a used entry counts only if it names a chain that the device has, and no more of them than it has. A
//! device that breaks this gets no further buffers ([`Broken`]). Buffers given to the device stay valid until
//! [`Queue::pop`] gives their chain back, or the device is reset; that is the caller's part, see [`Queue::add`].

use alloc::vec::Vec;
use core::{
    ptr::NonNull,
    sync::atomic::{AtomicU16, Ordering, fence},
};

use ebb_virtio::{Addresses, Dma, Doorbell, device_memory};

const NEXT: u16 = 1;
const DEVICE_WRITES: u16 = 2;
const NO_INTERRUPT: u16 = 1;
const NO_NOTIFY: u16 = 1;

/// The device has broken the protocol: it gave back what it did not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

#[repr(C)]
struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

/// What the driver knows of a descriptor.
#[derive(Clone, Copy, Debug, Default)]
struct Shadow {
    next: u16,
    /// Of a chain's head: how many descriptors it has; 0 when the device does not have it.
    chain: u16,
}

/// The doorbell of a queue that has something for the device.
#[derive(Clone, Copy, Debug)]
#[must_use = "the device waits for it"]
pub struct Bell {
    doorbell: Doorbell,
    queue: u16,
}

impl Bell {
    /// Tells the device.
    #[inline]
    pub fn ring(self) {
        self.doorbell.ring(self.queue);
    }
}

/// See the module.
pub struct Queue {
    size: u16,
    event_index: bool,
    descriptors: NonNull<Descriptor>,
    /// flags, index, ring, used event.
    driver: NonNull<u16>,
    /// flags, index, ring of (u32, u32), available event.
    device: NonNull<u16>,
    shadow: Vec<Shadow>,
    free_head: u16,
    free: u16,
    /// Chains that the device has.
    lent: u16,
    next_available: u16,
    published: u16,
    notified: u16,
    last_used: u16,
    broken: bool,
    /// How often the doorbell was rung.
    pub doorbells: u64,
    /// The doorbell, a register of the device; none in tests.
    doorbell: Option<Doorbell>,
    number: u16,
}

// SAFETY: the memory belongs to the queue alone, apart from the device. All access is through `&mut self` (or reads of the device's indices through `&self`).
unsafe impl Send for Queue {}

impl Queue {
    /// A queue of `size` descriptors, a power of two. `None` without memory.
    pub fn new(
        size: u16,
        event_index: bool,
        number: u16,
        doorbell: Option<Doorbell>,
    ) -> Option<Self> {
        assert!(size.is_power_of_two() && size <= 1 << 15);
        let n = usize::from(size);
        let descriptors = device_memory(16 * n)?.cast();
        let driver = device_memory(2 * (3 + n))?.cast();
        let device = device_memory(2 * 3 + 8 * n)?.cast();
        let shadow = (0..size)
            .map(|d| Shadow {
                next: d.wrapping_add(1),
                chain: 0,
            })
            .collect();
        Some(Self {
            size,
            event_index,
            descriptors,
            driver,
            device,
            shadow,
            free_head: 0,
            free: size,
            lent: 0,
            next_available: 0,
            published: 0,
            notified: 0,
            last_used: 0,
            broken: false,
            doorbells: 0,
            doorbell,
            number,
        })
    }

    /// What to tell the device.
    pub fn addresses(&self, dma: &Dma) -> Option<Addresses> {
        Some(Addresses {
            descriptors: dma.physical(self.descriptors.as_ptr().cast())?,
            driver: dma.physical(self.driver.as_ptr().cast())?,
            device: dma.physical(self.device.as_ptr().cast())?,
        })
    }

    pub fn size(&self) -> u16 {
        self.size
    }

    /// Descriptors that are free.
    #[inline]
    pub fn free(&self) -> u16 {
        self.free
    }

    /// The number that the next chain will have.
    #[inline]
    pub fn next_head(&self) -> u16 {
        self.free_head
    }

    /// The descriptor behind this one in its chain, or of those that are free: a chain that has just come back is still
    /// in order. Behind the last of a chain is one that is free, or the number of none.
    #[inline]
    pub fn following(&self, descriptor: u16) -> u16 {
        self.shadow[usize::from(descriptor)].next
    }

    /// A place in the driver's area.
    #[inline]
    fn driver_at(&self, index: usize) -> &AtomicU16 {
        debug_assert!(index < 3 + usize::from(self.size));
        // SAFETY: within the area's 3 + size words; the device only reads it.
        unsafe { AtomicU16::from_ptr(self.driver.as_ptr().add(index)) }
    }

    /// A place in the device's area.
    #[inline]
    fn device_at(&self, index: usize) -> &AtomicU16 {
        debug_assert!(index < 3 + 4 * usize::from(self.size));
        // SAFETY: within the area's 3 + 4 * size words; the device writes it, so it is read atomically.
        unsafe { AtomicU16::from_ptr(self.device.as_ptr().add(index)) }
    }

    /// Offers a chain of buffers (physical address, length) to the device, which sees it after [`publish`](Self::publish). Gives
    /// the chain's number, or `None` without room.
    ///
    /// # Safety
    /// Each range is memory that the device may read (or, with `device_writes`, write) until [`pop`](Self::pop) gives
    /// this chain back.
    #[inline]
    pub unsafe fn add(
        &mut self,
        buffers: impl ExactSizeIterator<Item = (u64, u32)>,
        device_writes: bool,
    ) -> Option<u16> {
        let count = buffers.len() as u16;
        // SAFETY: the caller's promise.
        unsafe { self.add_chain(buffers.map(|(a, l)| (a, l, device_writes)), count) }
    }

    /// As [`add`](Self::add): parts to read, then one to be written.
    ///
    /// # Safety
    /// As [`add`](Self::add).
    pub unsafe fn add_command(&mut self, read: &[(u64, u32)], write: (u64, u32)) -> Option<u16> {
        let parts = read.iter().map(|(a, l)| (*a, *l, false));
        let all = parts.chain(core::iter::once((write.0, write.1, true)));
        // SAFETY: the caller's promise.
        unsafe { self.add_chain(all, read.len() as u16 + 1) }
    }

    /// # Safety
    /// As [`add`](Self::add).
    #[inline]
    unsafe fn add_chain(
        &mut self,
        buffers: impl Iterator<Item = (u64, u32, bool)>,
        count: u16,
    ) -> Option<u16> {
        if self.broken || count == 0 || count > self.free {
            return None;
        }
        let head = self.free_head;
        let mut at = head;
        for (n, (address, length, device_writes)) in (1..).zip(buffers) {
            let last = n == count;
            let next = self.shadow[usize::from(at)].next;
            let descriptor = Descriptor {
                address,
                length,
                flags: if last { 0 } else { NEXT } | if device_writes { DEVICE_WRITES } else { 0 },
                next: if last { 0 } else { next },
            };
            // SAFETY: `at` is a free descriptor's number, below `size`: it comes from the shadow table, which only
            // the driver writes. The device has no chain with it, so it does not read it now.
            unsafe {
                self.descriptors
                    .add(usize::from(at))
                    .write_volatile(descriptor)
            };
            if last {
                self.free_head = next;
            } else {
                at = next;
            }
        }
        self.free -= count;
        self.lent += 1;
        self.shadow[usize::from(head)].chain = count;
        let place = 2 + usize::from(self.next_available & (self.size - 1));
        self.driver_at(place).store(head, Ordering::Relaxed);
        self.next_available = self.next_available.wrapping_add(1);
        Some(head)
    }

    /// Lets the device see what was added, and rings its doorbell if it asked for that.
    #[inline]
    pub fn publish(&mut self) {
        if let Some(bell) = self.publish_quietly() {
            bell.ring();
        }
    }

    /// Lets the device see what was added. If it asked for its doorbell, that is to be rung by the caller, at once but not
    /// necessarily with the queue in its hands: to ring is an exit from the machine, and tells only that there is something (VIRTIO 1.2,
    /// 2.7.13.4). Whoever publishes between the two relies on this ring; what it tells of includes theirs.
    #[inline]
    #[must_use]
    pub fn publish_quietly(&mut self) -> Option<Bell> {
        if self.published == self.next_available {
            return None;
        }
        self.published = self.next_available;
        self.driver_at(1).store(self.published, Ordering::Release);
        // The device's wish must be read after it can see the index.
        fence(Ordering::SeqCst);
        let wanted = if self.event_index {
            let event = self
                .device_at(2 + 4 * usize::from(self.size))
                .load(Ordering::Relaxed);
            // Did the index pass the event since the last doorbell?
            self.published.wrapping_sub(event).wrapping_sub(1)
                < self.published.wrapping_sub(self.notified)
        } else {
            self.device_at(0).load(Ordering::Relaxed) & NO_NOTIFY == 0
        };
        if !wanted {
            return None;
        }
        self.notified = self.published;
        self.doorbells += 1;
        Some(Bell {
            doorbell: self.doorbell?,
            queue: self.number,
        })
    }

    /// Whether the device has given something back.
    #[inline]
    pub fn has_used(&self) -> bool {
        self.device_at(1).load(Ordering::Acquire) != self.last_used
    }

    /// Takes back a chain: its number, and how many bytes the device says it wrote.
    ///
    /// # Errors
    /// When the device gives back what it does not have. The queue is dead then.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<(u16, u32)>, Broken> {
        if self.broken {
            return Err(Broken);
        }
        let used = self.device_at(1).load(Ordering::Acquire);
        let pending = used.wrapping_sub(self.last_used);
        if pending == 0 {
            return Ok(None);
        }
        if pending > self.lent {
            self.broken = true;
            return Err(Broken);
        }
        let place = 2 + 4 * usize::from(self.last_used & (self.size - 1));
        let word = |n: usize| u32::from(self.device_at(place + n).load(Ordering::Relaxed));
        let head = word(0) | word(1) << 16;
        let length = word(2) | word(3) << 16;
        let chain = usize::try_from(head)
            .ok()
            .and_then(|h| self.shadow.get_mut(h))
            .map_or(0, |s| core::mem::take(&mut s.chain));
        if chain == 0 {
            self.broken = true;
            return Err(Broken);
        }
        let head = head as u16;
        self.last_used = self.last_used.wrapping_add(1);
        self.lent -= 1;
        self.free += chain;
        // Its descriptors go back to the front of the free ones.
        let mut last = head;
        for _ in 1..chain {
            last = self.shadow[usize::from(last)].next;
        }
        self.shadow[usize::from(last)].next = self.free_head;
        self.free_head = head;
        Ok(Some((head, length)))
    }

    /// Asks the device for an interrupt at the next chain it gives back. True when one has come already, in which
    /// case there may be no interrupt.
    pub fn want_interrupt(&mut self) -> bool {
        if self.event_index {
            self.driver_at(2 + usize::from(self.size))
                .store(self.last_used, Ordering::Relaxed);
        } else {
            self.driver_at(0).store(0, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        self.has_used()
    }

    /// Asks for none. A hint: one may still come.
    pub fn want_no_interrupt(&mut self) {
        if self.event_index {
            // As far away as it can be.
            self.driver_at(2 + usize::from(self.size))
                .store(self.last_used.wrapping_sub(1), Ordering::Relaxed);
        } else {
            self.driver_at(0).store(NO_INTERRUPT, Ordering::Relaxed);
        }
    }

    /// The memory that the device writes, for tests that play the device.
    #[cfg(test)]
    pub fn device_area(&self) -> (*mut u16, *const u16) {
        (self.device.as_ptr(), self.driver.as_ptr())
    }
}
