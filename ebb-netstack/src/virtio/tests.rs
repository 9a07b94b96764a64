//! The driver against a device that is played here: one that keeps the rules, and one that does not.

use alloc::{boxed::Box, vec, vec::Vec};
use core::ptr;

use bytes::Bytes;

use ebb_virtio::{Dma, Doorbell};

use super::{
    net::{HEADER, Receiver, Transmitter},
    queue::{Bell, Broken, Queue},
};
use crate::{host::BUFFER, link::Offload};

/// Addresses are what they are.
const DMA: Dma = Dma {
    linear: 0,
    reach: usize::MAX,
};
const SIZE: u16 = 8;

/// The other side of a queue.
struct Device {
    descriptors: *const u8,
    driver: *const u16,
    device: *mut u16,
    seen: u16,
    used: u16,
}

impl Device {
    fn of(queue: &Queue) -> Self {
        let (device, driver) = queue.device_area();
        let descriptors = queue.addresses(&DMA).unwrap().descriptors;
        Self {
            descriptors: ptr::with_exposed_provenance(descriptors as usize),
            driver,
            device,
            seen: 0,
            used: 0,
        }
    }

    fn descriptor(&self, n: u16) -> (u64, u32, u16, u16) {
        assert!(n < SIZE);
        // SAFETY: within the table of SIZE descriptors.
        unsafe {
            let at = self.descriptors.add(16 * usize::from(n));
            (
                at.cast::<u64>().read_volatile(),
                at.add(8).cast::<u32>().read_volatile(),
                at.add(12).cast::<u16>().read_volatile(),
                at.add(14).cast::<u16>().read_volatile(),
            )
        }
    }

    /// The next chain that the driver offers.
    fn take(&mut self) -> Option<u16> {
        // SAFETY: within the driver's area.
        unsafe {
            if self.driver.add(1).read_volatile() == self.seen {
                return None;
            }
            let head = self
                .driver
                .add(2 + usize::from(self.seen % SIZE))
                .read_volatile();
            self.seen = self.seen.wrapping_add(1);
            Some(head)
        }
    }

    /// All bytes of a chain.
    fn bytes(&self, head: u16) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = head;
        loop {
            let (address, length, flags, next) = self.descriptor(at);
            // SAFETY: the driver offers memory that is valid until the chain is given back.
            out.extend_from_slice(unsafe {
                core::slice::from_raw_parts(
                    ptr::with_exposed_provenance(address as usize),
                    length as usize,
                )
            });
            if flags & 1 == 0 {
                return out;
            }
            at = next;
        }
    }

    fn fill(&self, head: u16, bytes: &[u8]) {
        let (address, length, flags, _) = self.descriptor(head);
        assert!(flags & 2 != 0 && bytes.len() <= length as usize);
        // SAFETY: as in `bytes`.
        unsafe {
            ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                ptr::with_exposed_provenance_mut(address as usize),
                bytes.len(),
            );
        }
    }

    fn give_back(&mut self, head: u32, length: u32) {
        // SAFETY: within the device's area.
        unsafe {
            let place = self
                .device
                .add(2 + 4 * usize::from(self.used % SIZE))
                .cast::<u32>();
            place.write_unaligned(head);
            place.add(1).write_unaligned(length);
        }
        self.used = self.used.wrapping_add(1);
        self.set_index(self.used);
    }

    fn set_index(&mut self, index: u16) {
        // SAFETY: within the device's area.
        unsafe { self.device.add(1).write_volatile(index) };
    }
}

fn buffer() -> Box<[u8]> {
    vec![0; BUFFER].into_boxed_slice()
}

fn receiver() -> (Receiver, Device) {
    let queue = Queue::new(SIZE, true, 0, None).unwrap();
    let device = Device::of(&queue);
    let mut receiver = Receiver::new(queue, DMA, true);
    receiver.refill(buffer);
    (receiver, device)
}

/// A frame as the device writes it, of so many buffers.
fn frame(count: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[10..12].copy_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Numbers that look random and are the same every time (Marsaglia 2003, "Xorshift RNGs").
fn random(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    }
}

#[test]
fn frames_come_in_order_and_buffers_are_used_again_and_again() {
    let (mut receiver, mut device) = receiver();
    for n in 0..100_000u32 {
        let head = device.take().unwrap();
        device.fill(head, &frame(1, &n.to_le_bytes()));
        device.give_back(head.into(), HEADER as u32 + 4);
        let got = receiver.receive().unwrap().unwrap();
        assert_eq!(got.first.bytes(), n.to_le_bytes());
        receiver.refill(|| got.first.buffer.clone());
    }
    assert!(receiver.receive().unwrap().is_none());
}

