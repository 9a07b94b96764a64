//! The driver against a socket device that is played here: an honest one, and ones that lie.

extern crate std;

use alloc::{collections::BTreeMap, sync::Arc, vec, vec::Vec};
use core::cell::Cell;

use ebb_block::sim::Random;
use ebb_net::vsock::HOST;
use spin::mutex::SpinMutex as Mutex;
use virtio_drivers::{
    PhysAddr, Result as VirtioResult,
    transport::{DeviceStatus, DeviceType},
};
use zerocopy::{FromBytes, IntoBytes};

use super::{
    super::{
        connection::{CLOSE_NS, CONNECT_NS, WINDOW},
        packet::end,
    },
    *,
};
use crate::{
    identity::Identity,
    played::{says_nothing, word},
};

const CID: u32 = 3;
const PEER: Address = Address {
    cid: HOST,
    port: 5000,
};

std::thread_local! {
    static NOW_NS: Cell<u64> = const { Cell::new(0) };
}

fn wait(ns: u64) {
    NOW_NS.set(NOW_NS.get() + ns);
}

/// What driver and device both see.
#[derive(Default)]
struct Registers {
    cid: u64,
    status: u32,
    /// Descriptors, addresses of them, of the driver's area and the device's, by queue.
    rings: BTreeMap<u16, (u32, [u64; 3])>,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Registers>>);

impl Transport for Fake {
    says_nothing!();
    fn device_type(&self) -> DeviceType {
        DeviceType::Socket
    }
    fn read_device_features(&mut self) -> u64 {
        device::VERSION_1 | feature::EVENT_IDX | 1
    }
    fn write_driver_features(&mut self, features: u64) {
        assert_eq!(features, device::VERSION_1 | feature::EVENT_IDX);
    }
    fn max_queue_size(&mut self, _: u16) -> u32 {
        128
    }
    fn notify(&mut self, _: u16) {}
    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.0.lock().status)
    }
    fn set_status(&mut self, status: DeviceStatus) {
        self.0.lock().status = status.bits();
    }
    fn queue_set(&mut self, queue: u16, size: u32, a: PhysAddr, b: PhysAddr, c: PhysAddr) {
        self.0.lock().rings.insert(queue, (size, [a, b, c]));
    }
    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> VirtioResult<T> {
        let bytes = self.0.lock().cid.to_le_bytes();
        Ok(T::read_from_bytes(&bytes[offset..offset + size_of::<T>()]).unwrap())
    }
}

type Driver = Sockets<Identity, Fake>;

/// The device's side: for each queue what it has seen and what it has given back.
struct Device {
    fake: Fake,
    at: BTreeMap<u16, (u16, u16)>,
}

impl Device {
    fn new(limit: usize) -> (Self, Driver) {
        let fake = Fake::default();
        fake.0.lock().cid = CID.into();
        let mut driver = Sockets::new(fake.clone(), limit, || NOW_NS.get()).unwrap();
        driver.start();
        let at = BTreeMap::new();
        (Self { fake, at }, driver)
    }

    /// The next buffer of a queue: its chain, address and length.
    fn take(&mut self, queue: u16) -> Option<(u16, u64, usize)> {
        if self.fake.0.lock().status == 0 {
            // It was reset.
            return None;
        }
        let (size, [descriptors, driver, _]) = self.fake.0.lock().rings[&queue];
        let (seen, _) = self.at.entry(queue).or_default();
        // SAFETY: the rings of the queue, which are never freed; everything here is one thread.
        unsafe {
            if word(driver + 2).read_volatile() == *seen {
                return None;
            }
            let head = word(driver + 4 + 2 * u64::from(*seen % size as u16)).read_volatile();
            *seen = seen.wrapping_add(1);
            let descriptor = descriptors + 16 * u64::from(head);
            let address = word(descriptor).cast::<u64>().read_volatile();
            let length = word(descriptor + 8).cast::<u32>().read_volatile();
            Some((head, address, length as usize))
        }
    }

