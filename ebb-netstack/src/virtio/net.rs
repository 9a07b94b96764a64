//! virtio-net (VIRTIO 1.2, 5.1): one pair of queues for each core where the device has them, else one pair that
//! all share.
//!
//! What must hold: a buffer in a ring is owned by that ring's table until its chain comes back. The receive side of
//! a pair is used by one core; the sending side is behind a lock, which only cores that share a pair contend for.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::cell::Cell;

use bytes::Bytes;
use spin::Mutex;

use ebb_virtio::{Dma, Fault, bus::Transport, device_memory, status};

use super::queue::{Bell, Broken, Queue};
use crate::{
    host::BUFFER,
    link::{Capabilities, Frame, HEAD, Link, Offload},
    queues::Chunk,
    wire::Mac,
};

/// Feature bits.
mod feature {
    pub const CSUM: u64 = 1 << 0;
    pub const GUEST_CSUM: u64 = 1 << 1;
    pub const MTU: u64 = 1 << 3;
    pub const MAC: u64 = 1 << 5;
    pub const GUEST_TSO4: u64 = 1 << 7;
    pub const GUEST_TSO6: u64 = 1 << 8;
    pub const HOST_TSO4: u64 = 1 << 11;
    pub const HOST_TSO6: u64 = 1 << 12;
    pub const MRG_RXBUF: u64 = 1 << 15;
    pub const CTRL_VQ: u64 = 1 << 17;
    pub const MQ: u64 = 1 << 22;
    pub const EVENT_IDX: u64 = 1 << 29;
    pub const VERSION_1: u64 = 1 << 32;
}

/// The header in front of each frame.
pub const HEADER: usize = 12;
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;

/// Descriptors of a queue, if the device allows as many.
const QUEUE_SIZE: u16 = 512;
/// Bytes for the head of a frame and its header.
const SLOT: usize = (HEADER + HEAD).next_multiple_of(64);
/// Most buffers of one received frame.
const MOST_BUFFERS: usize = 64;
/// Most fragments of one sent frame.
const FRAGMENTS: usize = 17;

// --- Receiving ---------------------------------------------------------------------------------------------

/// The receiving side of a pair.
pub struct Receiver {
    queue: Queue,
    buffers: Vec<Option<Box<[u8]>>>,
    dma: Dma,
    mergeable: bool,
    /// A frame whose later buffers have not come yet, and how many are missing.
    partial: Option<(Frame, usize)>,
    /// Frames whose length or number of buffers made no sense.
    pub nonsense: u64,
}

impl Receiver {
    pub fn new(queue: Queue, dma: Dma, mergeable: bool) -> Self {
        let buffers = (0..queue.size()).map(|_| None).collect();
        Self {
            queue,
            buffers,
            dma,
            mergeable,
            partial: None,
            nonsense: 0,
        }
    }

    /// Gives the device buffers until it has no room.
    pub fn refill(&mut self, mut buffer: impl FnMut() -> Box<[u8]>) {
        while self.queue.free() > 0 {
            let mut buffer = buffer();
            let head = usize::from(self.queue.next_head());
            let Some(address) = self.dma.physical(buffer.as_mut_ptr()) else {
                break;
            };
            let part = core::iter::once((address, buffer.len() as u32));
            // SAFETY: the buffer is kept in `buffers` under the chain's number until `pop` gives that back. Nobody
            // has a reference into it meanwhile.
            if unsafe { self.queue.add(part, true) }.is_none() {
                break;
            }
            self.buffers[head] = Some(buffer);
        }
        self.queue.publish();
    }