#[test]
fn a_frame_of_several_buffers_is_put_together_also_when_they_come_late() {
    let (mut receiver, mut device) = receiver();
    let heads: Vec<_> = (0..3).map(|_| device.take().unwrap()).collect();
    device.fill(heads[0], &frame(3, b"one"));
    device.give_back(heads[0].into(), HEADER as u32 + 3);
    device.fill(heads[1], b"two");
    device.give_back(heads[1].into(), 3);
    assert!(receiver.receive().unwrap().is_none());
    device.fill(heads[2], b"three");
    device.give_back(heads[2].into(), 5);
    let got = receiver.receive().unwrap().unwrap();
    assert_eq!(got.flatten(), b"onetwothree");
}

#[test]
fn lengths_and_counts_that_make_no_sense_are_cut_or_dropped() {
    let (mut receiver, mut device) = receiver();
    // Longer than the buffer, shorter than the header, no buffers, too many buffers.
    let head = device.take().unwrap();
    device.fill(head, &frame(1, b"x"));
    device.give_back(head.into(), u32::MAX);
    assert_eq!(receiver.receive().unwrap().unwrap().len(), BUFFER - HEADER);
    for (count, length) in [(1, 3), (0, 60), (u16::MAX, 60)] {
        let head = device.take().unwrap();
        device.fill(head, &frame(count, b"x"));
        device.give_back(head.into(), length);
    }
    assert!(receiver.receive().unwrap().is_none());
    assert_eq!(receiver.nonsense, 3);
}

#[test]
fn a_device_that_gives_back_what_it_does_not_have_is_given_up() {
    type Trick = fn(&mut Device);
    let tricks: [Trick; 5] = [
        |device| device.give_back(u32::from(SIZE), 20),
        |device| device.give_back(u32::MAX, 20),
        |device| {
            // The same chain twice.
            let head = device.take().unwrap().into();
            device.give_back(head, 20);
            device.give_back(head, 20);
        },
        // More than there are.
        |device| device.set_index(SIZE + 1),
        // Back in time.
        |device| device.set_index(u16::MAX),
    ];
    for trick in tricks {
        let (mut receiver, mut device) = receiver();
        trick(&mut device);
        let broken = (0..3).any(|_| matches!(receiver.receive(), Err(Broken)));
        assert!(broken);
        // For good, and without a buffer more.
        assert!(receiver.receive().is_err());
        let mut asked = 0;
        receiver.refill(|| {
            asked += 1;
            buffer()
        });
        assert!(asked <= 1);
    }
}

#[test]
fn random_used_rings_neither_panic_nor_give_a_buffer_twice() {
    let mut random = random(7);
    for _ in 0..2000 {
        let (mut receiver, mut device) = receiver();
        let mut given = Vec::new();
        for _ in 0..20 {
            match random() % 8 {
                0 => device.give_back(random() as u32, random() as u32),
                1 => device.set_index(random() as u16),
                2 => device.give_back((random() % u64::from(SIZE)) as u32, random() as u32),
                _ => {
                    if let Some(head) = device.take() {
                        device.fill(head, &frame((random() % 3) as u16, b"abc"));
                        device.give_back(head.into(), (random() % 4096) as u32);
                    }
                }
            }
            while let Ok(Some(frame)) = receiver.receive() {
                for chunk in core::iter::once(frame.first).chain(frame.more) {
                    assert!(chunk.end as usize <= chunk.buffer.len() && chunk.start <= chunk.end);
                    given.push(chunk.buffer);
                }
            }
            receiver.refill(buffer);
        }
        // Each is an allocation of its own: none was given twice.
        let mut all: Vec<_> = given.iter().map(|b| b.as_ptr()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), given.len());
    }
}

fn ring(bell: Option<Bell>) {
    if let Some(bell) = bell {
        bell.ring();
    }
}

#[test]
fn what_is_sent_is_kept_until_the_device_gives_it_back() {
    let queue = Queue::new(SIZE, false, 1, None).unwrap();
    let mut device = Device::of(&queue);
    let mut transmitter = Transmitter::new(queue, DMA).unwrap();
    for round in 0..10_000u32 {
        let body = Bytes::from(vec![round as u8; 1000]);
        let mut fragments = vec![body.slice(..600), body.slice(600..)];
        let sent = transmitter.transmit(4, Offload::default(), &mut fragments, &mut |out| {
            out.copy_from_slice(&round.to_le_bytes());
        });
        assert!(sent && fragments.is_empty());
        ring(transmitter.publish());
        assert!(!body.is_unique() && transmitter.is_holding());
        let head = device.take().unwrap();
        let bytes = device.bytes(head);
        assert_eq!(&bytes[HEADER..HEADER + 4], round.to_le_bytes());
        assert_eq!(&bytes[HEADER + 4..], &body[..]);
        device.give_back(head.into(), 0);
        transmitter.reclaim();
        assert!(body.is_unique() && !transmitter.is_holding());
    }
    // A device that sends nothing: full, without a loss of what was refused.
    let mut count = 0;
    while transmitter.transmit(4, Offload::default(), &mut Vec::new(), &mut |_| ()) {
        count += 1;
    }
    assert_eq!(count, SIZE);
    let mut kept = vec![Bytes::from_static(b"x")];
    assert!(!transmitter.transmit(4, Offload::default(), &mut kept, &mut |_| ()));
    assert_eq!(kept.len(), 1);
    device.set_index(u16::MAX);
    transmitter.reclaim();
    assert!(!transmitter.transmit(4, Offload::default(), &mut kept, &mut |_| ()));
}

