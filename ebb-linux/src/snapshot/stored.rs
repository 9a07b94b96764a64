//! Snapshots as bytes: written down on one machine, and read on another one that runs the same image over the same boot archive
//! on a CPU with the same features. Whoever keeps the bytes sees to that, and to their being unchanged.
//!
//! A whole snapshot is a *record*, which has everything but pages, and pages of [`PAGE_BYTES`], each once however often it
//! occurs. They are looked at and given back in portions, so that no event takes long. A snapshot of differences is a record
//! and lines of [`LINE_BYTES`], which come in portions too, and is read with the snapshot that it differs from.
//!
//! What must hold:
//! - what cannot be written down is named, and the snapshot goes on as it was: pages that several programs share, System V
//!   objects, and what [`crate::object::stored`] names;
//! - a reader believes nothing: any bytes give a snapshot that some program may have been in, or are refused. (They may well
//!   be nonsense to the program, so bytes that may have changed must not be read at all.)

use super::rest::Needed;
use super::waiting::StoredWaiting;
use super::{FrozenProcess, FrozenThread, Inner, Pages, Snapshot};
use crate::abi::signal::{AltStack, SigInfo};
use crate::image::{archive, vdso};
use crate::object::fd::FilesId;
use crate::object::stored::bytes_of;
use crate::object::{Console, Objects, arena::wrong};
use crate::state::futex::Futexes;
use crate::state::process::{State, Zombie};
use crate::uc::Options;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize, io};
use core::fmt;
use core::sync::atomic::AtomicPtr;
use ebb_guest::{GuestCpu, Saved};
use ebb_mem::PhysAddr;
use ebb_mem::space::{
    Area, Backing, Building, Delta, DeltaParts, Flags, Lines, Outline, PAGE, PageBytes, Protection,
    WorkingSet,
};
use ebb_runtime::EbbRef;
use ebb_runtime::platform::Environment;

pub use ebb_mem::space::LINE_BYTES;

/// Bytes of a page.
pub const PAGE_BYTES: usize = PAGE as usize;

/// Why a snapshot cannot be written down, or bytes are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Unusable {}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<ebb_mem::space::Error> for Unusable {
    fn from(error: ebb_mem::space::Error) -> Self {
        Self(match error {
            ebb_mem::space::Error::OutOfMemory => "no memory for it".into(),
            _ => "pages where none can be".into(),
        })
    }
}

fn unusable(what: &str) -> Unusable {
    Unusable(what.into())
}

/// What is behind an area.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, PartialEq)]
enum StoredBacking {
    Anonymous,
    /// Bytes of the boot archive.
    Archive {
        offset: u64,
        len: u64,
    },
    /// The machine's clock page.
    Clock,
    /// The code of the vDSO.
    Vdso,
}

impl StoredBacking {
    fn of(backing: &Backing) -> Option<Self> {
        let (start, len) = match backing {
            Backing::Anonymous => return Some(Self::Anonymous),
            Backing::Image { start, len } => (*start, *len),
            Backing::Shared(_) | Backing::Private(_) => return None,
        };
        if let Some(special) = [Self::Clock, Self::Vdso]
            .into_iter()
            .find(|s| s.place() == Some((start, len)))
        {
            return Some(special);
        }
        let (archive, size) = archive_place()?;
        let offset = start.0.checked_sub(archive.0)?;
        let stored = Self::Archive { offset, len };
        (offset <= size && stored.place()? == (start, len)).then_some(stored)
    }

    /// Where it is on this machine; `None` where it is not.
    fn place(self) -> Option<(PhysAddr, u64)> {
        match self {
            Self::Anonymous => None,
            Self::Archive { offset, len } => {
                let (archive, size) = archive_place()?;
                // Files begin on pages, and the last one is filled up.
                let end = offset.checked_add(len)?;
                let fits = offset.is_multiple_of(PAGE) && end <= size;
                fits.then(|| (archive.offset(offset), len))
            }
            Self::Clock => {
                let clock = EbbRef::<dyn GuestCpu>::get().clock_page();
                (clock != 0).then_some((PhysAddr(clock), PAGE))
            }
            Self::Vdso => vdso::code().map(|code| (code, PAGE)),
        }
    }

    fn restore(self) -> Option<Backing> {
        match self {
            Self::Anonymous => Some(Backing::Anonymous),
            other => other
                .place()
                .map(|(start, len)| Backing::Image { start, len }),
        }
    }
}