    /// The next frame.
    ///
    /// # Errors
    /// When the device has broken the protocol; it gives nothing any more.
    #[inline]
    pub fn receive(&mut self) -> Result<Option<Frame>, Broken> {
        while let Some((head, length)) = self.queue.pop()? {
            let Some(buffer) = self.buffers[usize::from(head)].take() else {
                return Err(Broken);
            };
            // The device may say what it likes; the buffer is as long as it is.
            let length = (length as usize).min(buffer.len());
            if let Some((frame, missing)) = &mut self.partial {
                frame.more.push(Chunk::new(buffer, 0, length));
                *missing -= 1;
                if *missing == 0 {
                    return Ok(self.partial.take().map(|(frame, _)| frame));
                }
                continue;
            }
            if length < HEADER {
                self.nonsense += 1;
                continue;
            }
            let count = if self.mergeable {
                usize::from(u16::from_le_bytes([buffer[10], buffer[11]]))
            } else {
                1
            };
            if count == 0 || count > MOST_BUFFERS {
                self.nonsense += 1;
                continue;
            }
            let checked = buffer[0] & (NEEDS_CSUM | DATA_VALID) != 0;
            let frame = Frame {
                first: Chunk::new(buffer, HEADER, length),
                more: Vec::new(),
                checked,
                local: false,
                card: 0,
            };
            if count == 1 {
                return Ok(Some(frame));
            }
            self.partial = Some((frame, count - 1));
        }
        Ok(None)
    }

    /// Asks for an interrupt; true when there is something already.
    pub fn want_interrupt(&mut self) -> bool {
        self.queue.want_interrupt()
    }
}

// --- Sending -------------------------------------------------------------------------------------------------

/// The sending side of a pair.
pub struct Transmitter {
    queue: Queue,
    /// A slot for the head of the frame of each descriptor.
    slots: core::ptr::NonNull<u8>,
    /// What the descriptors in the ring refer to, besides the slots. Those of a chain's head and of free ones: nothing.
    fragments: Box<[Option<Bytes>]>,
    /// How many of them refer to something.
    holding: usize,
    dma: Dma,
    broken: bool,
}

// SAFETY: the slots' memory belongs to this alone.
unsafe impl Send for Transmitter {}

impl Transmitter {
    pub fn new(mut queue: Queue, dma: Dma) -> Option<Self> {
        queue.want_no_interrupt();
        let slots = device_memory(SLOT * usize::from(queue.size()))?;
        let fragments = (0..queue.size()).map(|_| None).collect();
        Some(Self {
            queue,
            slots,
            fragments,
            holding: 0,
            dma,
            broken: false,
        })
    }

