//! What the objects of a UC see of the UC: time, randomness, facts for /proc, its memory as source and sink of bytes, and
//! the boot archive as the root of its files.
//!
//! What must hold: these are called while `Uc::objects` is borrowed, so nothing here touches it; memory is borrowed for each
//! piece only, because /proc looks at it too.

use crate::object::Objects;
use crate::object::description::DescId;
use crate::object::env::{CpuModel, Env, MemoryInfo, ProcInfo, Time};
use crate::object::errno::Errno;
use crate::object::fd::FilesId;
use crate::object::io::{Sink, Source};
use crate::object::socket::network::Network;
use crate::object::vfs::NodeRef;
use crate::object::vfs::archive::{Archive, ArchiveKind, ArchiveMeta, ArchiveNode};
use crate::process::{Memory, Process, Zombie};
use crate::signal::bit;
use crate::sys::{Call, Stop};
use crate::uc::Uc;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::Write;
use ebb_archive::Kind;
use ebb_mem::space::Backing;
use ebb_runtime::EbbRef;
use ebb_runtime::platform::{Entropy, Environment};
use once_cell::race::OnceBox;

/// A UC as its objects see it, for one of its processes.
pub struct World<'a> {
    /// The UC.
    pub uc: &'a Uc,
    /// The process.
    pub process: &'a Process,
}

impl Env for World<'_> {
    fn monotonic(&self) -> u64 {
        self.uc.now()
    }

    fn realtime(&self) -> u64 {
        crate::unix_now()
    }

    fn random(&self, bytes: &mut [u8]) {
        EbbRef::<dyn Entropy>::get().fill(bytes);
    }

    fn process(&self) -> &dyn ProcInfo {
        self
    }

    fn processes(&self) -> Vec<u32> {
        let processes = self.uc.processes.borrow();
        let live = processes.live.iter().map(|p| p.pid());
        let mut all: Vec<u32> = live
            .chain(processes.zombies.iter().map(|z| z.pid))
            .collect();
        all.sort_unstable();
        all
    }

    fn visit(&self, pid: u32, f: &mut dyn FnMut(&dyn ProcInfo)) -> bool {
        if pid == self.process.pid() {
            f(self);
            return true;
        }
        let processes = self.uc.processes.borrow();
        if let Some(process) = processes.find(pid).cloned() {
            drop(processes);
            f(&Other(World {
                uc: self.uc,
                process: &process,
            }));
            return true;
        }
        let zombie = processes.zombies.iter().find(|z| z.pid == pid).copied();
        drop(processes);
        zombie.inspect(|zombie| f(zombie)).is_some()
    }

    fn is_alive(&self, serial: u64) -> bool {
        self.uc.processes.borrow().by_serial(serial).is_some()
    }

    fn network(&self) -> Option<&dyn Network> {
        if self.uc.options.network {
            Some(self)
        } else {
            None
        }
    }

    fn pending_signals(&self, mask: u64) -> u64 {
        let threads = self.process.threads.borrow();
        let of_threads = threads.iter().fold(0, |all, t| all | t.pending);
        (of_threads | self.process.state.borrow().pending) & mask
    }

    fn take_signal(&self, mask: u64) -> Option<[u8; 128]> {
        let mut threads = self.process.threads.borrow_mut();
        for thread in threads.iter_mut() {
            if let Some(info) = crate::signal::take(thread, mask) {
                return Some(crate::signal::for_signalfd(&info));
            }
        }
        let info = crate::signal::take_of_process(&mut self.process.state.borrow_mut(), mask)?;
        Some(crate::signal::for_signalfd(&info))
    }
}

/// The world while a UC is made.
pub struct Boot;

impl ProcInfo for Boot {}

impl Env for Boot {
    fn monotonic(&self) -> u64 {
        crate::now()
    }

    fn realtime(&self) -> u64 {
        crate::unix_now()
    }

    fn random(&self, bytes: &mut [u8]) {
        EbbRef::<dyn Entropy>::get().fill(bytes);
    }

    fn process(&self) -> &dyn ProcInfo {
        self
    }
}

impl Objects {
    /// The bytes of a file that lies in the boot archive and has not been changed.
    pub(crate) fn archived(&self, id: DescId) -> Option<&'static [u8]> {
        match self.fs.canon(self.description(id).ok()?.node?) {
            NodeRef::Lower(node) => Some(root().content(node)),
            _ => None,
        }
    }
}

fn joined(strings: &[Vec<u8>]) -> Vec<u8> {
    strings
        .iter()
        .flat_map(|s| s.iter().copied().chain([0]))
        .collect()
}

