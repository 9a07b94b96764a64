//! The driver of channels against a console device that is played here: an honest one, and ones that lie.

extern crate std;

use alloc::{collections::BTreeMap, sync::Arc, vec, vec::Vec};

use ebb_block::sim::Random;
use spin::mutex::SpinMutex as Mutex;
use virtio_drivers::{
    PhysAddr, Result as VirtioResult,
    transport::{DeviceStatus, DeviceType},
};
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::{
    identity::Identity,
    played::{says_nothing, word},
};

/// What driver and device both see.
#[derive(Default)]
struct Registers {
    ports: u32,
    status: u32,
    /// Addresses of the descriptors, the driver's area and the device's, by queue.
    rings: BTreeMap<u16, [u64; 3]>,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Registers>>);

impl Transport for Fake {
    says_nothing!();
    fn device_type(&self) -> DeviceType {
        DeviceType::Console
    }
    fn read_device_features(&mut self) -> u64 {
        device::VERSION_1 | feature::MULTIPORT
    }
    fn write_driver_features(&mut self, _: u64) {}
    fn max_queue_size(&mut self, _: u16) -> u32 {
        32
    }
    fn notify(&mut self, _: u16) {}
    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.0.lock().status)
    }
    fn set_status(&mut self, status: DeviceStatus) {
        self.0.lock().status = status.bits();
    }
    fn queue_set(&mut self, queue: u16, size: u32, a: PhysAddr, b: PhysAddr, c: PhysAddr) {
        assert_eq!(size as usize, QUEUE);
        self.0.lock().rings.insert(queue, [a, b, c]);
    }
    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> VirtioResult<T> {
        assert_eq!(offset, MAX_PORTS);
        Ok(T::read_from_bytes(&self.0.lock().ports.to_le_bytes()).unwrap())
    }
}

/// The device's side: for each queue what it has seen and what it has given back.
struct Device {
    fake: Fake,
    at: BTreeMap<u16, (u16, u16)>,
}

impl Device {
    fn new(ports: u32) -> (Self, Console<Identity, Fake>) {
        let fake = Fake::default();
        fake.0.lock().ports = ports;
        let mut console = Console::new(fake.clone()).unwrap();
        console.start();
        let at = BTreeMap::new();
        (Self { fake, at }, console)
    }

    /// The next buffer of a queue: its chain, address and length.
    fn take(&mut self, queue: u16) -> Option<(u16, u64, usize)> {
        if self.fake.0.lock().status == 0 {
            // It was reset.
            return None;
        }
        let [descriptors, driver, _] = self.fake.0.lock().rings[&queue];
        let (seen, _) = self.at.entry(queue).or_default();
        // SAFETY: the rings of the queue, which are never freed; everything here is one thread.
        unsafe {
            if word(driver + 2).read_volatile() == *seen {
                return None;
            }
            let head = word(driver + 4 + 2 * u64::from(*seen % QUEUE as u16)).read_volatile();
            *seen = seen.wrapping_add(1);
            let descriptor = descriptors + 16 * u64::from(head);
            let address = word(descriptor).cast::<u64>().read_volatile();
            let length = word(descriptor + 8).cast::<u32>().read_volatile();
            Some((head, address, length as usize))
        }
    }

    fn give(&mut self, queue: u16, id: u32, length: u32) {
        let [_, _, device] = self.fake.0.lock().rings[&queue];
        let (_, used) = self.at.entry(queue).or_default();
        // SAFETY: as in `take`.
        unsafe {
            let entry = word(device + 4 + 8 * u64::from(*used % QUEUE as u16)).cast::<u32>();
            entry.write_volatile(id);
            entry.add(1).write_volatile(length);
            *used = used.wrapping_add(1);
            word(device + 2).write_volatile(*used);
        }
    }

    /// Writes into the next buffer that was lent. False when there is none.
    fn put(&mut self, queue: u16, bytes: &[u8]) -> bool {
        let Some((head, address, length)) = self.take(queue) else {
            return false;
        };
        assert!(bytes.len() <= length);
        // SAFETY: a buffer that the driver has lent.
        unsafe { core::ptr::copy(bytes.as_ptr(), word(address).cast(), bytes.len()) };
        self.give(queue, head.into(), bytes.len() as u32);
        true
    }

    /// What the driver has sent.
    fn sent(&mut self, queue: u16) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some((head, address, length)) = self.take(queue) {
            // SAFETY: as in `put`.
            all.extend_from_slice(unsafe {
                core::slice::from_raw_parts(word(address).cast::<u8>(), length)
            });
            self.give(queue, head.into(), 0);
        }
        all
    }

    fn tell(&mut self, port: u32, event: u16, value: u16, rest: &[u8]) {
        let mut message = port.to_le_bytes().to_vec();
        message.extend_from_slice(&event.to_le_bytes());
        message.extend_from_slice(&value.to_le_bytes());
        message.extend_from_slice(rest);
        assert!(self.put(2, &message));
    }
}

fn service(console: &mut Console<Identity, Fake>) {
    while console.service(&mut Vec::new()) {}
}

