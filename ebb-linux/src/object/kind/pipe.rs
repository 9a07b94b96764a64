//! Pipes and FIFOs.
//!
//! A pipe is a ring of slots of one page each, as in Linux' `fs/pipe.c`: what is left over of a
//! write is merged into the last slot if it fits there whole, everything else starts a new slot.
//! Capacity, atomicity of small writes (`PIPE_BUF`) and the moments of readiness follow from that
//! and are those a Linux program sees.

use alloc::{collections::VecDeque, vec::Vec};

use crate::object::{
    Objects,
    arena::Id,
    description::{DescId, Object},
    errno::{Errno, Result},
    fd::Fd,
    flags::OpenFlags,
    io::{Sink, Source},
    vfs::NodeRef,
    wait::{Events, Hub, QueueId},
};

/// Bytes in a slot, and the largest write that is never split (`PIPE_BUF`).
pub const SLOT: usize = 4096;
/// Slots of a new pipe: 64 KiB.
pub const DEFAULT_SLOTS: usize = 16;
/// Slots of a new pipe when the UC already has very many.
const SCARCE_SLOTS: usize = 2;
/// The most slots that `F_SETPIPE_SZ` gives: 1 MiB (Linux' `pipe-max-size`).
pub const MAX_SLOTS: usize = 256;

#[derive(Clone, Debug)]
struct Slot {
    bytes: Vec<u8>,
    start: usize,
    packet: bool,
}

/// The slots of all pipes of a UC beyond which none grows (Linux' `pipe-user-pages-soft`).
const SOFT_SLOTS: usize = 16_384;

/// A pipe.
#[derive(Clone, Debug)]
pub struct Pipe {
    ring: VecDeque<Slot>,
    slots: usize,
    /// An emptied slot's memory, for the next write.
    spare: Vec<u8>,
    readers: u32,
    writers: u32,
    /// How often the pipe was opened for reading and for writing: a FIFO's open waits for a change.
    opens: (u32, u32),
    /// Somebody polls: every write wakes, as edge-triggered programs have come to expect.
    polled: bool,
    pub(crate) queue: QueueId,
}

impl Pipe {
    fn new(hub: &mut Hub, slots: usize) -> Self {
        Self {
            ring: VecDeque::new(),
            slots,
            spare: Vec::new(),
            readers: 0,
            writers: 0,
            opens: (0, 0),
            polled: false,
            queue: hub.new_queue(),
        }
    }

    /// Bytes that can be read.
    pub fn available(&self) -> usize {
        self.ring.iter().map(|s| s.bytes.len() - s.start).sum()
    }

    /// Capacity in bytes.
    pub const fn capacity(&self) -> u32 {
        (self.slots * SLOT) as u32
    }

    fn full(&self) -> bool {
        self.ring.len() >= self.slots
    }

