//! Pipes and FIFOs: making them, opening their ends, their size.

use super::files::permission::asker;
use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{DescId, Fd, Id, NodeRef},
    kind::{
        Object,
        pipe::{DEFAULT_SLOTS, MAX_SLOTS, Pipe, SLOT},
    },
    wait::Events,
};

/// Slots of a new pipe when the UC already has very many.
const SCARCE_SLOTS: usize = 2;
/// The slots of all pipes of a UC beyond which none grows (Linux' `pipe-user-pages-soft`).
const SOFT_SLOTS: usize = 16_384;

impl Objects {
    fn new_pipe_object(&mut self) -> Result<Id<Pipe>> {
        if self.kinds.pipes.len() >= self.limits.pipes {
            return Err(Errno::ENFILE);
        }
        let scarce = self.kinds.pipes.len() >= self.limits.pipes / 16;
        let slots = if scarce { SCARCE_SLOTS } else { DEFAULT_SLOTS };
        let pipe = Pipe::new(&mut self.hub, slots);
        Ok(self.kinds.pipes.insert(pipe))
    }

    /// Notes that the caller has made a pipe.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn own_pipe(&mut self, env: &dyn Env, fd: Fd) -> Result<()> {
        let who = asker(env);
        if let Object::Pipe(pipe) = self.description(self.files.fds.get(fd)?)?.object
            && let Some(pipe) = self.kinds.pipes.get_mut(pipe)
        {
            pipe.owner = (who.user.files, who.group.files);
        }
        Ok(())
    }

    /// `pipe2`: the reading and the writing descriptor. `flags` may hold `O_NONBLOCK`,
    /// `O_CLOEXEC` and `O_DIRECT` (packet mode).
    ///
    /// # Errors
    /// `EINVAL`, `ENOPKG`, `EMFILE`, `ENFILE`.
    pub fn pipe(&mut self, flags: u32) -> Result<(Fd, Fd)> {
        let flags = OpenFlags::from_bits_retain(flags);
        let known = OpenFlags::NONBLOCK | OpenFlags::CLOEXEC | OpenFlags::DIRECT;
        // O_NOTIFICATION_PIPE: as a kernel that has none.
        const NOTIFICATION: OpenFlags = OpenFlags::EXCL;
        if !(known | NOTIFICATION).contains(flags) {
            return Err(Errno::EINVAL);
        }
        if flags.contains(NOTIFICATION) {
            return Err(Errno::ENOPKG);
        }
        let pipe = self.new_pipe_object()?;
        if let Some(pipe) = self.kinds.pipes.get_mut(pipe) {
            (pipe.readers, pipe.writers, pipe.opens) = (1, 1, (1, 1));
        }
        let object = Object::Pipe(pipe);
        let status = flags & (OpenFlags::NONBLOCK | OpenFlags::CLOEXEC);
        // Dropping a description closes its end; an end that never had one is closed by hand.
        let reader = match self.open_object(object, status, None) {
            Ok(fd) => fd,
            Err(errno) => {
                self.close_end(object, OpenFlags::WRONLY);
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
        // One that everybody has closed is gone, and its name finds nothing.
        let open = |&id: &Id<Pipe>| self.kinds.pipes.get(id).is_some();
        if let Some(pipe) = self.fs.fifo_of(node).filter(open) {
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
        let pipe = self.kinds.pipes.get_mut(id).ok_or(Errno::EIO)?;
        let wait = match (flags.readable(), flags.writable()) {
            (true, false) => pipe.writers == 0,
            (false, true) => pipe.readers == 0,
            (true, true) => false,
            (false, false) => return Err(Errno::EINVAL),
        };
        let nonblocking = flags.contains(OpenFlags::NONBLOCK);
        if wait && nonblocking && flags.writable() {
            if pipe.readers + pipe.writers == 0 {
                self.close_end(Object::Pipe(id), OpenFlags::PATH);
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
        let pipe = self.kinds.pipes.get_mut(id).ok_or(Errno::ENXIO)?;
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

    pub(crate) fn pipe_of(&self, desc: DescId) -> Result<(OpenFlags, &Pipe)> {
        let desc = self.description(desc)?;
        match desc.object {
            Object::Pipe(id) => Ok((desc.flags, self.kinds.pipes.get(id).ok_or(Errno::EBADF)?)),
            _ => Err(Errno::EBADF),
        }
    }

    /// `F_SETPIPE_SZ`.
    pub(crate) fn set_pipe_size(&mut self, desc: DescId, size: u32) -> Result<u32> {
        let Object::Pipe(id) = self.description(desc)?.object else {
            return Err(Errno::EBADF);
        };
        let all: usize = self.kinds.pipes.iter().map(|(_, p)| p.slots).sum();
        let pipe = self.kinds.pipes.get_mut(id).ok_or(Errno::EBADF)?;
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
        assert!(o.kinds.pipes.is_empty());
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
        assert!(o.kinds.pipes.is_empty() && o.descriptions.is_empty() && o.files.fds.is_empty());
    }
}