impl ProcInfo for World<'_> {
    fn pid(&self) -> u32 {
        self.process.state.borrow().pid
    }

    fn parent(&self) -> u32 {
        self.process.state.borrow().parent
    }

    fn group(&self) -> (u32, u32) {
        let state = self.process.state.borrow();
        (state.group, state.session)
    }

    fn files(&self) -> Option<FilesId> {
        Some(self.process.files.get())
    }

    fn signal_sets(&self) -> [u64; 4] {
        let threads = self.process.threads.borrow();
        let state = self.process.state.borrow();
        let blocked = threads.iter().next().map_or(0, |t| t.mask);
        let mut sets = [state.pending, blocked, 0, 0];
        for signal in 1..=64 {
            match state.actions.get(signal).map(|a| a.handler) {
                None | Some(0) => {}
                Some(1) => sets[2] |= bit(signal),
                Some(_) => sets[3] |= bit(signal),
            }
        }
        sets
    }

    fn threads(&self) -> Vec<u32> {
        self.process
            .threads
            .borrow()
            .iter()
            .map(|t| t.tid)
            .collect()
    }

    fn exe(&self) -> Vec<u8> {
        self.process.state.borrow().path.clone()
    }

    fn comm(&self, tid: u32) -> Vec<u8> {
        let threads = self.process.threads.borrow();
        let name = threads
            .iter()
            .find(|t| t.tid == tid)
            .map_or([0; 16], |t| t.name);
        if name[0] != 0 {
            let end = name.iter().position(|b| *b == 0).unwrap_or(15);
            return name[..end].to_vec();
        }
        let exe = self.exe();
        let name = exe.rsplit(|&b| b == b'/').next().unwrap_or(&[]);
        name[..name.len().min(15)].to_vec()
    }

    fn cmdline(&self) -> Vec<u8> {
        joined(&self.process.state.borrow().arguments)
    }

    fn environ(&self) -> Vec<u8> {
        joined(&self.process.state.borrow().environment)
    }

    fn auxv(&self) -> Vec<u8> {
        self.process.state.borrow().started.auxv.clone()
    }

    fn maps(&self, out: &mut Vec<u8>) {
        struct Text<'a>(&'a mut Vec<u8>);
        impl Write for Text<'_> {
            fn write_str(&mut self, s: &str) -> core::fmt::Result {
                self.0.extend_from_slice(s.as_bytes());
                Ok(())
            }
        }
        let memory = self.process.memory();
        let space = memory.space.borrow();
        for area in space.areas() {
            let p = area.protection;
            let name = self.process.area_name(area.note);
            let start = out.len();
            let _ = write!(
                Text(out),
                "{:08x}-{:08x} {}{}{}{} {:08x} 00:00 {}",
                area.start,
                area.end,
                if p.read { 'r' } else { '-' },
                if p.write { 'w' } else { '-' },
                if p.execute { 'x' } else { '-' },
                if matches!(area.backing, Backing::Shared(_)) {
                    's'
                } else {
                    'p'
                },
                if name.first() == Some(&b'/') {
                    area.offset
                } else {
                    0
                },
                if name.first() == Some(&b'/') {
                    area.note
                } else {
                    0
                },
            );
            if !name.is_empty() {
                while out.len() - start < 73 {
                    out.push(b' ');
                }
                out.extend_from_slice(&name);
            }
            out.push(b'\n');
        }
    }

    fn memory(&self) -> MemoryInfo {
        let memory = self.process.memory();
        let space = memory.space.borrow();
        MemoryInfo {
            total: self.uc.options.memory,
            free: self.uc.options.memory.saturating_sub(self.uc.used()),
            virtual_size: space.mapped(),
            virtual_peak: space.mapped(),
            resident: space.resident(),
            resident_peak: space.peak(),
            data: space
                .areas()
                .filter(|a| a.protection.write)
                .map(|a| a.end - a.start)
                .sum(),
            stack: crate::exec::STACK,
            ..MemoryInfo::default()
        }
    }

    fn cpu_model(&self) -> CpuModel {
        CpuModel::default()
    }

    fn cpu_time(&self) -> (u64, u64) {
        (self.process.ran(), 0)
    }

    fn started(&self) -> u64 {
        self.process.state.borrow().begun
    }

    fn rlimit(&self, resource: u32) -> (u64, u64) {
        let state = self.process.state.borrow();
        state
            .limits
            .get(resource as usize)
            .copied()
            .unwrap_or((u64::MAX, u64::MAX))
    }
}

/// A process as another one sees it.
struct Other<'a>(World<'a>);