    pub(crate) fn poll(&mut self, flags: OpenFlags) -> Events {
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

    fn read(&mut self, hub: &mut Hub, sink: &mut dyn Sink) -> Result<usize> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        let was_full = self.full();
        let mut done = 0;
        let mut fault = false;
        while let Some(slot) = self.ring.front_mut() {
            let want = (slot.bytes.len() - slot.start).min(sink.remaining());
            let n = sink.put(&slot.bytes[slot.start..slot.start + want]);
            slot.start += n;
            done += n;
            fault = n < want;
            let packet = slot.packet;
            if packet && !fault {
                slot.start = slot.bytes.len();
            }
            if slot.start == slot.bytes.len()
                && let Some(emptied) = self.ring.pop_front()
            {
                self.spare = emptied.bytes;
            }
            if fault || packet || sink.remaining() == 0 {
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

    fn write(&mut self, hub: &mut Hub, packet: bool, source: &mut dyn Source) -> Result<usize> {
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
            && !last.packet
            && last.bytes.len() + odd <= SLOT
        {
            let end = last.bytes.len();
            last.bytes.resize(end + odd, 0);
            done = source.take(&mut last.bytes[end..]);
            last.bytes.truncate(end + done);
            fault = done < odd;
        }
        while !fault && done < total && !self.full() {
            let want = (total - done).min(SLOT);
            let mut bytes = core::mem::take(&mut self.spare);
            bytes.clear();
            bytes.reserve_exact(SLOT);
            bytes.resize(want, 0);
            let n = source.take(&mut bytes);
            bytes.truncate(n);
            done += n;
            fault = n < want;
            if n > 0 {
                self.ring.push_back(Slot {
                    bytes,
                    start: 0,
                    packet,
                });
            }
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
}

impl Objects {
    fn new_pipe_object(&mut self) -> Result<Id<Pipe>> {
        if self.pipes.len() >= self.limits.pipes {
            return Err(Errno::ENFILE);
        }
        let scarce = self.pipes.len() >= self.limits.pipes / 4;
        let slots = if scarce { SCARCE_SLOTS } else { DEFAULT_SLOTS };
        let pipe = Pipe::new(&mut self.hub, slots);
        Ok(self.pipes.insert(pipe))
    }

    /// `pipe2`: the reading and the writing descriptor. `flags` may hold `O_NONBLOCK`,
    /// `O_CLOEXEC` and `O_DIRECT` (packet mode).
    ///
    /// # Errors
    /// `EINVAL`, `EMFILE`, `ENFILE`.
    pub fn pipe(&mut self, flags: u32) -> Result<(Fd, Fd)> {
        let flags = OpenFlags::from_bits_retain(flags);
        let known = OpenFlags::NONBLOCK | OpenFlags::CLOEXEC | OpenFlags::DIRECT;
        if !known.contains(flags) {
            return Err(Errno::EINVAL);
        }
        let pipe = self.new_pipe_object()?;
        if let Some(pipe) = self.pipes.get_mut(pipe) {
            (pipe.readers, pipe.writers, pipe.opens) = (1, 1, (1, 1));
        }
        let object = Object::Pipe(pipe);
        let status = flags & (OpenFlags::NONBLOCK | OpenFlags::CLOEXEC);
        // Dropping a description closes its end; an end that never had one is closed by hand.
        let reader = match self.open_object(object, status, None) {
            Ok(fd) => fd,
            Err(errno) => {
                self.close_pipe(pipe, OpenFlags::WRONLY, None);
                return Err(errno);
            }
        };
        match self.open_object(object, flags | OpenFlags::WRONLY, None) {
            Ok(writer) => Ok((reader, writer)),
            Err(errno) => {
                self.close(reader)?;
                Err(errno)
            }
        }
    }

    /// The pipe of a FIFO, made when it is first opened.
    pub(crate) fn fifo(&mut self, node: NodeRef) -> Result<Id<Pipe>> {
        if let Some(pipe) = self.fs.fifo_of(node) {
            return Ok(pipe);
        }
        let pipe = self.new_pipe_object()?;
        self.fs.set_fifo(node, Some(pipe));
        Ok(pipe)
    }

    /// Opens an end (or both) of a FIFO. The flag says whether the open must wait for the other
    /// side, in which case [`fifo_partner`](Self::fifo_partner) says when it has come.
    pub(crate) fn open_fifo(&mut self, node: NodeRef, flags: OpenFlags) -> Result<(DescId, bool)> {
        let id = self.fifo(node)?;
        let pipe = self.pipes.get_mut(id).ok_or(Errno::EIO)?;
        let wait = match (flags.readable(), flags.writable()) {
            (true, false) => pipe.writers == 0,
            (false, true) => pipe.readers == 0,
            (true, true) => false,
            (false, false) => return Err(Errno::EINVAL),
        };
        let nonblocking = flags.contains(OpenFlags::NONBLOCK);
        if wait && nonblocking && flags.writable() {
            if pipe.readers + pipe.writers == 0 {
                self.close_pipe(id, OpenFlags::PATH, Some(node));
            }
            return Err(Errno::ENXIO);
        }
        if flags.readable() {
            pipe.readers += 1;
            pipe.opens.0 += 1;
        }
        if flags.writable() {
            pipe.writers += 1;
            pipe.opens.1 += 1;
        }
        let queue = pipe.queue;
        self.hub.wake(queue, Events::all());
        Ok((
            self.describe(Object::Pipe(id), flags, Some(node))?,
            wait && !nonblocking,
        ))
    }

    /// A new open description of the pipe behind another (`/dev/stdin`, `/proc/self/fd/N`).
    pub(crate) fn reopen_pipe(&mut self, desc: DescId, flags: OpenFlags) -> Result<DescId> {
        let desc = self.description(desc)?;
        let (Object::Pipe(id), node) = (desc.object, desc.node) else {
            return Err(Errno::ENXIO);
        };
        let pipe = self.pipes.get_mut(id).ok_or(Errno::ENXIO)?;
        pipe.readers += u32::from(flags.readable());
        pipe.opens.0 += u32::from(flags.readable());
        pipe.writers += u32::from(flags.writable());
        pipe.opens.1 += u32::from(flags.writable());
        self.describe(Object::Pipe(id), flags, node)
    }

    /// Whether the other side of a FIFO has been opened since.
    pub(crate) fn fifo_partner(&self, desc: DescId, before: (u32, u32)) -> Result<bool> {
        let (flags, pipe) = self.pipe_of(desc)?;
        Ok(if flags.readable() {
            pipe.writers > 0 || pipe.opens.1 != before.1
        } else {
            pipe.readers > 0 || pipe.opens.0 != before.0
        })
    }

    pub(crate) fn fifo_opens(&self, desc: DescId) -> Result<(u32, u32)> {
        Ok(self.pipe_of(desc)?.1.opens)
    }

    /// Closes the ends that `flags` names; the last one frees the pipe.
    pub(crate) fn close_pipe(&mut self, id: Id<Pipe>, flags: OpenFlags, node: Option<NodeRef>) {
        let Some(pipe) = self.pipes.get_mut(id) else {
            return;
        };
        if flags.readable() {
            pipe.readers = pipe.readers.saturating_sub(1);
        }
        if flags.writable() {
            pipe.writers = pipe.writers.saturating_sub(1);
        }
        let queue = pipe.queue;
        if pipe.readers + pipe.writers == 0 {
            if let Some(node) = node {
                self.fs.set_fifo(node, None);
            }
            self.pipes.remove(id);
            self.hub.remove_queue(queue);
        } else if (pipe.readers == 0) != (pipe.writers == 0) {
            self.hub.wake(queue, Events::all());
        }
    }

    pub(crate) fn pipe_of(&self, desc: DescId) -> Result<(OpenFlags, &Pipe)> {
        let desc = self.description(desc)?;
        match desc.object {
            Object::Pipe(id) => Ok((desc.flags, self.pipes.get(id).ok_or(Errno::EBADF)?)),
            _ => Err(Errno::EBADF),
        }
    }

    pub(crate) fn read_pipe(&mut self, id: Id<Pipe>, sink: &mut dyn Sink) -> Result<usize> {
        self.pipes
            .get_mut(id)
            .ok_or(Errno::EBADF)?
            .read(&mut self.hub, sink)
    }

    pub(crate) fn write_pipe(
        &mut self,
        id: Id<Pipe>,
        flags: OpenFlags,
        source: &mut dyn Source,
    ) -> Result<usize> {
        let packet = flags.contains(OpenFlags::DIRECT);
        self.pipes
            .get_mut(id)
            .ok_or(Errno::EBADF)?
            .write(&mut self.hub, packet, source)
    }

    /// `F_SETPIPE_SZ`.
    pub(crate) fn set_pipe_size(&mut self, desc: DescId, size: u32) -> Result<u32> {
        let Object::Pipe(id) = self.description(desc)?.object else {
            return Err(Errno::EBADF);
        };
        let all: usize = self.pipes.iter().map(|(_, p)| p.slots).sum();
        let pipe = self.pipes.get_mut(id).ok_or(Errno::EBADF)?;
        if size > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let slots = (size as usize).max(SLOT).next_power_of_two() / SLOT;
        if slots > pipe.slots && (slots > MAX_SLOTS || all + slots > SOFT_SLOTS) {
            return Err(Errno::EPERM);
        }
        if slots < pipe.ring.len() {
            return Err(Errno::EBUSY);
        }
        pipe.slots = slots;
        let (queue, capacity) = (pipe.queue, pipe.capacity());
        self.hub.wake(queue, Events::WRITE);
        Ok(capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::testing::{World, objects};

    #[test]
    fn a_pipe_holds_64_kib_and_then_would_block() {
        let (mut o, w) = (objects(), World::default());
        let (r, s) = o.pipe(0).unwrap();
        assert_eq!(o.write(&w, s, &mut &[7u8; 70_000][..]), Ok(65_536));
        assert_eq!(o.write(&w, s, &mut &[7u8; 1][..]), Err(Errno::EAGAIN));
        let mut buffer = [0; 4095];
        assert_eq!(o.read(&w, r, &mut &mut buffer[..]), Ok(4095));
        assert_eq!(
            o.write(&w, s, &mut &[7u8; 1][..]),
            Err(Errno::EAGAIN),
            "no slot is free yet"
        );
        assert_eq!(o.read(&w, r, &mut &mut buffer[..1]), Ok(1));
        assert_eq!(o.write(&w, s, &mut &[7u8; 5000][..]), Ok(4096));
    }

    #[test]
    fn closing_one_end_is_end_of_file_or_epipe_at_the_other() {
        let (mut o, w) = (objects(), World::default());
        let (r, s) = o.pipe(0).unwrap();
        o.write(&w, s, &mut &b"last"[..]).unwrap();
        o.close(s).unwrap();
        let mut buffer = [0; 9];
        assert_eq!(o.read(&w, r, &mut &mut buffer[..]), Ok(4));
        assert_eq!(o.read(&w, r, &mut &mut buffer[..]), Ok(0));
        o.close(r).unwrap();
        assert!(o.pipes.is_empty());
        let (r, s) = o.pipe(0).unwrap();
        o.close(r).unwrap();
        assert_eq!(o.write(&w, s, &mut &b"x"[..]), Err(Errno::EPIPE));
    }

    #[test]
    fn a_packet_pipe_keeps_writes_apart_and_drops_what_does_not_fit_the_read() {
        let (mut o, w) = (objects(), World::default());
        let (r, s) = o.pipe(OpenFlags::DIRECT.bits()).unwrap();
        o.write(&w, s, &mut &b"first"[..]).unwrap();
        o.write(&w, s, &mut &b"second"[..]).unwrap();
        let mut buffer = [0; 3];
        assert_eq!(o.read(&w, r, &mut &mut buffer[..]), Ok(3));
        assert_eq!(o.read(&w, r, &mut &mut buffer[..]), Ok(3));
        assert_eq!(&buffer, b"sec");
    }

    #[test]
    fn running_out_of_descriptors_leaves_no_pipe_behind() {
        let mut o = objects();
        o.files.fds.set_limit(1);
        assert_eq!(o.pipe(0), Err(Errno::EMFILE));
        assert!(o.pipes.is_empty() && o.descriptions.is_empty() && o.files.fds.is_empty());
    }
}