    fn give(&mut self, queue: u16, id: u32, length: u32) {
        let (size, [_, _, device]) = self.fake.0.lock().rings[&queue];
        let (_, used) = self.at.entry(queue).or_default();
        // SAFETY: as in `take`.
        unsafe {
            let entry = word(device + 4 + 8 * u64::from(*used % size as u16)).cast::<u32>();
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

    /// Has a packet received, and the driver look.
    fn tell(&mut self, driver: &mut Driver, header: Header, data: &[u8]) {
        let mut packet = header.encode().to_vec();
        packet.extend_from_slice(data);
        assert!(self.put(0, &packet), "there is a buffer");
        while driver.service() {}
    }

    /// What the driver has sent.
    fn sent(&mut self, driver: &mut Driver) -> Vec<(Header, Vec<u8>)> {
        let mut all = Vec::new();
        loop {
            let before = all.len();
            while let Some((head, address, length)) = self.take(1) {
                // SAFETY: as in `put`.
                let packet = unsafe {
                    core::slice::from_raw_parts(word(address).cast::<u8>(), length).to_vec()
                };
                let (head_bytes, data) = packet.split_first_chunk::<HEADER>().unwrap();
                let header = Header::decode(head_bytes).unwrap();
                assert_eq!(header.length as usize, data.len());
                all.push((header, data.to_vec()));
                self.give(1, head.into(), 0);
            }
            while driver.service() {}
            if all.len() == before {
                return all;
            }
        }
    }

    /// What the driver has sent, without its data: kinds and flags.
    fn ops(&mut self, driver: &mut Driver) -> Vec<(u16, u32)> {
        let sent = self.sent(driver);
        sent.iter().map(|(h, _)| (h.op, h.flags)).collect()
    }
}

/// A packet of the peer to a port.
fn packet(port: u32, op: u16) -> Header {
    Header {
        from: PEER,
        to: Address { cid: CID, port },
        length: 0,
        kind: STREAM,
        op,
        flags: 0,
        window: 10_000,
        consumed: 0,
    }
}

fn data(port: u32, bytes: &[u8]) -> Header {
    Header {
        length: bytes.len() as u32,
        ..packet(port, op::DATA)
    }
}

/// A connection that the peer has made to port 7.
fn accepted() -> (Device, Driver, u32) {
    let (mut device, mut driver) = Device::new(100);
    let listener = driver.listen(7, 10).unwrap();
    device.tell(&mut driver, packet(7, op::REQUEST), &[]);
    assert_eq!(device.ops(&mut driver), [(op::RESPONSE, 0)]);
    let (id, peer) = driver.accept(listener).unwrap();
    assert_eq!(peer, PEER);
    (device, driver, id)
}

fn read(driver: &mut Driver, id: u32, most: usize) -> Result<Vec<u8>> {
    let mut bytes = driver.take_received(id)?;
    let count = bytes.len().min(most);
    let read = bytes.drain(..count).collect();
    driver.put_back(id, bytes, count);
    Ok(read)
}

#[test]
fn a_peer_connects_and_bytes_go_both_ways_until_it_ends() {
    let (mut device, mut driver, id) = accepted();
    assert_eq!(driver.listen(7, 1), Err(Error::AddressInUse));
    assert_eq!(read(&mut driver, id, 10), Err(Error::WouldBlock));
    device.tell(&mut driver, data(7, b"hello"), b"hello");
    assert_eq!(read(&mut driver, id, 3).unwrap(), b"hel");
    device.tell(&mut driver, data(7, b", you"), b", you");
    assert_eq!(read(&mut driver, id, 100).unwrap(), b"lo, you");
    assert_eq!(driver.send(id, b"answer"), Ok(6));
    let sent = device.sent(&mut driver);
    let [(header, bytes)] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(
        (header.op, header.to, &bytes[..]),
        (op::DATA, PEER, &b"answer"[..])
    );
    assert_eq!((header.window, header.consumed), (WINDOW, 10));
    let mut both = packet(7, op::SHUTDOWN);
    both.flags = end::BOTH;
    device.tell(&mut driver, both, &[]);
    assert_eq!(read(&mut driver, id, 10).unwrap(), b"");
    assert_eq!(driver.send(id, b"x"), Err(Error::BrokenPipe));
    assert_eq!(device.ops(&mut driver), [(op::RESET, 0)]);
    driver.close(id);
    assert_eq!(device.ops(&mut driver), []);
}

#[test]
fn who_is_not_listened_to_is_reset() {
    let (mut device, mut driver) = Device::new(3);
    device.tell(&mut driver, packet(9, op::REQUEST), &[]);
    device.tell(&mut driver, data(9, b"x"), b"x");
    assert_eq!(device.ops(&mut driver), [(op::RESET, 0), (op::RESET, 0)]);
    // Nor is a reset answered, or what is for another machine.
    device.tell(&mut driver, packet(9, op::RESET), &[]);
    let mut other = packet(9, op::REQUEST);
    other.to.cid = CID + 1;
    device.tell(&mut driver, other, &[]);
    assert_eq!(device.ops(&mut driver), []);
    // Two have room in a queue of two and three sockets, one of which is the listener.
    let listener = driver.listen(7, 5).unwrap();
    for port in 0..3 {
        let mut request = packet(7, op::REQUEST);
        request.from.port = port;
        device.tell(&mut driver, request, &[]);
    }
    let answers = device.ops(&mut driver);
    assert_eq!(
        answers,
        [(op::RESPONSE, 0), (op::RESPONSE, 0), (op::RESET, 0)]
    );
    assert!(driver.accept(listener).is_ok());
    // Those that nobody has accepted go with their listener.
    driver.close(listener);
    assert_eq!(device.ops(&mut driver), [(op::RESET, 0)]);
}

#[test]
fn connecting_is_answered_refused_or_given_up() {
    let (mut device, mut driver) = Device::new(10);
    let mut ports = Vec::new();
    for answer in [Some(op::RESPONSE), Some(op::RESET), Some(op::DATA), None] {
        let id = driver.connect(PEER).unwrap();
        let sent = device.sent(&mut driver);
        assert_eq!((sent[0].0.op, sent[0].0.to), (op::REQUEST, PEER));
        let port = sent[0].0.from.port;
        assert!(!ports.contains(&port), "no port is used again soon");
        ports.push(port);
        assert_eq!(driver.connected(id), Err(Error::WouldBlock));
        assert_eq!(driver.send(id, b"x"), Err(Error::WouldBlock));
        match answer {
            Some(op) => device.tell(&mut driver, packet(port, op), &[]),
            None => {
                assert!(driver.tick());
                assert_eq!(driver.connected(id), Err(Error::WouldBlock));
                wait(CONNECT_NS);
                driver.tick();
            }
        }
        let (expected, resets) = match answer {
            Some(op::RESPONSE) => (Ok(()), 0),
            Some(op::RESET) => (Err(Error::ConnectionRefused), 0),
            Some(_) => (Err(Error::Protocol), 1),
            None => (Err(Error::TimedOut), 1),
        };
        assert_eq!(driver.connected(id), expected);
        assert_eq!(device.ops(&mut driver), vec![(op::RESET, 0); resets]);
        driver.abort(id);
        device.sent(&mut driver);
    }
}

#[test]
fn no_more_is_sent_than_the_peer_has_room_for_whatever_it_says_later() {
    let (mut device, mut driver, id) = accepted();
    assert_eq!(driver.send(id, &[1; 20_000]), Ok(10_000));
    for _ in 0..3 {
        assert_eq!(driver.send(id, b"x"), Err(Error::WouldBlock));
    }
    // It is asked once.
    let expected = [(op::DATA, 0), (op::CREDIT_REQUEST, 0)];
    assert_eq!(device.ops(&mut driver), expected);
    let mut update = packet(7, op::CREDIT_UPDATE);
    device.tell(&mut driver, update, &[]);
    assert_eq!(driver.send(id, b"x"), Err(Error::WouldBlock));
    assert_eq!(device.ops(&mut driver), []);
    // What was never sent it cannot have read, and a smaller window is no room.
    update.consumed = 10_001;
    device.tell(&mut driver, update, &[]);
    (update.consumed, update.window) = (100, 9_000);
    device.tell(&mut driver, update, &[]);
    assert_eq!(driver.send(id, b"x"), Err(Error::WouldBlock));
    // A packet of an unknown kind tells of room, too.
    let mut unknown = packet(7, 0);
    unknown.consumed = 9_997;
    device.tell(&mut driver, unknown, &[]);
    assert_eq!(driver.send(id, &[1; 20_000]), Ok(9_997));
    assert_eq!(driver.send(id, b"x"), Err(Error::WouldBlock));
}

#[test]
fn what_is_not_read_is_bounded_and_room_is_told_when_there_is_some() {
    let (mut device, mut driver, id) = accepted();
    let part = [7; BUFFER - HEADER];
    let mut left = WINDOW as usize;
    while left > 0 {
        let part = &part[..left.min(part.len())];
        device.tell(&mut driver, data(7, part), part);
        left -= part.len();
    }
    // One that asks while there is none waits for its answer.
    device.tell(&mut driver, packet(7, op::CREDIT_REQUEST), &[]);
    read(&mut driver, id, WINDOW as usize / 8).unwrap();
    assert_eq!(device.ops(&mut driver), []);
    read(&mut driver, id, WINDOW as usize / 8).unwrap();
    let sent = device.sent(&mut driver);
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].0.op, sent[0].0.consumed),
        (op::CREDIT_UPDATE, WINDOW / 4)
    );
    // One that asks while there is some gets it at once.
    device.tell(&mut driver, packet(7, op::CREDIT_REQUEST), &[]);
    assert_eq!(device.ops(&mut driver), [(op::CREDIT_UPDATE, 0)]);
    // One that sends more than that is no peer.
    let mut sent = 0;
    while device.ops(&mut driver).is_empty() {
        device.tell(&mut driver, data(7, &part), &part);
        sent += part.len();
    }
    assert!(sent <= WINDOW as usize / 4 + part.len());
    read(&mut driver, id, usize::MAX).unwrap();
    assert_eq!(read(&mut driver, id, 1), Err(Error::Protocol));
}