/// Passes facts on to what `$inner` gives.
macro_rules! pass_on {
    ($inner:tt: $($name:ident($($argument:ident: $type:ty)?) -> $result:ty;)*) => {
        $(fn $name(&self $(, $argument: $type)?) -> $result { self.$inner.$name($($argument)?) })*
    };
}

impl ProcInfo for Other<'_> {
    fn state(&self) -> char {
        let process = self.0.process;
        if process.stopped.get().is_some() {
            return 'T';
        }
        let waits = process.threads.borrow().iter().all(|t| t.waiting.is_some());
        if waits { 'S' } else { 'R' }
    }

    pass_on! { 0:
        pid() -> u32;
        parent() -> u32;
        group() -> (u32, u32);
        files() -> Option<FilesId>;
        signal_sets() -> [u64; 4];
        threads() -> Vec<u32>;
        exe() -> Vec<u8>;
        comm(tid: u32) -> Vec<u8>;
        cmdline() -> Vec<u8>;
        environ() -> Vec<u8>;
        auxv() -> Vec<u8>;
        maps(out: &mut Vec<u8>) -> ();
        memory() -> MemoryInfo;
        cpu_model() -> CpuModel;
        cpu_time() -> (u64, u64);
        started() -> u64;
        rlimit(resource: u32) -> (u64, u64);
    }
}

impl ProcInfo for Zombie {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn parent(&self) -> u32 {
        self.parent
    }

    fn group(&self) -> (u32, u32) {
        (self.group, self.session)
    }

    fn state(&self) -> char {
        'Z'
    }

    fn comm(&self, _: u32) -> Vec<u8> {
        let end = self.name.iter().position(|b| *b == 0).unwrap_or(15);
        self.name[..end].to_vec()
    }

    fn cpu_time(&self) -> (u64, u64) {
        (self.ran, 0)
    }
}

/// Ranges of a guest's memory, one after another.
pub struct UserBytes<'a> {
    memory: &'a Memory,
    parts: &'a [(u64, usize)],
    /// Bytes used up of the first part.
    used: usize,
    /// The most bytes that are moved.
    most: usize,
}

impl<'a> UserBytes<'a> {
    /// The ranges, without their first `skip` bytes.
    pub fn new(memory: &'a Memory, parts: &'a [(u64, usize)], skip: usize) -> Self {
        let mut bytes = Self {
            memory,
            parts,
            used: 0,
            most: usize::MAX,
        };
        if skip > 0 {
            bytes.advance(skip);
        }
        bytes
    }

    /// The first `most` bytes of them.
    pub fn first(self, most: usize) -> Self {
        Self { most, ..self }
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(&(_, len)) = self.parts.first() {
            let step = n.min(len - self.used);
            self.used += step;
            n -= step;
            if self.used < len {
                break;
            }
            self.parts = &self.parts[1..];
            self.used = 0;
        }
    }

    fn left(&self) -> usize {
        if let [(_, len)] = self.parts {
            return (len - self.used).min(self.most);
        }
        let all = self.parts.iter().fold(0usize, |n, p| n.saturating_add(p.1));
        (all - self.used).min(self.most)
    }

    /// Calls `f` with address, length and how much was done before, for each piece of up to `len` bytes.
    #[inline]
    fn each(&mut self, len: usize, mut f: impl FnMut(u64, usize, usize) -> usize) -> usize {
        let len = len.min(self.most);
        if let [(address, size)] = *self.parts
            && len <= size - self.used
        {
            // The usual case: no further part to look at.
            let Some(at) = address.checked_add(self.used as u64) else {
                return 0;
            };
            let moved = f(at, len, 0);
            self.used += moved;
            self.most -= moved;
            return moved;
        }
        self.each_part(len, f)
    }

    fn each_part(&mut self, len: usize, mut f: impl FnMut(u64, usize, usize) -> usize) -> usize {
        let mut done = 0;
        while done < len {
            let Some(&(address, size)) = self.parts.first() else {
                break;
            };
            let n = (size - self.used).min(len - done);
            let moved = match address.checked_add(self.used as u64) {
                Some(at) => f(at, n, done),
                None => 0,
            };
            done += moved;
            self.most -= moved;
            self.advance(moved);
            if moved < n {
                break;
            }
        }
        done
    }
}

impl Sink for UserBytes<'_> {
    fn remaining(&self) -> usize {
        self.left()
    }

    fn put(&mut self, from: &[u8]) -> usize {
        let memory = self.memory;
        self.each(from.len(), |at, n, done| {
            memory
                .space
                .borrow_mut()
                .write_part(at, &from[done..done + n])
        })
    }
}