    /// Takes back what the device has sent.
    pub fn reclaim(&mut self) {
        loop {
            match self.queue.pop() {
                Ok(Some((head, _))) => {
                    let mut at = self.queue.following(head);
                    // The chain is followed by free descriptors, or by none.
                    while let Some(sent @ Some(_)) = self.fragments.get_mut(usize::from(at)) {
                        *sent = None;
                        self.holding -= 1;
                        at = self.queue.following(at);
                    }
                }
                Ok(None) => return,
                Err(Broken) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }

    /// See [`Link::transmit`].
    #[inline]
    pub fn transmit(
        &mut self,
        head: usize,
        offload: Offload,
        fragments: &mut Vec<Bytes>,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> bool {
        if head > HEAD || fragments.len() > FRAGMENTS {
            return false;
        }
        if usize::from(self.queue.free()) < 32 + fragments.len() {
            self.reclaim();
            if usize::from(self.queue.free()) <= fragments.len() {
                return false;
            }
        }
        if self.broken {
            return false;
        }
        let number = self.queue.next_head();
        let place = usize::from(number) * SLOT;
        // SAFETY: the slot of a descriptor that is free, so the device does not use it; within the slots' memory, since
        // the number is below the queue's size.
        let slot = unsafe {
            core::slice::from_raw_parts_mut(self.slots.as_ptr().add(place), HEADER + head)
        };
        write_header(&mut slot[..HEADER], offload);
        fill(&mut slot[HEADER..]);
        let Some(address) = self.dma.physical(slot.as_ptr()) else {
            return false;
        };
        let mut parts = [(0, 0); FRAGMENTS + 1];
        parts[0] = (address, slot.len() as u32);
        let count = 1 + fragments.len();
        let found = parts[1..]
            .iter_mut()
            .zip(fragments.iter_mut())
            .all(|(part, fragment)| {
                if self.dma.physical(fragment.as_ptr()).is_none() {
                    // Not in the linear map: one copy.
                    *fragment = Bytes::from(fragment.to_vec());
                }
                let physical = self.dma.physical(fragment.as_ptr());
                *part = (physical.unwrap_or(0), fragment.len() as u32);
                physical.is_some()
            });
        // SAFETY: the slot and the fragments, which `self.fragments` keeps alive, stay as they are until the chain comes
        // back.
        let sent =
            found && unsafe { self.queue.add(parts[..count].iter().copied(), false) }.is_some();
        if sent {
            self.holding += fragments.len();
            let mut at = number;
            for fragment in fragments.drain(..) {
                at = self.queue.following(at);
                self.fragments[usize::from(at)] = Some(fragment);
            }
        }
        sent
    }

    /// Lets the device see what was transmitted; see [`Queue::publish_quietly`].
    pub fn publish(&mut self) -> Option<Bell> {
        self.queue.publish_quietly()
    }

    /// Whether a frame in the ring still refers to memory of others.
    pub fn is_holding(&self) -> bool {
        self.holding > 0 && !self.broken
    }

    /// How often the device was told.
    pub fn doorbells(&self) -> u64 {
        self.queue.doorbells
    }
}

fn write_header(header: &mut [u8], offload: Offload) {
    header.fill(0);
    if let Some((start, offset)) = offload.checksum {
        header[0] = NEEDS_CSUM;
        header[6..8].copy_from_slice(&start.to_le_bytes());
        header[8..10].copy_from_slice(&offset.to_le_bytes());
    }
    header[1] = GSO_NONE;
    if let Some((mss, headers, v6)) = offload.segment {
        header[1] = if v6 { GSO_TCPV6 } else { GSO_TCPV4 };
        header[2..4].copy_from_slice(&headers.to_le_bytes());
        header[4..6].copy_from_slice(&mss.to_le_bytes());
    }
}

// --- The device ------------------------------------------------------------------------------------------------

/// A virtio-net device.
pub struct Device {
    pub transport: Transport,
    pub capabilities: Capabilities,
    dma: Dma,
    features: u64,
    transmitters: Vec<Mutex<Transmitter>>,
    receivers: Mutex<Vec<Option<Receiver>>>,
    control: Mutex<Option<Queue>>,
}

impl Device {
    /// Sets a device up for `cores` cores. Queues give nothing until [`start`](Self::start).
    pub fn new(transport: Transport, dma: Dma, cores: usize) -> Result<Self, Fault> {
        transport.set_status(status::ACKNOWLEDGE);
        transport.set_status(status::ACKNOWLEDGE | status::DRIVER);
        let offered = transport.features();
        if offered & feature::VERSION_1 == 0 {
            return Err("it is older than VIRTIO 1.0");
        }
        let mut wanted = feature::VERSION_1
            | feature::MAC
            | feature::MTU
            | feature::MRG_RXBUF
            | feature::EVENT_IDX
            | feature::CSUM
            | feature::GUEST_CSUM;
        if offered & feature::CSUM != 0 {
            wanted |= feature::HOST_TSO4 | feature::HOST_TSO6;
        }
        // Long frames need several buffers.
        if offered & feature::GUEST_CSUM != 0 && offered & feature::MRG_RXBUF != 0 {
            wanted |= feature::GUEST_TSO4 | feature::GUEST_TSO6;
        }
        if cores > 1 && offered & feature::CTRL_VQ != 0 {
            wanted |= feature::CTRL_VQ | feature::MQ;
        }
        let features = offered & wanted;
        transport.set_features(features);
        let ready = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
        transport.set_status(ready);
        if transport.status() & status::FEATURES_OK == 0 {
            return Err("it refuses the features it offered");
        }
        let has = |bit: u64| features & bit != 0;
        let mut mac: Mac = [0x02, 0xeb, 0xb0, 0, 0, 1];
        if has(feature::MAC) {
            for (n, byte) in mac.iter_mut().enumerate() {
                *byte = transport
                    .config8(n)
                    .ok_or("its configuration is too short")?;
            }
        }
        let mtu = if has(feature::MTU) {
            transport.config16(10).unwrap_or(1500)
        } else {
            1500
        };
        let most_pairs = if has(feature::MQ) {
            transport.config16(8).unwrap_or(1)
        } else {
            1
        };
        // Pairs beyond the cores would be of no use, fewer than the cores are shared by all; and so is one where the
        // interrupts of several could not be told apart.
        let has_vectors = transport.vectors() > 1;
        let pairs = if has_vectors && usize::from(most_pairs) >= cores {
            cores as u16
        } else {
            1
        };
        let segmentation = has(feature::HOST_TSO4) && has(feature::HOST_TSO6);
        let capabilities = Capabilities {
            mac,
            mtu: usize::from(mtu).clamp(1280, 9000),
            checksum: has(feature::CSUM),
            segmentation,
            fragments: FRAGMENTS,
            spreads: usize::from(pairs) == cores && cores > 1,
        };
        let mut this = Self {
            transport,
            capabilities,
            dma,
            features,
            transmitters: Vec::new(),
            receivers: Mutex::default(),
            control: Mutex::new(None),
        };
        this.transport.no_config_vector();
        let mergeable = has(feature::MRG_RXBUF);
        for pair in 0..pairs {
            let vector = (pair < this.transport.vectors()).then_some(pair);
            let receive = this.make_queue(2 * pair, vector)?;
            let transmit = this.make_queue(2 * pair + 1, None)?;
            let transmitter =
                Transmitter::new(transmit, dma).ok_or("there is no memory for its queues")?;
            this.transmitters.push(Mutex::new(transmitter));
            this.receivers
                .get_mut()
                .push(Some(Receiver::new(receive, dma, mergeable)));
        }
        if has(feature::MQ) && pairs > 1 {
            let control = this.make_queue(2 * most_pairs, None)?;
            *this.control.get_mut() = Some(control);
        }
        Ok(this)
    }

    fn make_queue(&self, number: u16, vector: Option<u16>) -> Result<Queue, Fault> {
        let most = self.transport.queue_size(number);
        if most == 0 {
            return Err("a queue is missing");
        }
        // A device that offers a size that is no power of two gets the next smaller one.
        let size = 1 << most.min(QUEUE_SIZE).ilog2();
        let doorbell = self.transport.doorbell(number)?;
        let event_index = self.features & feature::EVENT_IDX != 0;
        let queue = Queue::new(size, event_index, number, Some(doorbell))
            .ok_or("there is no memory for its queues")?;
        let addresses = queue
            .addresses(&self.dma)
            .ok_or("queue memory outside of the linear map")?;
        self.transport
            .enable_queue(number, size, &addresses, vector)?;
        Ok(queue)
    }

    /// Pairs of queues.
    pub fn pairs(&self) -> usize {
        self.transmitters.len()
    }

    /// The features that both sides know: the bits of VIRTIO 1.2, 5.1.3 and 6.
    pub fn features(&self) -> u64 {
        self.features
    }

    /// How often a pair's sending side has told the device of frames.
    pub fn doorbells(&self, pair: usize) -> u64 {
        self.transmitters[pair].lock().doorbells()
    }

    /// Takes the receiving side of a core's pair, once; `None` on a core that has none.
    pub fn take_receiver_of(&self, core: usize) -> Option<Receiver> {
        self.receivers.lock().get_mut(core)?.take()
    }

    /// Lets the device go.
    pub fn start(&self) {
        let all = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
        self.transport.set_status(all);
    }

    /// Tells the device to use all pairs. False when it refuses, or does not answer in time.
    pub fn use_all_pairs(&self) -> bool {
        let mut control = self.control.lock();
        let Some(queue) = &mut *control else {
            return self.pairs() == 1;
        };
        // Class MQ, command VQ_PAIRS_SET, the number; then a byte for the answer.
        let Some(memory) = device_memory(64) else {
            return false;
        };
        let pairs = (self.pairs() as u16).to_le_bytes();
        let command = [4, 0, pairs[0], pairs[1], 0xff];
        for (n, byte) in command.iter().enumerate() {
            // SAFETY: within the 64 bytes, which nobody else knows.
            unsafe { memory.add(n).write_volatile(*byte) };
        }
        let Some(address) = self.dma.physical(memory.as_ptr()) else {
            return false;
        };
        // SAFETY: the memory is never freed.
        let added =
            unsafe { queue.add_command(&[(address, 2), (address + 2, 2)], (address + 4, 1)) };
        if added.is_none() {
            return false;
        }
        queue.publish();
        for _ in 0..10_000_000 {
            if queue.has_used() {
                let _ = queue.pop();
                // SAFETY: as above.
                return unsafe { memory.add(4).read_volatile() } == 0;
            }
            core::hint::spin_loop();
        }
        false
    }
}

/// A core's way to a card.
struct Way {
    device: Arc<Device>,
    /// The pair that the core uses.
    pair: usize,
    /// The core has transmitted what the device does not see yet.
    unpublished: Cell<bool>,
    /// Something that the core has transmitted may still refer to memory of others.
    holds: Cell<bool>,
}

/// A core's ways to the cards, by number; there may be none. The lock of a pair that cores share is taken only for what the core
/// itself has sent.
pub struct DeviceLink {
    ways: Vec<Way>,
}

impl DeviceLink {
    /// To those devices, by a pair of each.
    pub fn new(devices: impl Iterator<Item = (Arc<Device>, usize)>) -> Self {
        let ways = devices.map(|(device, pair)| Way {
            device,
            pair,
            unpublished: Cell::new(false),
            holds: Cell::new(false),
        });
        Self {
            ways: ways.collect(),
        }
    }

    /// The first card.
    pub fn first(&self) -> Option<&Device> {
        self.ways.first().map(|way| &*way.device)
    }

    /// Lets go of what the devices have sent. False while they have not sent everything of this core that others may wait to free.
    pub fn reclaim(&self) -> bool {
        self.ways.iter().fold(true, |all, way| {
            if way.holds.get() {
                let mut transmitter = way.device.transmitters[way.pair].lock();
                transmitter.reclaim();
                way.holds.set(transmitter.is_holding());
            }
            all && !way.holds.get()
        })
    }

    /// How often the devices were told of frames to send.
    pub fn doorbells(&self) -> u64 {
        let each = self.ways.iter();
        each.map(|way| way.device.doorbells(way.pair)).sum()
    }
}

impl Link for DeviceLink {
    #[inline]
    fn capabilities(&self, card: u8) -> Capabilities {
        match self.ways.get(usize::from(card)) {
            Some(way) => way.device.capabilities,
            None => Capabilities {
                mac: [0; 6],
                mtu: 1500,
                checksum: false,
                segmentation: false,
                fragments: 1,
                spreads: false,
            },
        }
    }

    #[inline]
    fn transmit(
        &self,
        card: u8,
        head: usize,
        offload: Offload,
        fragments: &mut Vec<Bytes>,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> bool {
        let Some(way) = self.ways.get(usize::from(card)) else {
            // Nowhere: as if lost.
            return true;
        };
        let lends = !fragments.is_empty();
        let sent = way.device.transmitters[way.pair]
            .lock()
            .transmit(head, offload, fragments, fill);
        if sent {
            way.unpublished.set(true);
            way.holds.set(lends || way.holds.get());
        }
        sent
    }

    #[inline]
    fn kick(&self) {
        for way in &self.ways {
            if way.unpublished.replace(false) {
                let bell = way.device.transmitters[way.pair].lock().publish();
                // Out of the lock, which other cores may wait for.
                if let Some(bell) = bell {
                    bell.ring();
                }
            }
        }
    }
}

/// Bytes of a device buffer that hold a whole ordinary frame.
const _: () = assert!(BUFFER >= HEADER + 14 + 1500);
