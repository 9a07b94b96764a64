//! Moving bytes: read, write and their positioned forms, seeking, and copies between descriptors.

use alloc::{sync::Arc, vec};

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{DescId, Fd, NodeRef},
    io::{Sink, Source, put_some},
    kind::{Kind, Object, device::Device, dispatch, inotify::Change, mqueue::MQUEUE_BYTES},
    ops::files::proc,
};

/// The most that one system call moves (Linux' `MAX_RW_COUNT`).
pub const MAX_COUNT: usize = 0x7fff_f000;
/// What a copy between descriptors moves at a time.
const CHUNK: usize = 64 << 10;

/// The largest position in a file.
const MAX_POS: u64 = i64::MAX as u64;

/// Where `lseek` counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// The start of the file.
    Set,
    /// The present position.
    Current,
    /// The end of the file.
    End,
    /// The next data at or after the offset.
    Data,
    /// The next hole at or after the offset.
    Hole,
}

impl Whence {
    /// From the number of the system call.
    pub const fn from_number(number: u32) -> Option<Whence> {
        Some(match number {
            0 => Whence::Set,
            1 => Whence::Current,
            2 => Whence::End,
            3 => Whence::Data,
            4 => Whence::Hole,
            _ => return None,
        })
    }
}

/// Refuses a transfer that would run over the largest position.
pub(super) fn check_range(pos: u64, count: usize) -> Result<()> {
    match pos.checked_add(count as u64) {
        Some(end) if end <= MAX_POS => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

impl Objects {
    /// `read` or `readv`. Gives 0 at the end; `EAGAIN` when there is nothing yet.
    pub fn read(&mut self, env: &dyn Env, fd: Fd, sink: &mut dyn Sink) -> Result<usize> {
        self.read_desc(env, self.files.fds.get(fd)?, sink)
    }

    /// `write` or `writev`. `EAGAIN` when there is no room yet; may write a part only.
    pub fn write(&mut self, env: &dyn Env, fd: Fd, source: &mut dyn Source) -> Result<usize> {
        self.write_desc(env, self.files.fds.get(fd)?, source)
    }

    /// [`read`](Self::read) by the description, for a call that may have waited.
    pub fn read_desc(&mut self, env: &dyn Env, id: DescId, sink: &mut dyn Sink) -> Result<usize> {
        let desc = self.description(id)?;
        if !desc.flags.readable() {
            return Err(Errno::EBADF);
        }
        let (pos, flags, node) = (desc.pos, desc.flags, desc.node);
        dispatch!(get_mut, self.kinds, desc.object, |kind| kind.read(&mut self.hub, env, flags, sink), Err(Errno::EBADF), {
            Object::File => {
                check_range(pos, sink.remaining())?;
                let done = self.read_node(node.ok_or(Errno::EBADF)?, pos, sink)?;
                self.description_mut(id)?.pos = pos + done as u64;
                Ok(done)
            }
            Object::Text => {
                check_range(pos, sink.remaining())?;
                let done = self.read_at(env, id, pos, sink)?;
                self.description_mut(id)?.pos = pos + done as u64;
                Ok(done)
            }
            Object::Dir => check_range(pos, sink.remaining()).and(Err(Errno::EISDIR)),
            Object::MessageQueue(queue) => {
                check_range(pos, sink.remaining())?;
                let done = self.read_mqueue(queue, pos, sink)?;
                self.description_mut(id)?.pos = pos + done as u64;
                Ok(done)
            }
            Object::Path => Err(Errno::EBADF),
            Object::Epoll(_) => Err(Errno::EINVAL),
            Object::Socket(socket) => match self.receive_briefly(socket, sink) {
                Some(result) => result,
                None => self.read_socket(env, id, sink),
            },
        })
    }

    /// [`write`](Self::write) by the description, for a call that may have waited.
    pub fn write_desc(
        &mut self,
        env: &dyn Env,
        id: DescId,
        source: &mut dyn Source,
    ) -> Result<usize> {
        let desc = self.description(id)?;
        if !desc.flags.writable() {
            return Err(Errno::EBADF);
        }
        let (flags, pos, node) = (desc.flags, desc.pos, desc.node);
        dispatch!(get_mut, self.kinds, desc.object, |kind| kind.write(&mut self.hub, env, flags, source), Err(Errno::EBADF), {
            Object::File => {
                let node = node.ok_or(Errno::EBADF)?;
                check_range(pos, source.remaining())?;
                let append = flags.contains(OpenFlags::APPEND);
                let (at, done) = self.write_file(env, node, pos, append, source)?;
                if done > 0 {
                    self.description_mut(id)?.pos = at + done as u64;
                }
                Ok(done)
            }
            Object::Text => match node {
                Some(NodeRef::Synth(node)) if node.is_memory() => {
                    let done = proc::write_memory(env, node, pos, source)?;
                    self.description_mut(id)?.pos = pos + done as u64;
                    Ok(done)
                }
                node => self.write_text(env, node, source),
            },
            Object::Socket(socket) => match self.send_briefly(socket, source) {
                Some(result) => result,
                None => self.write_socket(env, id, source),
            },
            Object::Path | Object::Dir => Err(Errno::EBADF),
            Object::Epoll(_) => Err(Errno::EINVAL),
        })
    }

    /// Reads from a file.
    fn read_node(&mut self, node: NodeRef, pos: u64, sink: &mut dyn Sink) -> Result<usize> {
        let read = self.fs.read_file(node, pos, sink);
        if self.is_watching() && matches!(read, Ok(1..)) {
            self.tell_node(node, Change::ACCESS);
        }
        read
    }

    /// Reads from what has positions.
    pub(crate) fn read_at(
        &mut self,
        env: &dyn Env,
        id: DescId,
        pos: u64,
        sink: &mut dyn Sink,
    ) -> Result<usize> {
        let desc = self.description(id)?;
        match (desc.object, desc.node) {
            (Object::File, Some(node)) => self.read_node(node, pos, sink),
            (Object::Text, Some(NodeRef::Synth(node))) => {
                if let Some(result) = proc::read_long(env, node, pos, sink) {
                    return result;
                }
                let text = match &desc.text {
                    Some(text) if pos > 0 => text.clone(),
                    _ => {
                        let text: Arc<[u8]> = self.generated(env, node)?.into();
                        self.description_mut(id)?.text = Some(text.clone());
                        text
                    }
                };
                let start = usize::try_from(pos).unwrap_or(usize::MAX).min(text.len());
                put_some(sink, &text[start..])
            }
            _ => Err(Errno::ESPIPE),
        }
    }

    /// `pread64` or `preadv`.
    pub fn pread(&mut self, env: &dyn Env, fd: Fd, pos: i64, sink: &mut dyn Sink) -> Result<usize> {
        let pos = u64::try_from(pos).map_err(|_| Errno::EINVAL)?;
        let id = self.files.fds.get(fd)?;
        let desc = self.description(id)?;
        match desc.object {
            Object::Path => Err(Errno::EBADF),
            Object::File | Object::Text if !desc.flags.readable() => Err(Errno::EBADF),
            Object::File if desc.node.is_some() => {
                let node = desc.node.ok_or(Errno::EBADF)?;
                check_range(pos, sink.remaining())?;
                self.read_node(node, pos, sink)
            }
            Object::File | Object::Text => {
                check_range(pos, sink.remaining())?;
                self.read_at(env, id, pos, sink)
            }
            Object::Dir => check_range(pos, sink.remaining()).and(Err(Errno::EISDIR)),
            Object::MessageQueue(queue) if desc.flags.readable() => {
                check_range(pos, sink.remaining())?;
                self.read_mqueue(queue, pos, sink)
            }
            Object::MessageQueue(_) => Err(Errno::EBADF),
            object if object.is_positioned() => {
                check_range(pos, sink.remaining())?;
                self.read_desc(env, id, sink)
            }
            _ => Err(Errno::ESPIPE),
        }
    }

    /// `pwrite64` or `pwritev`. As in Linux, `O_APPEND` wins over the position.
    pub fn pwrite(
        &mut self,
        env: &dyn Env,
        fd: Fd,
        pos: i64,
        source: &mut dyn Source,
    ) -> Result<usize> {
        let pos = u64::try_from(pos).map_err(|_| Errno::EINVAL)?;
        let id = self.files.fds.get(fd)?;
        let desc = self.description(id)?;
        let flags = desc.flags;
        match (desc.object, desc.node) {
            (Object::Path | Object::Dir, _) => Err(Errno::EBADF),
            (Object::File | Object::Text, _) if !flags.writable() => Err(Errno::EBADF),
            (Object::File, Some(node)) => {
                check_range(pos, source.remaining())?;
                let append = flags.contains(OpenFlags::APPEND);
                self.write_file(env, node, pos, append, source).map(|w| w.1)
            }
            (Object::Text, Some(NodeRef::Synth(node))) if node.is_memory() => {
                proc::write_memory(env, node, pos, source)
            }
            // What is written to other files of a process is one request, which has no place.
            (Object::Text, Some(NodeRef::Synth(node))) if node.pid().is_some() => {
                Err(Errno::ESPIPE)
            }
            (Object::Text, node) => self.write_text(env, node, source),
            (Object::MessageQueue(_), _) if flags.writable() => Err(Errno::EINVAL),
            (Object::MessageQueue(_), _) => Err(Errno::EBADF),
            (object, _) if object.is_positioned() => {
                check_range(pos, source.remaining())?;
                self.write_desc(env, id, source)
            }
            _ => Err(Errno::ESPIPE),
        }
    }

    /// `lseek`.
    pub fn seek(&mut self, fd: Fd, offset: i64, whence: Whence) -> Result<u64> {
        let id = self.files.fds.get(fd)?;
        if self.name_space_of(id).is_some() {
            return Err(Errno::ESPIPE);
        }
        let desc = self.description(id)?;
        let (object, node, pos) = (desc.object, desc.node, desc.pos);
        let size = match (object, node) {
            (Object::Path, _) => return Err(Errno::EBADF),
            (Object::File, Some(node)) => self.fs.file_size(node)?,
            (Object::Dir | Object::Text, _) => 0,
            (Object::MessageQueue(_), _) => MQUEUE_BYTES,
            (object, _) => {
                return dispatch!(get, self.kinds, object, |kind| kind.seek(), Err(Errno::EBADF), {
                    Object::Epoll(_) => Ok(0),
                    Object::File | Object::Dir | Object::Path | Object::Text => Err(Errno::ESPIPE),
                });
            }
        };
        let target = match whence {
            Whence::Set => offset,
            Whence::Current => (pos as i64).checked_add(offset).ok_or(Errno::EINVAL)?,
            Whence::End if size == 0 && object != Object::File => return Err(Errno::EINVAL),
            Whence::End => (size as i64).checked_add(offset).ok_or(Errno::EINVAL)?,
            Whence::Data | Whence::Hole if matches!(object, Object::MessageQueue(_)) => {
                match u64::try_from(offset) {
                    Ok(from) if from >= size => return Err(Errno::ENXIO),
                    _ if whence == Whence::Hole => size as i64,
                    _ => offset,
                }
            }
            Whence::Data | Whence::Hole => {
                let (Object::File, Some(node)) = (object, node) else {
                    return Err(Errno::EINVAL);
                };
                let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
                self.fs.seek_extent(node, from, whence == Whence::Hole)? as i64
            }
        };
        let target = u64::try_from(target).map_err(|_| Errno::EINVAL)?;
        let desc = self.description_mut(id)?;
        if target != desc.pos {
            desc.text = None;
        }
        desc.pos = target;
        Ok(target)
    }

    /// Whether `copy_file_range` knows both ends, each question asked of both before the next.
    fn check_copy(&self, input: Fd, output: Fd) -> Result<()> {
        let (from, to) = (self.files.fds.get(input)?, self.files.fds.get(output)?);
        let (from, to) = (self.description(from)?, self.description(to)?);
        let either = |object| from.object == object || to.object == object;
        let is_regular = |object| matches!(object, Object::File | Object::Text);
        if either(Object::Path) {
            return Err(Errno::EBADF);
        }
        if either(Object::Dir) {
            return Err(Errno::EISDIR);
        }
        if !is_regular(from.object) || !is_regular(to.object) {
            return Err(Errno::EINVAL);
        }
        if !from.flags.readable() || !to.flags.writable() || to.flags.contains(OpenFlags::APPEND) {
            return Err(Errno::EBADF);
        }
        // As in Linux since 5.19: a file without a name is in another file system than those with one.
        let unnamed = |node: Option<NodeRef>| node.is_some_and(|node| self.fs.is_memfd(node));
        match either(Object::Text) || unnamed(from.node) != unnamed(to.node) {
            true => Err(Errno::EXDEV),
            false => Ok(()),
        }
    }

    /// The regular file behind a description, and its position.
    fn regular(&self, fd: Fd) -> Result<(DescId, NodeRef, u64)> {
        let id = self.files.fds.get(fd)?;
        let desc = self.description(id)?;
        match (desc.object, desc.node) {
            (Object::File, Some(node)) => Ok((id, node, desc.pos)),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `sendfile`: from a regular file, at `offset` or at its position (which then moves), to
    /// anything. Moves at most 64 KiB bytes per call; the caller goes on until it has moved all
    /// or gets 0.
    pub fn sendfile(
        &mut self,
        env: &dyn Env,
        out: Fd,
        input: Fd,
        offset: Option<&mut u64>,
        count: usize,
    ) -> Result<usize> {
        let id = self.files.fds.get(input)?;
        let from = self.description(id)?;
        if !from.flags.readable() {
            return Err(Errno::EBADF);
        }
        let has_places = matches!(
            from.object,
            Object::File | Object::Text | Object::Dir | Object::Device(_)
        );
        if offset.is_some() && !has_places {
            return Err(Errno::ESPIPE);
        }
        let at = offset.as_deref().copied().unwrap_or(from.pos);
        check_range(at, count)?;
        let target = self.files.fds.get(out)?;
        let target_flags = self.description(target)?.flags;
        if !target_flags.writable() {
            return Err(Errno::EBADF);
        }
        if target_flags.contains(OpenFlags::APPEND) {
            return Err(Errno::EINVAL);
        }
        // Of nothing it is asked only whether bytes could be written there.
        let streams = matches!(
            from.object,
            Object::Pipe(_) | Object::Socket(_) | Object::Pty(_)
        );
        let to_pipe = matches!(self.description(target)?.object, Object::Pipe(_));
        if !has_places && (count > 0 || streams && !to_pipe) {
            return Err(Errno::EINVAL);
        }
        if count == 0 {
            return Ok(0);
        }
        let from_device =
            from.object.is_positioned() && from.object != Object::Device(Device::Null);
        if !matches!(from.object, Object::File | Object::Text) && !from_device {
            return Err(Errno::EINVAL);
        }
        let mut buffer = vec![0; count.min(CHUNK)];
        let n = match from_device {
            true => self.read_desc(env, id, &mut &mut buffer[..])?,
            false => self.read_at(env, id, at, &mut &mut buffer[..])?,
        };
        if n == 0 {
            return Ok(0);
        }
        // What is always full cannot be spliced to, as Linux has it.
        if self.description(target)?.object == Object::Device(Device::Full) {
            return Err(Errno::EINVAL);
        }
        let done = self.write_desc(env, target, &mut &buffer[..n])?;
        match offset {
            // A device has no places to go on to.
            Some(_) if from_device => {}
            Some(offset) => *offset = at + done as u64,
            None => self.description_mut(id)?.pos = at + done as u64,
        }
        Ok(done)
    }

    /// `copy_file_range` between regular files; offsets as for [`sendfile`](Self::sendfile).
    pub fn copy_file_range(
        &mut self,
        env: &dyn Env,
        (input, in_offset): (Fd, Option<&mut u64>),
        (output, out_offset): (Fd, Option<&mut u64>),
        count: usize,
    ) -> Result<usize> {
        self.check_copy(input, output)?;
        let (in_id, in_node, in_pos) = self.regular(input)?;
        let (out_id, out_node, out_pos) = self.regular(output)?;
        let from = in_offset.as_deref().copied().unwrap_or(in_pos);
        let to = out_offset.as_deref().copied().unwrap_or(out_pos);
        let wraps = |pos: u64| pos.checked_add(count as u64).is_none();
        if wraps(from) || wraps(to) {
            return Err(Errno::EOVERFLOW);
        }
        if from > MAX_POS || to > MAX_POS {
            return Err(Errno::EINVAL);
        }
        let size = self.fs.file_size(in_node)?;
        let count = count.min(MAX_COUNT) as u64;
        let count = count.min(size.saturating_sub(from));
        let overlap = to + count > from && to < from + count;
        if self.fs.canon(in_node) == self.fs.canon(out_node) && overlap {
            return Err(Errno::EINVAL);
        }
        let count = count as usize;
        let mut buffer = vec![0; count.min(CHUNK)];
        let n = self.fs.read_file(in_node, from, &mut &mut buffer[..])?;
        if n > 0 {
            self.tell_node(in_node, Change::ACCESS);
        }
        let (_, done) = self.write_file(env, out_node, to, false, &mut &buffer[..n])?;
        for (offset, id, at) in [(in_offset, in_id, from), (out_offset, out_id, to)] {
            match offset {
                Some(offset) => *offset = at + done as u64,
                None => self.description_mut(id)?.pos = at + done as u64,
            }
        }
        Ok(done)
    }

    /// Whether what is written goes to the UC's owner, or to the machine's console.
    #[inline]
    pub fn is_channel(&self, id: DescId) -> bool {
        self.description(id)
            .is_ok_and(|d| matches!(d.object, Object::Channel(_) | Object::Pty(_)))
    }

    /// Whether a write that gives `EPIPE` also sends `SIGPIPE`.
    pub fn raises_sigpipe(&self, id: DescId) -> bool {
        let Ok(desc) = self.description(id) else {
            return false;
        };
        dispatch!(get, self.kinds, desc.object, |kind| kind.raises_sigpipe(), false, {
            Object::File | Object::Dir | Object::Path | Object::Text | Object::Epoll(_) => false,
        })
    }

    /// Whether a transfer is made at once however long it is: nothing that it could wait for bounds it.
    pub fn moves_at_once(&self, id: DescId) -> bool {
        let object = self.description(id).map(|d| d.object);
        matches!(object, Ok(Object::File | Object::Text)) || object.is_ok_and(Object::is_positioned)
    }

    /// Whether a blocking write goes on until all is written: byte streams do.
    pub fn writes_all(&self, id: DescId) -> bool {
        let Ok(desc) = self.description(id) else {
            return false;
        };
        dispatch!(get, self.kinds, desc.object, |kind| kind.writes_all(), false, {
            Object::File | Object::Dir | Object::Path | Object::Text | Object::Epoll(_) => false,
        })
    }
}
