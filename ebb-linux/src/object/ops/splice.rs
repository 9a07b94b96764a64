//! `splice`, `tee` and `vmsplice`: bytes between a pipe and something else without a detour over the guest's memory.
//!
//! Everything is moved or copied at once; Linux' promise that pages are not copied is one about speed. What is spliced has
//! slots of its own in the pipe, as there. A call that cannot move anything says for which of the two it waits.

use alloc::vec;

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{DescId, Fd, Id},
    io::Source,
    kind::{
        Object,
        device::Device,
        pipe::{Pipe, SLOT},
        socket::address::Domain,
    },
    ops::transfer::check_range,
};

/// `SPLICE_F_NONBLOCK`: pipes are not waited for. The other flags (`MOVE`, `MORE`, `GIFT`) change nothing here.
pub const NONBLOCK: u32 = 2;
/// All flags that there are.
pub const FLAGS: u32 = 0xf;

/// The most that one call moves, which may be less than it was asked for.
const MAX: usize = 512 << 10;

/// Why nothing was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// It failed.
    Error(Errno),
    /// Nothing has come in yet; the caller waits for the input to become readable.
    Input,
    /// There is no room; the caller waits for the output to become writable.
    Output,
}

impl From<Errno> for Stall {
    fn from(errno: Errno) -> Self {
        Self::Error(errno)
    }
}

/// One of the two ends of a call.
struct End {
    id: DescId,
    object: Object,
    flags: OpenFlags,
    pipe: Option<Id<Pipe>>,
}

impl Objects {
    fn end(&self, fd: Fd) -> Result<End> {
        let id = self.files.fds.get(fd)?;
        let desc = self.description(id)?;
        let pipe = match desc.object {
            Object::Path => return Err(Errno::EBADF),
            Object::Pipe(pipe) => Some(pipe),
            _ => None,
        };
        Ok(End {
            id,
            object: desc.object,
            flags: desc.flags,
            pipe,
        })
    }

    /// `splice`, with the offsets that the guest gave; a moved one is to be given back.
    ///
    /// # Errors
    /// Those of splice(2) in [`Stall::Error`].
    pub fn splice(
        &mut self,
        env: &dyn Env,
        (input, in_offset): (Fd, Option<&mut u64>),
        (output, out_offset): (Fd, Option<&mut u64>),
        len: usize,
        flags: u32,
    ) -> core::result::Result<usize, Stall> {
        let (from, to) = (self.end(input)?, self.end(output)?);
        if from.pipe.is_some() && in_offset.is_some() || to.pipe.is_some() && out_offset.is_some() {
            return Err(Errno::ESPIPE.into());
        }
        if !from.flags.readable() || !to.flags.writable() {
            return Err(Errno::EBADF.into());
        }
        let waits = flags & NONBLOCK == 0;
        let check = |o: &Self, end: &End, offset: &Option<&mut u64>| {
            let at = match offset {
                Some(at) => **at,
                None => o.description(end.id)?.pos,
            };
            check_range(at, len)
        };
        match (from.pipe, to.pipe) {
            (None, Some(_)) => check(self, &from, &in_offset)?,
            (Some(_), None) => check(self, &to, &out_offset)?,
            _ => {}
        }
        let len = len.min(MAX);
        match (from.pipe, to.pipe) {
            (Some(a), Some(b)) if a == b => Err(Errno::EINVAL.into()),
            (Some(a), Some(b)) => {
                let waits = waits && !(from.flags | to.flags).contains(OpenFlags::NONBLOCK);
                self.pipe_to_pipe(a, b, len, waits, false)
            }
            (Some(pipe), None) => {
                let waits = waits && !from.flags.contains(OpenFlags::NONBLOCK);
                self.pipe_to_other(env, pipe, &to, out_offset, len, waits)
            }
            (None, Some(pipe)) => {
                let waits = waits && !to.flags.contains(OpenFlags::NONBLOCK);
                self.other_to_pipe(env, &from, in_offset, pipe, len, waits)
            }
            (None, None) => Err(Errno::EINVAL.into()),
        }
    }