impl Source for UserBytes<'_> {
    fn remaining(&self) -> usize {
        self.left()
    }

    fn take(&mut self, to: &mut [u8]) -> usize {
        let memory = self.memory;
        self.each(to.len(), |at, n, done| {
            memory
                .space
                .borrow_mut()
                .read_part(at, &mut to[done..done + n])
        })
    }
}

/// The most parts of a vector (`UIO_MAXIOV`).
const MAX_PARTS: u64 = 1024;

/// Reads a `struct iovec` array.
///
/// # Errors
/// `EINVAL` for too many parts or a negative length, `EFAULT`.
pub fn vector(call: &Call<'_>, address: u64, count: u64) -> Result<Vec<(u64, usize)>, Stop> {
    if count > MAX_PARTS {
        return Err(Errno::EINVAL.into());
    }
    let parts: Vec<[u64; 2]> = call.space().get_array(address, count as usize)?;
    let mut total = 0usize;
    let mut out = Vec::with_capacity(parts.len());
    for [start, len] in parts {
        if len > i64::MAX as u64 {
            return Err(Errno::EINVAL.into());
        }
        let len = (len as usize).min(crate::object::transfer::MAX_COUNT - total);
        total += len;
        out.push((start, len));
    }
    Ok(out)
}

/// The boot archive as a UC's root.
struct Root(ebb_archive::Archive<'static>);

/// What an image without an archive has.
static EMPTY: EmptyRoot = EmptyRoot;
struct EmptyRoot;

impl Archive for EmptyRoot {
    fn meta(&self, _: ArchiveNode) -> ArchiveMeta {
        ArchiveMeta {
            kind: ArchiveKind::Dir,
            mode: 0o755,
            mtime: Time::default(),
        }
    }
    fn subdirs(&self, _: ArchiveNode) -> u32 {
        0
    }
    fn parent(&self, _: ArchiveNode) -> ArchiveNode {
        0
    }
    fn name(&self, _: ArchiveNode) -> &'static [u8] {
        b""
    }
    fn lookup(&self, _: ArchiveNode, _: &[u8]) -> Option<ArchiveNode> {
        None
    }
    fn entry(&self, _: ArchiveNode, _: usize) -> Option<ArchiveNode> {
        None
    }
    fn content(&self, _: ArchiveNode) -> &'static [u8] {
        b""
    }
}

impl Archive for Root {
    fn meta(&self, node: ArchiveNode) -> ArchiveMeta {
        let Some(node) = self.0.node(node) else {
            return EMPTY.meta(0);
        };
        let metadata = node.metadata();
        let kind = match node.kind() {
            Kind::File => ArchiveKind::File,
            Kind::Directory => ArchiveKind::Dir,
            Kind::Symlink => ArchiveKind::Symlink,
        };
        ArchiveMeta {
            kind,
            mode: metadata.permissions & 0o7777,
            mtime: Time {
                sec: metadata.mtime,
                nsec: metadata.mtime_nanoseconds,
            },
        }
    }

    fn subdirs(&self, dir: ArchiveNode) -> u32 {
        self.0.node(dir).map_or(0, |n| {
            n.children().filter(|c| c.kind() == Kind::Directory).count() as u32
        })
    }

    fn parent(&self, node: ArchiveNode) -> ArchiveNode {
        self.0.node(node).map_or(0, |n| n.parent().index())
    }

    fn name(&self, node: ArchiveNode) -> &'static [u8] {
        self.0.node(node).map_or(b"", |n| n.name())
    }

    fn lookup(&self, dir: ArchiveNode, name: &[u8]) -> Option<ArchiveNode> {
        Some(self.0.node(dir)?.child(name)?.index())
    }

    fn entry(&self, dir: ArchiveNode, index: usize) -> Option<ArchiveNode> {
        Some(self.0.node(dir)?.children().nth(index)?.index())
    }

    fn content(&self, node: ArchiveNode) -> &'static [u8] {
        let Some(node) = self.0.node(node) else {
            return b"";
        };
        node.target().unwrap_or_else(|| node.data())
    }
}

/// Two cores may both open it; the first counts.
static ROOT: OnceBox<Root> = OnceBox::new();

fn opened() -> Option<&'static Root> {
    let open = || {
        let archive = EbbRef::<dyn Environment>::get().archive();
        ebb_archive::Archive::new(archive).map(|a| Box::new(Root(a)))
    };
    ROOT.get_or_try_init(open).ok()
}

/// The tree that every UC's files start from; empty without a boot archive.
pub fn root() -> &'static dyn Archive {
    match opened() {
        Some(root) => root,
        None => &EMPTY,
    }
}

/// The boot archive.
pub fn archive() -> Option<ebb_archive::Archive<'static>> {
    opened().map(|r| r.0)
}