/// Where the boot archive lies, and its length.
fn archive_place() -> Option<(PhysAddr, u64)> {
    let archive = EbbRef::<dyn Environment>::get().archive();
    let at = EbbRef::<dyn GuestCpu>::get().image_address(archive.as_ptr());
    (at != 0).then_some((PhysAddr(at), archive.len() as u64))
}

#[derive(BorshSerialize, BorshDeserialize)]
struct StoredArea {
    start: u64,
    end: u64,
    protection: (bool, bool, bool),
    backing: StoredBacking,
    offset: u64,
    note: u32,
    flags: u32,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct StoredOutline {
    areas: Vec<StoredArea>,
    top: u64,
    close: bool,
    future: u32,
    forks_differ: bool,
    growth_limit: u64,
}

impl StoredOutline {
    fn of(outline: &Outline) -> io::Result<Self> {
        let area = |area: &Area| {
            let backing = StoredBacking::of(&area.backing)
                .ok_or_else(|| wrong("a mapping of a changed file, or a shared one"))?;
            let Protection {
                read,
                write,
                execute,
            } = area.protection;
            Ok(StoredArea {
                start: area.start,
                end: area.end,
                protection: (read, write, execute),
                backing,
                offset: area.offset,
                note: area.note,
                flags: area.flags.bits(),
            })
        };
        Ok(Self {
            areas: outline
                .areas
                .iter()
                .map(area)
                .collect::<io::Result<Vec<_>>>()?,
            top: outline.top,
            close: outline.close,
            future: outline.future.bits(),
            forks_differ: outline.forks_differ,
            growth_limit: outline.growth_limit,
        })
    }

    fn restore(self) -> io::Result<Outline> {
        let area = |area: StoredArea| {
            let (read, write, execute) = area.protection;
            Ok(Area {
                start: area.start,
                end: area.end,
                protection: Protection {
                    read,
                    write,
                    execute,
                },
                backing: area
                    .backing
                    .restore()
                    .ok_or_else(|| wrong("a mapping of what the machine does not have"))?,
                offset: area.offset,
                note: area.note,
                flags: Flags::from_bits(area.flags),
            })
        };
        Ok(Outline {
            areas: self
                .areas
                .into_iter()
                .map(area)
                .collect::<io::Result<Vec<_>>>()?,
            top: self.top,
            close: self.close,
            future: Flags::from_bits(self.future),
            forks_differ: self.forks_differ,
            growth_limit: self.growth_limit,
        })
    }
}

/// Pages in a row: where, how many, and the number of the first one's content. Contents count up with them.
type Run = (u64, u32, u32);

#[derive(BorshSerialize, BorshDeserialize)]
enum StoredPages {
    Whole {
        outline: StoredOutline,
        runs: Vec<Run>,
        /// Pages of files that are mapped: where, how many.
        shown: Vec<(u64, u32)>,
    },
    Delta {
        outline: StoredOutline,
        pages: Vec<(u64, u64)>,
        gone: Vec<u64>,
        rights: Vec<u64>,
    },
}

#[derive(BorshSerialize, BorshDeserialize)]
struct StoredThread {
    tid: u32,
    registers: Vec<u8>,
    clear_tid: u64,
    robust: (u64, u64),
    mask: u64,
    saved_mask: Option<u64>,
    pending: u64,
    queued: Vec<SigInfo>,
    alt_stack: AltStack,
    memory_policy: u16,
    name: [u8; 16],
    waiting: Option<StoredWaiting>,
    ran: u64,
}

impl StoredThread {
    fn of(thread: &FrozenThread) -> io::Result<Self> {
        Ok(Self {
            tid: thread.tid,
            registers: thread.registers.to_bytes(),
            clear_tid: thread.clear_tid,
            robust: thread.robust,
            mask: thread.mask,
            saved_mask: thread.saved_mask,
            pending: thread.pending,
            queued: thread.queued.clone(),
            alt_stack: thread.alt_stack,
            memory_policy: thread.memory_policy,
            name: thread.name,
            waiting: thread.waiting.as_ref().map(StoredWaiting::of).transpose()?,
            ran: thread.ran,
        })
    }