#[test]
fn a_direction_that_ends_leaves_the_other() {
    for flags in [end::SEND, end::RECEIVE] {
        let (mut device, mut driver, id) = accepted();
        let mut shutdown = packet(7, op::SHUTDOWN);
        shutdown.flags = flags;
        device.tell(&mut driver, shutdown, &[]);
        assert_eq!(device.ops(&mut driver), []);
        if flags == end::SEND {
            assert_eq!(read(&mut driver, id, 9).unwrap(), b"");
            assert_eq!(driver.send(id, b"x"), Ok(1));
            // It has said that it would not.
            device.tell(&mut driver, data(7, b"x"), b"x");
            assert_eq!(device.ops(&mut driver), [(op::DATA, 0), (op::RESET, 0)]);
        } else {
            assert_eq!(driver.send(id, b"x"), Err(Error::BrokenPipe));
            device.tell(&mut driver, data(7, b"x"), b"x");
            assert_eq!(read(&mut driver, id, 9).unwrap(), b"x");
        }
    }
    let (mut device, mut driver, id) = accepted();
    assert_eq!(driver.send(id, b"last"), Ok(4));
    driver.shutdown_write(id).unwrap();
    assert_eq!(driver.send(id, b"x"), Err(Error::BrokenPipe));
    device.tell(&mut driver, data(7, b"x"), b"x");
    assert_eq!(read(&mut driver, id, 9).unwrap(), b"x");
    let expected = [(op::DATA, 0), (op::SHUTDOWN, end::SEND)];
    assert_eq!(device.ops(&mut driver), expected);
}