#[test]
fn a_device_that_lies_about_what_it_has_sent_frees_nothing_that_it_still_has() {
    let mut random = random(11);
    for _ in 0..2000 {
        let queue = Queue::new(SIZE, true, 1, None).unwrap();
        let mut device = Device::of(&queue);
        let mut transmitter = Transmitter::new(queue, DMA).unwrap();
        // What each chain that the device has refers to.
        let mut lent: Vec<(u16, Vec<Bytes>)> = Vec::new();
        for _ in 0..40 {
            match random() % 8 {
                0 => device.give_back(random() as u32, random() as u32),
                1 => device.set_index(random() as u16),
                2 => device.give_back((random() % u64::from(SIZE)) as u32, 0),
                3 | 4 if !lent.is_empty() => {
                    let (head, parts) = lent.swap_remove(random() as usize % lent.len());
                    device.give_back(head.into(), 0);
                    transmitter.reclaim();
                    drop(parts);
                }
                _ => {
                    let count = 1 + random() as usize % 3;
                    let parts = (0..count).map(|n| Bytes::from(vec![n as u8; 300]));
                    let parts: Vec<_> = parts.collect();
                    let mut given = parts.clone();
                    if transmitter.transmit(4, Offload::default(), &mut given, &mut |_| ()) {
                        ring(transmitter.publish());
                        lent.push((device.take().unwrap(), parts));
                    } else {
                        assert_eq!(given.len(), count);
                    }
                }
            }
            transmitter.reclaim();
            // A chain is let go as a whole. (Where the device names one that it has, a lie cannot be told from the truth.)
            lent.retain(|(_, parts)| {
                let free = parts.iter().filter(|p| p.is_unique()).count();
                assert!(free == 0 || free == parts.len());
                free == 0
            });
        }
        drop(transmitter);
        let mut parts = lent.iter().flat_map(|(_, parts)| parts);
        assert!(parts.all(Bytes::is_unique));
    }
}

#[test]
fn what_is_published_before_another_cores_ring_needs_none_of_its_own() {
    let mut bell = Box::new(0xffff_u16);
    // SAFETY: the bell outlives the queue, and is written through pointers alone.
    let doorbell = unsafe { Doorbell::of_two_bytes(ptr::NonNull::from(&mut *bell)) };
    let bell = &raw mut *bell;
    let queue = Queue::new(SIZE, true, 5, Some(doorbell)).unwrap();
    let mut device = Device::of(&queue);
    let mut transmitter = Transmitter::new(queue, DMA).unwrap();
    let mut publish = || {
        assert!(transmitter.transmit(4, Offload::default(), &mut Vec::new(), &mut |_| ()));
        transmitter.publish()
    };
    let first = publish().unwrap();
    assert!(publish().is_none());
    // The device was not told yet; when it is, it finds both.
    // SAFETY: the bell outlives the queue.
    assert_eq!(unsafe { bell.read_volatile() }, 0xffff);
    first.ring();
    // SAFETY: as above.
    assert_eq!(unsafe { bell.read_volatile() }, 5);
    assert!(device.take().is_some() && device.take().is_some() && device.take().is_none());
}

#[test]
fn doorbells_ring_only_when_the_device_asks() {
    let mut bell = Box::new(0xffff_u16);
    // SAFETY: the bell outlives the queue, and is written through pointers alone.
    let doorbell = unsafe { Doorbell::of_two_bytes(ptr::NonNull::from(&mut *bell)) };
    let queue = Queue::new(SIZE, true, 5, Some(doorbell)).unwrap();
    let device = Device::of(&queue);
    let mut transmitter = Transmitter::new(queue, DMA).unwrap();
    let mut send = |bell: *mut u16| {
        // SAFETY: the bell outlives the queue.
        unsafe { bell.write_volatile(0xffff) };
        assert!(transmitter.transmit(4, Offload::default(), &mut Vec::new(), &mut |_| ()));
        ring(transmitter.publish());
        // SAFETY: as above.
        unsafe { bell.read_volatile() == 5 }
    };
    // The device wants to know of the first, and then, having set nothing new, of no other.
    let bell = &raw mut *bell;
    assert!(send(bell));
    assert!(!send(bell));
    // Of the next one (index 3).
    // SAFETY: the last word of the device's area.
    unsafe {
        device
            .device
            .add(2 + 4 * usize::from(SIZE))
            .write_volatile(2)
    };
    assert!(send(bell));
    assert!(!send(bell));
}