    fn restore(self) -> io::Result<FrozenThread> {
        Ok(FrozenThread {
            tid: self.tid,
            registers: Saved::from_bytes(&self.registers)
                .ok_or_else(|| wrong("registers that this CPU cannot have"))?,
            clear_tid: self.clear_tid,
            robust: self.robust,
            mask: self.mask,
            saved_mask: self.saved_mask,
            pending: self.pending,
            queued: self.queued,
            alt_stack: self.alt_stack,
            memory_policy: self.memory_policy,
            name: self.name,
            waiting: self.waiting.map(StoredWaiting::restore),
            ran: self.ran,
        })
    }
}

#[derive(BorshSerialize, BorshDeserialize)]
struct StoredProcess {
    serial: u64,
    memory: u64,
    pages: StoredPages,
    threads: Vec<Option<StoredThread>>,
    state: State,
    files: FilesId,
    stopped: Option<u8>,
    news: Option<u8>,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Record {
    options: Options,
    processes: Vec<StoredProcess>,
    zombies: Vec<Zombie>,
    last: u32,
    last_serial: u64,
    ran: u64,
    objects: Vec<u8>,
    futexes: Futexes,
    console: Console,
    now_ns: u64,
    /// Pages that a first run wrote and read.
    working_set: Option<(Vec<u64>, Vec<u64>)>,
    /// Pages that clones need again and again, by address, and whether they write to them.
    needed: Option<Vec<(u64, bool)>>,
    /// How many pages there are besides.
    contents: u32,
}

/// A snapshot that is being written down.
pub struct Recording {
    snapshot: Snapshot,
    /// The process that is looked at, and from where on.
    at: (usize, u64),
    /// Of each process.
    runs: Vec<Vec<Run>>,
    /// Contents by their hashes.
    known: BTreeMap<u128, u32>,
}

/// The lines of a snapshot. There may be megabytes of them, and they lie in no one place.
pub struct RecordedLines(Snapshot);

impl RecordedLines {
    fn lines(&self) -> Option<&Lines> {
        match self.0.0.processes.first().map(|p| &p.pages) {
            Some(Pages::Delta(_, delta)) => Some(delta.lines()),
            _ => None,
        }
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        self.lines().map_or(0, Lines::byte_count)
    }

    /// Adds bytes from `at` on, `count` of them or as many as there are; both are multiples of [`LINE_BYTES`].
    pub fn append(&self, at: usize, count: usize, into: &mut Vec<u8>) {
        if let Some(lines) = self.lines() {
            lines.append(at, count, into);
        }
    }
}

impl Snapshot {
    /// Begins to write it down.
    #[must_use]
    pub fn record(&self) -> Recording {
        Recording {
            snapshot: self.clone(),
            at: (0, 0),
            runs: self.0.processes.iter().map(|_| Vec::new()).collect(),
            known: BTreeMap::new(),
        }
    }
}

impl Recording {
    /// Looks at up to `most` pages, and adds to `into` those that are new; false when there are no more.
    ///
    /// # Errors
    /// [`Unusable`]: it cannot be written down.
    pub fn pages(&mut self, most: usize, into: &mut Vec<u8>) -> Result<bool, Unusable> {
        let (index, from) = self.at;
        let Some(process) = self.snapshot.0.processes.get(index) else {
            return Ok(false);
        };
        let next = match &process.pages {
            Pages::Delta(..) => None,
            Pages::Whole(frozen) => {
                let (runs, known) = (&mut self.runs[index], &mut self.known);
                let keep = |page: u64, bytes: &PageBytes| {
                    let next = known.len() as u32;
                    let hash = xxhash_rust::xxh3::xxh3_128(bytes);
                    let number = *known.entry(hash).or_insert_with(|| {
                        into.extend_from_slice(bytes);
                        next
                    });
                    match runs.last_mut() {
                        Some((start, count, first))
                            if *start + u64::from(*count) * PAGE == page
                                && *first + *count == number =>
                        {
                            *count += 1;
                        }
                        _ => runs.push((page, 1, number)),
                    }
                };
                let next = frozen.pages_from(from, most, keep);
                next.map_err(|_| unusable("a mapping of a changed file, or a shared one"))?
            }
        };
        self.at = match next {
            Some(next) => (index, next),
            None => (index + 1, 0),
        };
        Ok(self.at.0 < self.snapshot.0.processes.len())
    }

    /// The lines of a snapshot of differences, which is the memory of the first process; none else.
    #[must_use]
    pub fn lines(&self) -> RecordedLines {
        RecordedLines(self.snapshot.clone())
    }