fn read(console: &mut Console<Identity, Fake>, port: usize) -> Option<Vec<u8>> {
    let mut buffer = [0; 3000];
    match console.poll_read(port, Waker::noop(), &mut buffer) {
        Poll::Ready(n) => Some(buffer[..n].to_vec()),
        Poll::Pending => None,
    }
}

/// A device with the port 1, `a`, which has a holder and whose host is there.
fn connected() -> (Device, Console<Identity, Fake>) {
    let (mut device, mut console) = Device::new(3);
    device.tell(1, event::DEVICE_ADD, 1, &[]);
    device.tell(1, event::PORT_NAME, 1, b"a\0");
    service(&mut console);
    assert_eq!(console.take("b"), None);
    assert_eq!((console.take("a"), console.take("a")), (Some(1), None));
    device.tell(1, event::PORT_OPEN, 1, &[]);
    service(&mut console);
    assert!(console.poll_connected(1, Waker::noop()).is_ready());
    (device, console)
}

#[test]
fn a_port_is_found_by_its_name_and_carries_bytes_both_ways() {
    let (mut device, mut console) = connected();
    // Ready; the port is; it is open.
    let said = device.sent(3);
    let events: Vec<u8> = said.chunks(8).map(|message| message[4]).collect();
    assert_eq!(events, [0, 3, 6]);
    assert_eq!(read(&mut console, 1), None);
    assert!(device.put(4, b"hello") && device.put(4, b"") && device.put(4, b"you"));
    service(&mut console);
    assert_eq!(read(&mut console, 1).unwrap(), b"hello");
    assert_eq!(read(&mut console, 1).unwrap(), b"you");
    let written = console.poll_write(1, Waker::noop(), b"answer");
    assert_eq!(written, Poll::Ready(Ok(6)));
    assert!(console.poll_flush(1, Waker::noop()).is_pending());
    assert_eq!(device.sent(5), b"answer");
    service(&mut console);
    assert_eq!(console.poll_flush(1, Waker::noop()), Poll::Ready(Ok(())));
}

#[test]
fn what_came_before_the_host_went_is_read_before_the_end() {
    let (mut device, mut console) = connected();
    assert!(device.put(4, b"last words"));
    device.tell(1, event::PORT_OPEN, 0, &[]);
    device.tell(1, event::PORT_OPEN, 1, &[]);
    service(&mut console);
    let written = console.poll_write(1, Waker::noop(), b"x");
    assert_eq!(written, Poll::Ready(Err(Gone)), "to the one that has gone");
    assert_eq!(read(&mut console, 1).unwrap(), b"last words");
    assert_eq!(read(&mut console, 1).unwrap(), b"");
    // The next one is there already.
    assert!(console.poll_connected(1, Waker::noop()).is_ready());
    let written = console.poll_write(1, Waker::noop(), b"x");
    assert_eq!(written, Poll::Ready(Ok(1)));
}

#[test]
fn neither_side_gets_more_than_the_buffers_hold_until_the_other_reads() {
    let (mut device, mut console) = connected();
    let mut count = 0;
    while device.put(4, &[count; BUFFER]) {
        count += 1;
        service(&mut console);
    }
    assert_eq!(usize::from(count), BUFFERS);
    let mut received = Vec::new();
    while let Some(bytes) = read(&mut console, 1) {
        received.extend(bytes);
    }
    let expected: Vec<u8> = (0..count).flat_map(|n| vec![n; BUFFER]).collect();
    assert!(received == expected && device.put(4, b"more"));
    let mut write = || {
        console
            .poll_write(1, Waker::noop(), &[7; BUFFER])
            .is_ready()
    };
    assert_eq!((0..100).filter(|_| write()).count(), BUFFERS);
}

#[test]
fn whatever_a_device_says_the_driver_stays_bounded_and_alive() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let (mut device, mut console) = connected();
        for _ in 0..200 {
            let queue = random.below(8) as u16;
            match random.below(6) {
                0 => drop(device.sent(queue | 1)),
                1 => {
                    let length = random.below(BUFFER as u64) as usize;
                    if queue.is_multiple_of(2) {
                        device.put(queue, &vec![random.below(8) as u8; length.min(20)]);
                    }
                }
                2 => {
                    let event = random.below(9) as u16;
                    if let Some((head, address, _)) = device.take(2) {
                        let mut message = [0; 12];
                        message[0] = random.below(5) as u8;
                        message[4..6].copy_from_slice(&event.to_le_bytes());
                        message[6] = random.below(2) as u8;
                        // SAFETY: a buffer that the driver has lent, longer than this.
                        unsafe { word(address).cast::<[u8; 12]>().write_unaligned(message) };
                        device.give(2, head.into(), random.below(1 << 32) as u32);
                    }
                }
                3 if seed % 2 == 1 && random.below(20) == 0 => {
                    device.give(
                        queue,
                        random.below(1 << 32) as u32,
                        random.below(1 << 32) as u32,
                    );
                }
                4 => {
                    let _ = console.poll_write(1, Waker::noop(), &[1; 10]);
                }
                _ => drop(read(&mut console, 1)),
            }
            service(&mut console);
            let kept = console.ports[1].received.len();
            assert!(kept <= 2 * BUFFERS + 1, "seed {seed}: {kept}");
        }
    }
}
