//! Pipes and FIFOs.
//!
//! A pipe is a ring of slots of one page each, as in Linux' `fs/pipe.c`: what is left over of a
//! write is merged into the last slot if it fits there whole, everything else starts a new slot.
//! Capacity, atomicity of small writes (`PIPE_BUF`) and the moments of readiness follow from that
//! and are those a Linux program sees.

use alloc::{collections::VecDeque, vec::Vec};
use borsh::{BorshDeserialize, BorshSerialize};

use super::{Face, Kind};
use crate::object::{
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::QueueId,
    io::{Sink, Source, Spare},
    wait::{Events, Hub},
};

/// The device number of what has no place but its inode number: Linux' pipefs.
pub(crate) const PIPE_DEV: u64 = 0x0d;

/// Bytes in a slot, and the largest write that is never split (`PIPE_BUF`).
pub const SLOT: usize = 4096;
/// Slots of a new pipe: 64 KiB.
pub const DEFAULT_SLOTS: usize = 16;
/// The most slots that `F_SETPIPE_SZ` gives: 1 MiB (Linux' `pipe-max-size`).
pub const MAX_SLOTS: usize = 256;

#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub(crate) struct Slot {
    bytes: Vec<u8>,
    start: usize,
    /// One write, of which a read takes all or loses the rest.
    packet: bool,
    /// Later writes are not put behind what is there: so Linux with what was spliced, or is in two pipes.
    closed: bool,
}

impl Slot {
    fn left(&self) -> usize {
        self.bytes.len() - self.start
    }
}

/// A pipe.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct Pipe {
    pub(crate) ring: VecDeque<Slot>,
    pub(crate) slots: usize,
    /// An emptied slot's memory, for the next write.
    #[borsh(skip)]
    spare: Spare,
    pub(crate) readers: u32,
    pub(crate) writers: u32,
    /// How often the pipe was opened for reading and for writing: a FIFO's open waits for a change.
    pub(crate) opens: (u32, u32),
    /// Somebody polls: every write wakes, as edge-triggered programs have come to expect.
    polled: bool,
    /// The user and the group of who has made it.
    pub(crate) owner: (u32, u32),
    pub(crate) queue: QueueId,
}

impl Pipe {
    pub(crate) fn new(hub: &mut Hub, slots: usize) -> Self {
        Self {
            ring: VecDeque::new(),
            slots,
            spare: Spare::default(),
            readers: 0,
            writers: 0,
            opens: (0, 0),
            polled: false,
            owner: (0, 0),
            queue: hub.new_queue(),
        }
    }

    /// Capacity in bytes.
    pub const fn capacity(&self) -> u32 {
        (self.slots * SLOT) as u32
    }

    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Slots that are free.
    pub(crate) fn room(&self) -> usize {
        self.slots.saturating_sub(self.ring.len())
    }

    /// Puts bytes, of a slot's size at most, into a slot of their own. There must be [`room`](Self::room).
    pub(crate) fn push(&mut self, hub: &mut Hub, bytes: Vec<u8>) {
        let slot = Slot {
            bytes,
            start: 0,
            packet: false,
            closed: true,
        };
        self.extend(hub, Vec::from([slot]));
    }

    /// A copy of the first bytes, `most` of them if there are as many.
    pub(crate) fn peek(&self, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for slot in &self.ring {
            let n = slot.left().min(most - bytes.len());
            bytes.extend_from_slice(&slot.bytes[slot.start..slot.start + n]);
        }
        bytes
    }

    /// Takes the first `count` bytes away. Of a packet the rest stays.
    pub(crate) fn consume(&mut self, hub: &mut Hub, mut count: usize) {
        let was_full = self.full();
        while let Some(slot) = self.ring.front_mut() {
            let n = slot.left().min(count);
            slot.start += n;
            count -= n;
            if slot.left() > 0 {
                break;
            }
            self.ring.pop_front();
        }
        if was_full && !self.full() {
            hub.wake(self.queue, Events::WRITE);
        }
    }

    /// The first bytes, `most` at most and in `room` slots at most, as slots for another pipe; they stay here.
    pub(crate) fn copy(&self, room: usize, most: usize) -> Vec<Slot> {
        let mut left = most;
        let mut copies = Vec::new();
        for slot in self.ring.iter().take(room) {
            if left == 0 {
                break;
            }
            let n = slot.left().min(left);
            left -= n;
            copies.push(Slot {
                bytes: slot.bytes[slot.start..slot.start + n].to_vec(),
                start: 0,
                packet: slot.packet,
                closed: true,
            });
        }
        copies
    }

    /// As [`copy`](Self::copy), but what is given is not here any more.
    pub(crate) fn take(&mut self, hub: &mut Hub, room: usize, most: usize) -> Vec<Slot> {
        let mut left = most;
        let mut taken = Vec::new();
        let was_full = self.full();
        while taken.len() < room
            && left > 0
            && let Some(mut slot) = self.ring.pop_front()
        {
            if slot.left() > left {
                let rest = Slot {
                    bytes: slot.bytes.split_off(slot.start + left),
                    start: 0,
                    ..slot
                };
                self.ring.push_front(rest);
            }
            left -= slot.left();
            slot.closed = true;
            taken.push(slot);
        }
        if was_full && !self.full() {
            hub.wake(self.queue, Events::WRITE);
        }
        taken
    }