    /// The record, when all pages have been looked at.
    ///
    /// # Errors
    /// [`Unusable`]: it cannot be written down.
    pub fn finish(self) -> Result<Vec<u8>, Unusable> {
        let inner = &*self.snapshot.0;
        if inner.ipc.is_some() {
            return Err(unusable("System V objects"));
        }
        let processes = inner.processes.iter().zip(self.runs);
        let processes = processes.map(|(process, runs)| stored_process(process, runs));
        let working_set = self
            .snapshot
            .working_set()
            .map(|set| (set.pages().collect(), set.pages_read().collect()));
        let record = Record {
            options: inner.options.clone(),
            processes: processes.collect::<io::Result<Vec<_>>>()?,
            zombies: inner.zombies.clone(),
            last: inner.last,
            last_serial: inner.last_serial,
            ran: inner.ran,
            objects: bytes_of(|bytes| inner.objects.store(bytes))?,
            futexes: inner.futexes.clone(),
            console: inner.console,
            now_ns: inner.now_ns,
            working_set,
            needed: inner.needed.pages().cloned(),
            contents: self.known.len() as u32,
        };
        Ok(borsh::to_vec(&record)?)
    }
}

fn stored_process(process: &FrozenProcess, runs: Vec<Run>) -> io::Result<StoredProcess> {
    let pages = match &process.pages {
        Pages::Whole(frozen) => {
            let mut shown: Vec<(u64, u32)> = Vec::new();
            for page in frozen.shown() {
                match shown.last_mut() {
                    Some((start, count)) if *start + u64::from(*count) * PAGE == page => {
                        *count += 1;
                    }
                    _ => shown.push((page, 1)),
                }
            }
            StoredPages::Whole {
                outline: StoredOutline::of(&frozen.outline())?,
                runs,
                shown,
            }
        }
        Pages::Delta(_, delta) => {
            let parts = delta.to_parts();
            StoredPages::Delta {
                outline: StoredOutline::of(&parts.outline)?,
                pages: parts.pages,
                gone: parts.gone,
                rights: parts.rights,
            }
        }
    };
    let threads = process.threads.iter();
    let threads = threads.map(|slot| slot.as_ref().map(StoredThread::of).transpose());
    Ok(StoredProcess {
        serial: process.serial,
        memory: process.memory,
        pages,
        threads: threads.collect::<io::Result<Vec<_>>>()?,
        state: process.state.clone(),
        files: process.files,
        stopped: process.stopped,
        news: process.news,
    })
}

/// Where a page goes: the number of its content, its process, its address.
type Placed = (u32, usize, u64);

/// A snapshot that is being read.
pub struct Restoring {
    record: Record,
    /// Spaces in the making, of the processes whose memory is whole.
    spaces: Vec<Option<Building>>,
    /// Where the pages go, by the numbers of their contents, and how many of these are in their places.
    places: Vec<Placed>,
    placed: usize,
    /// Lines of the first process.
    lines: Lines,
}

impl Restoring {
    /// Begins with a record.
    ///
    /// # Errors
    /// [`Unusable`]: it is none.
    pub fn new(record: &[u8]) -> Result<Self, Unusable> {
        let root = EbbRef::<dyn GuestCpu>::get().kernel_root();
        if root == 0 {
            return Err(unusable("this machine has no user mode"));
        }
        let mut record: Record = borsh::from_slice(record)?;
        let (mut spaces, mut places) = (Vec::new(), Vec::new());
        for (index, process) in record.processes.iter_mut().enumerate() {
            let StoredPages::Whole {
                outline,
                runs,
                shown,
            } = &mut process.pages
            else {
                spaces.push(None);
                continue;
            };
            let empty = StoredOutline {
                areas: Vec::new(),
                top: 0,
                close: false,
                future: 0,
                forks_differ: false,
                growth_limit: 0,
            };
            let outline = core::mem::replace(outline, empty).restore()?;
            let mut space = Building::new(PhysAddr(root), outline)?;
            for (start, count) in shown.iter() {
                for number in 0..u64::from(*count) {
                    space.show(start.wrapping_add(number * PAGE))?;
                }
            }
            spaces.push(Some(space));
            for (start, count, first) in runs.iter() {
                for number in 0..*count {
                    let content = first.checked_add(number);
                    let content = content.filter(|content| *content < record.contents);
                    let content = content.ok_or_else(|| unusable("a page without content"))?;
                    let page = start.wrapping_add(u64::from(number) * PAGE);
                    places.push((content, index, page));
                }
            }
        }
        places.sort_unstable();
        Ok(Self {
            record,
            spaces,
            places,
            placed: 0,
            lines: Lines::default(),
        })
    }