    /// `tee`: as `splice` between two pipes, but what is given stays in the first.
    ///
    /// # Errors
    /// Those of tee(2) in [`Stall::Error`].
    pub fn tee(
        &mut self,
        input: Fd,
        output: Fd,
        len: usize,
        flags: u32,
    ) -> core::result::Result<usize, Stall> {
        let (from, to) = (self.end(input)?, self.end(output)?);
        if !from.flags.readable() || !to.flags.writable() {
            return Err(Errno::EBADF.into());
        }
        let (Some(a), Some(b)) = (from.pipe, to.pipe) else {
            return Err(Errno::EINVAL.into());
        };
        if a == b {
            return Err(Errno::EINVAL.into());
        }
        let nonblocking = (from.flags | to.flags).contains(OpenFlags::NONBLOCK);
        self.pipe_to_pipe(a, b, len, flags & NONBLOCK == 0 && !nonblocking, true)
    }

    fn pipe_to_pipe(
        &mut self,
        from: Id<Pipe>,
        to: Id<Pipe>,
        len: usize,
        waits: bool,
        keep: bool,
    ) -> core::result::Result<usize, Stall> {
        let output = self.kinds.pipes.get(to).ok_or(Errno::EBADF)?;
        let (room, readers) = (output.room(), output.readers);
        let input = self.kinds.pipes.get_mut(from).ok_or(Errno::EBADF)?;
        if input.is_empty() {
            return match (input.writers, waits) {
                (0, _) => Ok(0),
                (_, true) => Err(Stall::Input),
                (_, false) => Err(Errno::EAGAIN.into()),
            };
        }
        if readers == 0 {
            return Err(Errno::EPIPE.into());
        }
        if room == 0 {
            return Err(if waits {
                Stall::Output
            } else {
                Errno::EAGAIN.into()
            });
        }
        let moved = match keep {
            true => input.copy(room, len),
            false => input.take(&mut self.hub, room, len),
        };
        let output = self.kinds.pipes.get_mut(to).ok_or(Errno::EBADF)?;
        Ok(output.extend(&mut self.hub, moved))
    }

    fn pipe_to_other(
        &mut self,
        env: &dyn Env,
        pipe: Id<Pipe>,
        to: &End,
        offset: Option<&mut u64>,
        len: usize,
        waits: bool,
    ) -> core::result::Result<usize, Stall> {
        let positioned = to.object == Object::File || to.object.is_positioned();
        if offset.is_some() && !positioned || to.flags.contains(OpenFlags::APPEND) {
            return Err(Errno::EINVAL.into());
        }
        if !is_spliced(to.object) || to.object == Object::Device(Device::Full) {
            return Err(Errno::EINVAL.into());
        }
        let input = self.kinds.pipes.get(pipe).ok_or(Errno::EBADF)?;
        if input.is_empty() {
            return match (input.writers, waits) {
                (0, _) => Ok(0),
                (_, true) => Err(Stall::Input),
                (_, false) => Err(Errno::EAGAIN.into()),
            };
        }
        let bytes = input.peek(len);
        let node = self.description(to.id)?.node;
        let written = match (offset, to.object, node) {
            (Some(at), Object::File, Some(node)) => {
                let pos = i64::try_from(*at).map_err(|_| Errno::EINVAL)? as u64;
                let written = self.write_file(env, node, pos, false, &mut &bytes[..]);
                written.map(|(pos, n)| {
                    *at = pos + n as u64;
                    n
                })
            }
            _ => self.write_desc(env, to.id, &mut &bytes[..]),
        };
        match written {
            Ok(n) => {
                if let Some(input) = self.kinds.pipes.get_mut(pipe) {
                    input.consume(&mut self.hub, n);
                }
                Ok(n)
            }
            Err(Errno::EAGAIN) if !to.flags.contains(OpenFlags::NONBLOCK) => Err(Stall::Output),
            Err(errno) => Err(errno.into()),
        }
    }