    /// Puts what another pipe gave behind what is there: how many bytes.
    pub(crate) fn extend(&mut self, hub: &mut Hub, slots: Vec<Slot>) -> usize {
        let count = slots.iter().map(Slot::left).sum();
        if count > 0 && (self.ring.is_empty() || self.polled) {
            hub.wake(self.queue, Events::READ);
        }
        self.ring.extend(slots);
        count
    }

    fn full(&self) -> bool {
        self.ring.len() >= self.slots
    }
}

impl Kind for Pipe {
    const FACE: Face = Face::Numbered {
        name: "pipe",
        dev: PIPE_DEV,
        mode: 0o010600,
        base: 0x1000_0000,
    };

    fn read(
        &mut self,
        hub: &mut Hub,
        _: &dyn Env,
        _: OpenFlags,
        sink: &mut dyn Sink,
    ) -> Result<usize> {
        let total = sink.remaining();
        if total == 0 {
            return Ok(0);
        }
        let was_full = self.full();
        let mut done = 0;
        let mut fault = false;
        while let Some(slot) = self.ring.front_mut() {
            let want = (slot.bytes.len() - slot.start).min(total - done);
            let n = sink.put(&slot.bytes[slot.start..slot.start + want]);
            // As in Linux a page's bytes are taken all or not at all.
            if n < want {
                fault = true;
                break;
            }
            slot.start += n;
            done += n;
            let packet = slot.packet;
            if packet {
                slot.start = slot.bytes.len();
            }
            if slot.start == slot.bytes.len()
                && let Some(emptied) = self.ring.pop_front()
            {
                self.spare.keep(emptied.bytes);
            }
            if packet || done == total {
                break;
            }
        }
        if was_full && !self.full() {
            hub.wake(self.queue, Events::WRITE);
        }
        match done {
            0 if fault => Err(Errno::EFAULT),
            0 if self.ring.is_empty() && self.writers > 0 => Err(Errno::EAGAIN),
            done => Ok(done),
        }
    }

    fn write(
        &mut self,
        hub: &mut Hub,
        _: &dyn Env,
        flags: OpenFlags,
        source: &mut dyn Source,
    ) -> Result<usize> {
        let packet = flags.contains(OpenFlags::DIRECT);
        let total = source.remaining();
        if total == 0 {
            return Ok(0);
        }
        if self.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let was_empty = self.ring.is_empty();
        let mut done = 0;
        let mut fault = false;
        let odd = total % SLOT;
        if let Some(last) = self.ring.back_mut()
            && odd > 0
            && !last.closed
            && last.bytes.len() + odd <= SLOT
        {
            let end = last.bytes.len();
            last.bytes.resize(end + odd, 0);
            // All of a page's bytes or none, as in `read`.
            match source.take(&mut last.bytes[end..]) < odd {
                true => {
                    last.bytes.truncate(end);
                    fault = true;
                }
                false => done = odd,
            }
        }
        while !fault && done < total && !self.full() {
            let want = (total - done).min(SLOT);
            let mut bytes = self.spare.take(want, SLOT);
            if source.take(&mut bytes) < want {
                self.spare.keep(bytes);
                fault = true;
                break;
            }
            done += want;
            self.ring.push_back(Slot {
                bytes,
                start: 0,
                packet,
                closed: packet,
            });
        }
        if done > 0 && (was_empty || self.polled) {
            hub.wake(self.queue, Events::READ);
        }
        match done {
            0 if fault => Err(Errno::EFAULT),
            0 => Err(Errno::EAGAIN),
            done => Ok(done),
        }
    }

    fn poll(&mut self, _: &mut Hub, _: &dyn Env, flags: OpenFlags) -> Events {
        self.polled = true;
        let mut events = Events::empty();
        if flags.readable() {
            events.set(Events::READ, !self.ring.is_empty());
            events.set(Events::HUP, self.writers == 0 && self.opens.1 > 0);
        }
        if flags.writable() {
            events |= if self.full() {
                Events::empty()
            } else {
                Events::WRITE
            };
            events.set(Events::ERR, self.readers == 0);
        }
        events
    }

    fn queue(&self, _: &Hub) -> Option<QueueId> {
        Some(self.queue)
    }

    /// Closes the ends that `flags` names.
    fn close(&mut self, hub: &mut Hub, flags: OpenFlags) -> bool {
        if flags.readable() {
            self.readers = self.readers.saturating_sub(1);
        }
        if flags.writable() {
            self.writers = self.writers.saturating_sub(1);
        }
        let gone = self.readers + self.writers == 0;
        if gone {
            hub.remove_queue(self.queue);
        } else if (self.readers == 0) != (self.writers == 0) {
            hub.wake(self.queue, Events::all());
        }
        gone
    }

    fn seek(&self) -> Result<u64> {
        Err(Errno::ESPIPE)
    }

    fn available(&self) -> Result<usize> {
        Ok(self.ring.iter().map(Slot::left).sum())
    }

    fn writes_all(&self) -> bool {
        true
    }

    fn raises_sigpipe(&self) -> bool {
        true
    }
}