    /// How many pages it has besides its record.
    #[must_use]
    pub fn contents(&self) -> u32 {
        self.record.contents
    }

    /// Takes the next pages, which begin with the one of number `first`.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn put(&mut self, first: u32, pages: &[PageBytes]) -> Result<(), Unusable> {
        for (content, bytes) in (first..).zip(pages) {
            let mut before: Option<(usize, u64)> = None;
            while let Some((_, index, page)) = self
                .places
                .get(self.placed)
                .filter(|(number, ..)| *number == content)
                .copied()
            {
                let space = self.spaces.get_mut(index).and_then(Option::as_mut);
                let space = space.ok_or_else(|| unusable("a page of no process"))?;
                match before {
                    Some((process, same)) if process == index => space.put_again(page, same)?,
                    _ => space.put(page, bytes)?,
                }
                before = Some((index, page));
                self.placed += 1;
            }
        }
        Ok(())
    }

    /// Takes the next lines of a snapshot of differences.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn put_lines(&mut self, lines: &[u8]) -> Result<(), Unusable> {
        Ok(self.lines.put(lines)?)
    }

    /// The snapshot, when all pages and lines are there. One of differences needs the `root` that it was written down with.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn finish(self, root: Option<&Snapshot>) -> Result<Snapshot, Unusable> {
        if self.placed != self.places.len() {
            return Err(unusable("pages are missing"));
        }
        let record = self.record;
        let mut processes = Vec::new();
        let mut lines = self.lines;
        for (stored, space) in record.processes.into_iter().zip(self.spaces) {
            processes.push(restored_process(stored, space, &mut lines, root)?);
        }
        if processes.is_empty() {
            return Err(unusable("no process"));
        }
        let mut bytes = &record.objects[..];
        let objects = Objects::restore(&mut bytes, archive::root())?;
        let working_set = match record.working_set {
            Some((written, read)) => {
                let set = WorkingSet::new(written, read);
                alloc::boxed::Box::into_raw(alloc::boxed::Box::new(set))
            }
            None => core::ptr::null_mut(),
        };
        let needed = Needed::of(record.needed.filter(|pages| pages.is_sorted()));
        Ok(Snapshot(Arc::new(Inner {
            options: record.options,
            processes,
            zombies: record.zombies,
            last: record.last,
            last_serial: record.last_serial,
            ran: record.ran,
            objects,
            futexes: record.futexes,
            ipc: None,
            console: record.console,
            now_ns: record.now_ns,
            parent: root.map_or_else(Weak::new, |root| Arc::downgrade(&root.0)),
            working_set: AtomicPtr::new(working_set),
            needed,
        })))
    }
}

fn restored_process(
    stored: StoredProcess,
    space: Option<Building>,
    lines: &mut Lines,
    root: Option<&Snapshot>,
) -> Result<FrozenProcess, Unusable> {
    let pages = match (stored.pages, space) {
        (StoredPages::Whole { .. }, Some(space)) => Pages::Whole(space.finish()),
        (
            StoredPages::Delta {
                outline,
                pages,
                gone,
                rights,
            },
            _,
        ) => {
            let root =
                root.ok_or_else(|| unusable("it differs from a snapshot that is not here"))?;
            let parts = DeltaParts {
                outline: outline.restore()?,
                pages,
                gone,
                rights,
            };
            let delta = Delta::from_parts(parts, core::mem::take(lines))?;
            Pages::Delta(root.root().clone(), delta)
        }
        (StoredPages::Whole { .. }, None) => return Err(unusable("a process without memory")),
    };
    let threads = stored.threads.into_iter();
    let threads = threads.map(|slot| slot.map(StoredThread::restore).transpose());
    Ok(FrozenProcess {
        serial: stored.serial,
        memory: stored.memory,
        pages,
        threads: threads.collect::<io::Result<Vec<_>>>()?,
        state: stored.state,
        files: stored.files,
        stopped: stored.stopped,
        news: stored.news,
    })
}