    fn other_to_pipe(
        &mut self,
        env: &dyn Env,
        from: &End,
        offset: Option<&mut u64>,
        pipe: Id<Pipe>,
        len: usize,
        waits: bool,
    ) -> core::result::Result<usize, Stall> {
        let file = matches!(from.object, Object::File | Object::Text);
        if offset.is_some() && !file && !from.object.is_positioned() || !is_spliced(from.object) {
            return Err(Errno::EINVAL.into());
        }
        if from.object == Object::Device(Device::Null) {
            return Err(Errno::EINVAL.into());
        }
        let room = self.room_in(pipe, waits)?;
        let mut bytes = vec![0; len.min(room * SLOT)];
        let read = match offset {
            Some(at) if file => {
                let pos = i64::try_from(*at).map_err(|_| Errno::EINVAL)? as u64;
                let n = self.read_at(env, from.id, pos, &mut &mut bytes[..])?;
                *at = pos + n as u64;
                Ok(n)
            }
            _ => self.read_desc(env, from.id, &mut &mut bytes[..]),
        };
        let n = match read {
            Ok(n) => n,
            Err(Errno::EAGAIN) => {
                // A Unix socket heeds the flag as well as its own mode, a TCP socket its mode only.
                let unix = matches!(from.object, Object::Socket(id)
                    if self.socket(id).is_ok_and(|s| s.domain == Domain::Unix));
                let nonblocking = from.flags.contains(OpenFlags::NONBLOCK) || unix && !waits;
                return Err(match nonblocking {
                    true => Errno::EAGAIN.into(),
                    false => Stall::Input,
                });
            }
            Err(errno) => return Err(errno.into()),
        };
        let output = self.kinds.pipes.get_mut(pipe).ok_or(Errno::EBADF)?;
        for piece in bytes[..n].chunks(SLOT) {
            output.push(&mut self.hub, piece.to_vec());
        }
        Ok(n)
    }

    /// Free slots of a pipe that is written to.
    fn room_in(&self, pipe: Id<Pipe>, waits: bool) -> core::result::Result<usize, Stall> {
        let output = self.kinds.pipes.get(pipe).ok_or(Errno::EBADF)?;
        match (output.readers, output.room(), waits) {
            (0, ..) => Err(Errno::EPIPE.into()),
            (_, 0, true) => Err(Stall::Output),
            (_, 0, false) => Err(Errno::EAGAIN.into()),
            (_, room, _) => Ok(room),
        }
    }

    /// Whether `vmsplice` on a descriptor writes to its pipe (or reads from it).
    ///
    /// # Errors
    /// `EBADF` for what is no pipe, unless nothing is moved.
    pub fn vmsplice_writes(&self, fd: Fd, of_nothing: bool) -> Result<bool> {
        let end = self.end(fd)?;
        if !of_nothing {
            end.pipe.ok_or(Errno::EBADF)?;
        }
        Ok(end.flags.writable())
    }

    /// `vmsplice` to a pipe, of the next bytes in pieces that end where the guest's pages do; `address` is where they are.
    ///
    /// # Errors
    /// `EFAULT`, `EPIPE`, `EAGAIN` in [`Stall::Error`].
    pub fn vmsplice(
        &mut self,
        fd: Fd,
        source: &mut dyn Source,
        address: u64,
        flags: u32,
    ) -> core::result::Result<usize, Stall> {
        let end = self.end(fd)?;
        let pipe = end.pipe.ok_or(Errno::EBADF)?;
        let waits = flags & NONBLOCK == 0 && !end.flags.contains(OpenFlags::NONBLOCK);
        let (mut room, mut done) = (self.room_in(pipe, waits)?, 0);
        while room > 0 && source.remaining() > 0 {
            let in_page = SLOT - (address as usize).wrapping_add(done) % SLOT;
            let mut bytes = vec![0; in_page.min(source.remaining())];
            let n = source.take(&mut bytes);
            if n == 0 {
                return match done {
                    0 => Err(Errno::EFAULT.into()),
                    done => Ok(done),
                };
            }
            bytes.truncate(n);
            if let Some(output) = self.kinds.pipes.get_mut(pipe) {
                output.push(&mut self.hub, bytes);
            }
            (room, done) = (room - 1, done + n);
        }
        Ok(done)
    }
}