#[test]
fn who_registers_for_what_is_there_already_is_woken_and_others_wait() {
    let (mut device, mut driver, id) = accepted();
    let is_woken = |driver: &mut Driver, interest| {
        driver.woken.clear();
        driver.register(id, interest, core::task::Waker::noop());
        !driver.woken.is_empty()
    };
    assert!(!is_woken(&mut driver, Interest::READ));
    assert!(is_woken(&mut driver, Interest::WRITE));
    // It has come while the program, on another core, found nothing.
    device.tell(&mut driver, data(7, b"x"), b"x");
    assert!(is_woken(&mut driver, Interest::READ));
    assert_eq!(read(&mut driver, id, 9).unwrap(), b"x");
    assert!(!is_woken(&mut driver, Interest::READ));
    // Without the peer's room nobody turns in circles.
    while driver.send(id, &[0; 1000]).is_ok() {
        device.sent(&mut driver);
    }
    assert!(!is_woken(&mut driver, Interest::WRITE));
    device.tell(&mut driver, packet(7, op::RESET), &[]);
    assert!(is_woken(&mut driver, Interest::READ));
}

#[test]
fn what_came_before_a_reset_is_read_and_then_the_reset_is_told() {
    let (mut device, mut driver, id) = accepted();
    device.tell(&mut driver, data(7, b"last words"), b"last words");
    device.tell(&mut driver, packet(7, op::RESET), &[]);
    assert!(driver.readiness(id).error);
    assert_eq!(driver.send(id, b"x"), Err(Error::ConnectionReset));
    assert_eq!(read(&mut driver, id, 99).unwrap(), b"last words");
    assert_eq!(read(&mut driver, id, 99), Err(Error::ConnectionReset));
    // The address is free again.
    driver.close(id);
    device.tell(&mut driver, packet(7, op::REQUEST), &[]);
    assert_eq!(device.ops(&mut driver), [(op::RESPONSE, 0)]);
}

#[test]
fn a_connection_that_is_closed_stays_until_the_peer_has_all_or_for_so_long() {
    let (mut device, mut driver, id) = accepted();
    assert_eq!(driver.send(id, &[1; 100]), Ok(100));
    driver.close(id);
    let end = (op::SHUTDOWN, end::BOTH);
    assert_eq!(device.ops(&mut driver), [(op::DATA, 0), end]);
    // It reads some, then the rest, and is told again that this was all.
    let mut update = packet(7, op::CREDIT_UPDATE);
    update.consumed = 60;
    device.tell(&mut driver, update, &[]);
    assert_eq!(device.ops(&mut driver), []);
    update.consumed = 100;
    device.tell(&mut driver, update, &[]);
    assert_eq!(device.ops(&mut driver), [end]);
    assert!(driver.tick());
    assert_eq!(device.ops(&mut driver), [end]);
    device.tell(&mut driver, packet(7, op::RESET), &[]);
    assert!(!driver.tick() && driver.connections.is_empty());

    let (mut device, mut driver, id) = accepted();
    driver.close(id);
    wait(CLOSE_NS);
    driver.tick();
    assert_eq!(device.ops(&mut driver), [end, (op::RESET, 0)]);
    assert!(!driver.tick() && driver.connections.is_empty());

    // One that the peer has forgotten makes room for its next.
    let (mut device, mut driver, id) = accepted();
    driver.close(id);
    device.tell(&mut driver, packet(7, op::REQUEST), &[]);
    assert_eq!(device.ops(&mut driver), [end, (op::RESPONSE, 0)]);
    assert_eq!(driver.connections.len(), 1);

    let (mut device, mut driver, id) = accepted();
    driver.abort(id);
    assert_eq!(device.ops(&mut driver), [(op::RESET, 0)]);
    assert!(driver.connections.is_empty());
}

#[test]
fn a_buffer_that_comes_back_unwritten_is_nothing_new() {
    let (mut device, mut driver, id) = accepted();
    device.tell(&mut driver, data(7, b"once"), b"once");
    for _ in 0..2 * BUFFERS {
        let (head, ..) = device.take(0).expect("lent again");
        device.give(0, head.into(), (HEADER + 4) as u32);
        while driver.service() {}
    }
    assert_eq!(read(&mut driver, id, 99).unwrap(), b"once");
    assert_eq!(read(&mut driver, id, 99), Err(Error::WouldBlock));
    assert_eq!(device.ops(&mut driver), []);
}