impl Objects {
    /// Whether `sendfile` without an offset is a splice: from what has no places into a pipe. Gives its flags.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn sendfile_splices(&self, out: Fd, input: Fd) -> Result<Option<u32>> {
        let from = self.end(input)?;
        if !matches!(from.object, Object::Socket(_) | Object::Pty(_)) {
            return Ok(None);
        }
        let to = self.end(out)?;
        let nonblocking = (from.flags | to.flags).contains(OpenFlags::NONBLOCK);
        let splices = to.pipe.is_some() && from.flags.readable() && to.flags.writable();
        Ok(splices.then_some(u32::from(nonblocking) * NONBLOCK))
    }
}

/// Whether bytes of such an object can be spliced.
fn is_spliced(object: Object) -> bool {
    matches!(
        object,
        Object::File
            | Object::Text
            | Object::Device(_)
            | Object::Socket(_)
            | Object::Channel(_)
            | Object::Pty(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::testing::{World, objects};

    fn read(o: &mut Objects, w: &World, fd: Fd) -> alloc::vec::Vec<u8> {
        let mut buffer = [0; 9000];
        let n = o.read(w, fd, &mut &mut buffer[..]).unwrap_or(0);
        buffer[..n].to_vec()
    }

    #[test]
    fn what_is_spliced_between_pipes_is_moved_and_what_is_teed_stays() {
        let (mut o, w) = (objects(), World::default());
        let ((r, s), (q, t)) = (o.pipe(0).unwrap(), o.pipe(0).unwrap());
        o.write(&w, s, &mut &b"abcdef"[..]).unwrap();
        assert_eq!(o.tee(r, t, 4, 0), Ok(4));
        assert_eq!(o.splice(&w, (r, None), (t, None), 3, 0), Ok(3));
        assert_eq!(read(&mut o, &w, q), b"abcdabc");
        assert_eq!(read(&mut o, &w, r), b"def");
        assert_eq!(o.tee(r, t, 1, 0), Err(Stall::Input));
        assert_eq!(o.tee(r, t, 1, NONBLOCK), Err(Errno::EAGAIN.into()));
        o.close(s).unwrap();
        assert_eq!(o.splice(&w, (r, None), (t, None), 1, 0), Ok(0), "the end");
    }

    #[test]
    fn a_pipe_without_slots_stalls_the_side_that_writes() {
        let (mut o, w) = (objects(), World::default());
        let (r, s) = o.pipe(0).unwrap();
        let file = o.memfd(&w, b"f", 0).unwrap();
        o.write(&w, file, &mut &[7u8; 100_000][..]).unwrap();
        let mut at = 5;
        let moved = o.splice(&w, (file, Some(&mut at)), (s, None), 100_000, 0);
        assert_eq!((moved, at), (Ok(65_536), 65_541));
        let again = o.splice(&w, (file, Some(&mut at)), (s, None), 1, 0);
        assert_eq!((again, at), (Err(Stall::Output), 65_541));
        let mut to = 10;
        assert_eq!(
            o.splice(&w, (r, None), (file, Some(&mut to)), 5000, 0),
            Ok(5000)
        );
        assert_eq!(to, 5010);
        o.close(r).unwrap();
        let gone = o.splice(&w, (file, Some(&mut at)), (s, None), 1, 0);
        assert_eq!(gone, Err(Errno::EPIPE.into()));
    }

    #[test]
    fn spliced_bytes_have_slots_of_their_own_in_a_clone_too() {
        let (mut o, w) = (objects(), World::default());
        let (r, s) = o.pipe(0).unwrap();
        for _ in 0..16 {
            assert_eq!(o.vmsplice(s, &mut &b"x"[..], 0, NONBLOCK), Ok(1));
        }
        assert_eq!(o.vmsplice(s, &mut &b"x"[..], 0, 0), Err(Stall::Output));
        let mut copy = o.clone();
        assert_eq!(read(&mut copy, &w, r), [b'x'; 16]);
        assert_eq!(read(&mut o, &w, r), [b'x'; 16]);
        assert_eq!(
            o.vmsplice(s, &mut &[1u8; 5000][..], 4000, 0),
            Ok(5000),
            "96, 4096 and 808"
        );
    }
}