#[test]
fn a_machine_that_has_moved_has_lost_its_peers_and_kept_its_listeners() {
    let (mut device, mut driver, id) = accepted();
    device.fake.0.lock().cid = 77;
    assert!(device.put(2, &[0; 4]));
    while driver.service() {}
    assert_eq!(read(&mut driver, id, 9), Err(Error::ConnectionReset));
    assert_eq!(driver.cid(), Ok(77));
    let mut request = packet(7, op::REQUEST);
    request.to.cid = 77;
    device.tell(&mut driver, request, &[]);
    assert_eq!(device.ops(&mut driver), [(op::RESPONSE, 0)]);
}

#[test]
fn a_full_queue_delays_data_and_never_what_is_owed() {
    let (mut device, mut driver, id) = accepted();
    let mut count = 0;
    while driver.send(id, &[1; 10]).is_ok() {
        count += 1;
    }
    assert!(count >= QUEUE - 4, "{count}");
    driver.woken.clear();
    driver.shutdown_write(id).unwrap();
    device.tell(&mut driver, packet(9, op::REQUEST), &[]);
    let ops = device.ops(&mut driver);
    let expected = [(op::SHUTDOWN, end::SEND), (op::RESET, 0)];
    assert_eq!(ops[count..], expected);
    assert!(!driver.woken.is_empty());
}

#[test]
fn whatever_a_device_says_the_driver_stays_bounded_and_alive() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let (mut device, mut driver) = Device::new(8);
        let listener = driver.listen(7, 4).unwrap();
        let mut held = Vec::new();
        for _ in 0..300 {
            let number = random.below(4) as u32;
            match random.below(10) {
                0 if seed % 4 != 3 => drop(device.sent(&mut driver)),
                1..5 => {
                    let length = random.below(3) as usize * random.below(4000) as usize;
                    let length = length.min(BUFFER - HEADER);
                    let header = Header {
                        from: Address {
                            cid: HOST,
                            port: number,
                        },
                        to: Address {
                            cid: CID,
                            port: [7, 8, FIRST_PORT, FIRST_PORT + 1][random.below(4) as usize],
                        },
                        length: length as u32 + (random.below(20) == 0) as u32,
                        kind: STREAM + (random.below(20) == 0) as u16,
                        op: random.below(9) as u16,
                        flags: random.below(8) as u32,
                        window: random.below(1 << 32) as u32 >> random.below(32),
                        consumed: random.below(1 << 32) as u32 >> random.below(32),
                    };
                    let mut bytes = header.encode().to_vec();
                    bytes.resize(HEADER + length, 5);
                    device.put(0, &bytes);
                }
                5 => held.extend(driver.accept(listener).map(|(id, _)| id)),
                6 => held.extend(driver.connect(Address {
                    cid: HOST,
                    port: number,
                })),
                7 if !held.is_empty() => {
                    let id = held[random.below(held.len() as u64) as usize];
                    let _ = driver.send(id, &[1; 5000]);
                    let _ = read(&mut driver, id, 3000);
                }
                8 if !held.is_empty() => {
                    let id = held.swap_remove(random.below(held.len() as u64) as usize);
                    match random.below(3) {
                        0 => driver.abort(id),
                        _ => driver.close(id),
                    }
                }
                9 if seed % 2 == 1 && random.below(20) == 0 => {
                    let (id, length) = (random.below(1 << 32), random.below(1 << 32));
                    device.give(random.below(3) as u16, id as u32, length as u32);
                }
                _ => {
                    wait(random.below(CLOSE_NS));
                    driver.tick();
                }
            }
            while driver.service() {}
            driver.woken.clear();
            assert!(driver.sockets.len() <= 8 && driver.resets.len() <= MAX_RESETS);
            assert!(driver.owing.len() <= 8, "seed {seed}");
            for socket in driver.sockets.iter().flatten() {
                if let Socket::Connection(connection) = socket {
                    assert!(connection.received.len() <= WINDOW as usize, "seed {seed}");
                }
            }
        }
        // All goes at last.
        held.into_iter().for_each(|id| driver.close(id));
        driver.close(listener);
        for _ in 0..3 {
            wait(CLOSE_NS);
            driver.tick();
            device.sent(&mut driver);
        }
        assert!(driver.connections.is_empty(), "seed {seed}");
        assert_eq!(driver.sockets.iter().flatten().count(), 0, "seed {seed}");
    }
}
