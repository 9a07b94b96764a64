//! Snapshots: a program as it is at one moment, and any number of clones that go on from there, on any core.
//!
//! A snapshot shares its memory with the UC that it was taken of, with its clones and with their snapshots, page by page and
//! table by table ([`ebb_mem::space`]): each holds of its own what it has written to. Everything else in a UC is plain data
//! and is copied.
//!
//! What must hold:
//! - a thread that does not run is its registers and its `Waiting`; a system call that waits starts again in the clone as
//!   it does when it is woken, so whatever it keeps outside of those two stands in the way ([`NotRestartable`]);
//! - nothing in a snapshot changes but its working set, which is set once: it may be used on several cores at once;
//! - a clone's clock goes on from the moment of the capture, so no deadline in it (the kernel's or the program's own)
//!   has to be changed. The wall clock is the machine's.
//!
//! The idea of stacked snapshots of a language runtime is SEUSS (Cadden et al., EuroSys 2020); that of fetching a recorded
//! working set at once is REAP (Ustiugov et al., ASPLOS 2021).

mod clone;
mod identity;
mod rest;
mod stored;
mod vectors;
mod waiting;

use crate::ipc::Ipc;
use crate::object::fd::FilesId;
use crate::object::{Console, Objects};
use crate::state::futex::Futexes;
use crate::state::process::{Process, State, Zombie};
use crate::state::thread::{Thread, Waiting};
use crate::uc::{Options, Uc};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::collections::btree_map::{BTreeMap, Entry};
use alloc::rc::Rc;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicPtr, Ordering};
use ebb_guest::Saved;
use ebb_mem::space::{Delta, Frozen, Quota, Shared, Space, WorkingSet};
use rest::Needed;

pub use clone::CloneOptions;
pub use identity::Identity;
pub use stored::{LINE_BYTES, PAGE_BYTES, RecordedLines, Recording, Restoring, Unusable};

/// Why a UC cannot be captured now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The program has ended.
    Ended,
    /// There is no memory for it.
    OutOfMemory,
    /// A thread is at a point from which it cannot go on in a clone.
    NotRestartable(NotRestartable),
}

/// Where a thread stands that cannot go on in a clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRestartable {
    /// The thread's number.
    pub thread: u32,
    /// The system call that it waits in.
    pub call: &'static str,
    /// What stands in the way.
    pub why: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the program has ended: nothing is left to capture"),
            Self::OutOfMemory => f.write_str(
                "no memory for a snapshot: drop snapshots or instances that are not needed",
            ),
            Self::NotRestartable(n) => write!(
                f,
                "thread {} waits in {}, which cannot start again in a clone: {}; try again when it is over",
                n.thread, n.call, n.why
            ),
        }
    }
}

impl core::error::Error for Refused {}

/// A thread that does not run.
struct FrozenThread {
    tid: u32,
    registers: Saved,
    clear_tid: u64,
    robust: (u64, u64),
    mask: u64,
    saved_mask: Option<u64>,
    pending: u64,
    queued: Vec<crate::abi::signal::SigInfo>,
    alt_stack: crate::abi::signal::AltStack,
    memory_policy: u16,
    name: [u8; 16],
    waiting: Option<Waiting>,
    ran: u64,
}

impl FrozenThread {
    fn of(thread: &mut Thread) -> Self {
        // A clone has no holds: the call looks its descriptor up again. Nor has it connections beyond the machine.
        let mut waiting = thread.waiting.clone();
        if let Some(waiting) = &mut waiting {
            waiting.held = None;
            if let Some(rare) = &mut waiting.rare {
                rare.lingers = None;
            }
        }
        Self {
            tid: thread.tid,
            registers: Saved::of(&mut thread.context),
            clear_tid: thread.clear_tid,
            robust: thread.robust,
            mask: thread.mask,
            saved_mask: thread.saved_mask,
            pending: thread.pending,
            queued: thread.queued.clone(),
            alt_stack: thread.alt_stack,
            memory_policy: thread.memory_policy,
            name: thread.name,
            waiting,
            ran: thread.ran,
        }
    }

    fn thaw(&self) -> Thread {
        Thread {
            clear_tid: self.clear_tid,
            robust: self.robust,
            mask: self.mask,
            saved_mask: self.saved_mask,
            pending: self.pending,
            queued: self.queued.clone(),
            alt_stack: self.alt_stack,
            memory_policy: self.memory_policy,
            name: self.name,
            waiting: self.waiting.clone(),
            ran: self.ran,
            ..Thread::new(self.tid, self.registers.restore())
        }
    }
}

/// The memory of a process in a snapshot.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each process of a snapshot"
)]
enum Pages {
    /// Page tables, which share with the captured UC and with clones.
    Whole(Frozen),
    /// What differs from the memory of another snapshot's first process, which is whole.
    Delta(Snapshot, Delta),
}

impl Pages {
    /// The page tables that clones begin with.
    fn whole(&self) -> Option<&Frozen> {
        match self {
            Self::Whole(frozen) => Some(frozen),
            Self::Delta(root, _) => match &root.0.processes.first()?.pages {
                Self::Whole(frozen) => Some(frozen),
                // A root is whole: see `capture_delta`.
                Self::Delta(..) => None,
            },
        }
    }

    /// A space that goes on from here.
    fn thaw(&self) -> Option<Space> {
        match self {
            Self::Whole(frozen) => frozen.thaw(),
            Self::Delta(root, delta) => self.whole()?.thaw_with(delta, root.0.needed.spares()),
        }
    }

    /// Objects that are mapped and that their UC may still change.
    fn all_objects(&self) -> Vec<Arc<Shared>> {
        match self {
            Self::Whole(frozen) => {
                let private = frozen.all_private().filter(|object| !object.is_frozen());
                frozen.all_shared().chain(private).cloned().collect()
            }
            // See `capture_delta`.
            Self::Delta(..) => Vec::new(),
        }
    }

    fn private(&self) -> u64 {
        match self {
            Self::Whole(frozen) => frozen.private(),
            Self::Delta(_, delta) => delta.size(),
        }
    }

    fn used(&self) -> u64 {
        match self {
            Self::Whole(frozen) => frozen.used(),
            Self::Delta(_, delta) => self.whole().map_or(0, Frozen::used) + delta.size(),
        }
    }
}

/// A process that does not run.
struct FrozenProcess {
    serial: u64,
    /// The number of its memory.
    memory: u64,
    pages: Pages,
    threads: Vec<Option<FrozenThread>>,
    state: State,
    files: FilesId,
    stopped: Option<u8>,
    news: Option<u8>,
}

impl FrozenProcess {
    fn of(process: &Process, pages: Pages) -> Self {
        let memory = process.memory();
        let mut threads = process.threads.borrow_mut();
        let threads = threads.slots_mut().iter_mut();
        // One that is about to end goes without a word.
        let freeze = |slot: &mut Option<Thread>| {
            let thread = slot.as_mut().filter(|t| !t.doomed);
            thread.map(FrozenThread::of)
        };
        Self {
            serial: process.serial,
            memory: memory.number,
            pages,
            threads: threads.map(freeze).collect(),
            state: process.state.borrow().clone(),
            files: process.files.get(),
            stopped: process.stopped.get(),
            news: process.news.get(),
        }
    }
}

struct Inner {
    options: Options,
    /// The first process in front.
    processes: Vec<FrozenProcess>,
    zombies: Vec<Zombie>,
    /// The last number of a process or thread, and the last serial number.
    last: u32,
    last_serial: u64,
    ran: u64,
    objects: Objects,
    futexes: Futexes,
    /// System V objects.
    ipc: Option<Box<Ipc>>,
    console: Console,
    /// The program's clock.
    now_ns: u64,
    parent: Weak<Inner>,
    /// What a first run used; null before.
    working_set: AtomicPtr<WorkingSet>,
    /// What its clones use in all that they do again and again.
    needed: Needed,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let set = *self.working_set.get_mut();
        if !set.is_null() {
            // SAFETY: from `Box::into_raw` in `learn`, stored once, and nobody else has the snapshot any more.
            drop(unsafe { alloc::boxed::Box::from_raw(set) });
        }
    }
}

/// A program as it was at one moment. Clones of this handle are the same snapshot; its memory is given back with the last.
#[derive(Clone)]
pub struct Snapshot(Arc<Inner>);

// A snapshot is used on every core.
const fn shared<T: Send + Sync>() {}
const _: () = shared::<Snapshot>();

/// The snapshot that a UC is a clone of.
fn origin(uc: &Uc) -> Option<&Snapshot> {
    uc.origin.get()?.downcast_ref()
}

impl Snapshot {
    /// Captures a UC as it is now. It goes on undisturbed; what it writes to from now on is copied first.
    ///
    /// Called by an event, so none of its threads runs: each waits in a system call or was stopped between two instructions.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn capture(uc: &Uc) -> Result<Self, Refused> {
        Self::take(uc, |_, process| {
            let memory = process.memory();
            let frozen = memory.space.borrow_mut().freeze()?;
            Some(Pages::Whole(frozen))
        })
    }

    /// As [`capture`](Self::capture), and the UC is a clone of the snapshot from now on, unless it is one of another: what it does not
    /// change it shares, and it can [rest](Uc::rest).
    ///
    /// # Errors
    /// [`Refused`].
    pub fn capture_as_origin(uc: &Uc) -> Result<Self, Refused> {
        let snapshot = Self::capture(uc)?;
        let _ = uc.origin.set(Rc::new(snapshot.clone()));
        Ok(snapshot)
    }

    /// As [`capture`](Self::capture), but keeps only the lines of memory (64 bytes) that differ from the snapshot that the UC
    /// was cloned from. That is a tenth of the pages or less for a program that changes a little in many places, as
    /// garbage-collected ones do, and the UC goes on without its pages being shared. To look for the lines takes longer than
    /// `capture`, and to start a clone takes as long as to fetch a working set, which these pages are. It keeps the other
    /// snapshot. A UC that is no clone, a process that the first has started and one with shared mappings are captured as by
    /// `capture`.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn capture_delta(uc: &Uc) -> Result<Self, Refused> {
        let Some(root) = uc.origin().map(Self::root) else {
            return Self::capture(uc);
        };
        Self::take(uc, |index, process| {
            let memory = process.memory();
            // What processes share has to be copied as a whole.
            let alone = {
                let space = memory.space.borrow();
                space.all_shared().next().is_none() && space.all_private().all(|o| o.is_frozen())
            };
            let first = root.0.processes.first().filter(|_| index == 0 && alone);
            let whole = first.and_then(|first| first.pages.whole());
            let is_alone = |w: &&Frozen| {
                w.all_shared().next().is_none() && w.all_private().all(|o| o.is_frozen())
            };
            Some(match whole.filter(is_alone) {
                Some(whole) => {
                    let delta = memory.space.borrow_mut().delta(whole, vectors::claim())?;
                    Pages::Delta(root.clone(), delta)
                }
                None => Pages::Whole(memory.space.borrow_mut().freeze()?),
            })
        })
    }

    /// The snapshot whose first process's page tables this one's clones begin with: that which it [differs
    /// from](Self::capture_delta), or itself.
    #[must_use]
    pub fn root(&self) -> &Self {
        match self.0.processes.first().map(|p| &p.pages) {
            Some(Pages::Delta(root, _)) => root,
            _ => self,
        }
    }

    fn take(uc: &Uc, memory: impl Fn(usize, &Process) -> Option<Pages>) -> Result<Self, Refused> {
        if uc.exit_status().is_some() {
            return Err(Refused::Ended);
        }
        let family = uc.processes.borrow();
        for process in &family.live {
            check(process)?;
        }
        for (i, process) in family.live.iter().enumerate() {
            let memory = process.memory();
            let same = |p: &Rc<Process>| Rc::ptr_eq(&p.memory(), &memory);
            if family.live[..i].iter().any(same) {
                return Err(Refused::NotRestartable(NotRestartable {
                    thread: process.pid(),
                    call: "vfork",
                    why: "it uses its parent's memory until it starts a program",
                }));
            }
        }
        if !clone::enough_memory() {
            return Err(Refused::OutOfMemory);
        }
        freeze_objects(uc, &family.live);
        let processes = family.live.iter().enumerate().map(|(i, process)| {
            let pages = memory(i, process).ok_or(Refused::OutOfMemory)?;
            Ok(FrozenProcess::of(process, pages))
        });
        let processes: Result<Vec<FrozenProcess>, Refused> = processes.collect();
        let mut processes = processes?;
        // What processes share among themselves they must not share with the snapshot.
        let (objects, made) = uc
            .objects
            .borrow()
            .duplicate()
            .ok_or(Refused::OutOfMemory)?;
        let all = processes.iter().flat_map(|p| p.pages.all_objects());
        let mut ipc = uc.ipc.borrow().clone();
        let segments = ipc.iter().flat_map(|ipc| ipc.all_pages().cloned());
        let all: Vec<_> = all.chain(segments).collect();
        let made =
            copy_shared(all.into_iter(), made, objects.fs.quota()).ok_or(Refused::OutOfMemory)?;
        if let Some(ipc) = &mut ipc {
            ipc.exchange_pages(&made);
        }
        if !made.is_empty() {
            for process in &mut processes {
                // A delta has none: see `capture_delta`.
                if let Pages::Whole(frozen) = &mut process.pages {
                    let exchanged = frozen.exchange_shared(|s| made.get(&s.id()).cloned());
                    exchanged.map_err(|_| Refused::OutOfMemory)?;
                }
            }
        }
        Ok(Self(Arc::new(Inner {
            options: uc.options.clone(),
            processes,
            zombies: family.zombies.clone(),
            last: family.last,
            last_serial: family.serial,
            ran: uc.cpu_time(),
            objects,
            futexes: uc.futexes.borrow().clone(),
            ipc,
            console: uc.console,
            now_ns: uc.now(),
            parent: origin(uc).map_or(Weak::new(), |o| Arc::downgrade(&o.0)),
            working_set: AtomicPtr::new(core::ptr::null_mut()),
            needed: Needed::default(),
        })))
    }

    /// The snapshot that the captured UC was a clone of, if there still is one.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.parent.upgrade().map(Self)
    }

    /// Whether this is its only handle.
    #[must_use]
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Whether both are handles of one snapshot.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Bytes of guest memory and page tables that only this snapshot holds: what dropping it gives back. Kernel objects are
    /// not counted.
    #[must_use]
    pub fn private(&self) -> u64 {
        self.0.processes.iter().map(|p| p.pages.private()).sum()
    }

    /// Bytes of guest memory and page tables that it holds alone or together with others.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.processes.iter().map(|p| p.pages.used()).sum()
    }

    /// Bytes that it holds and the snapshot that the captured UC was a clone of does not; as [`used`](Self::used) if there is
    /// none.
    #[must_use]
    pub fn added(&self) -> u64 {
        let parent = self.parent();
        let added = |(index, process): (usize, &FrozenProcess)| {
            let before = parent.as_ref().and_then(|p| p.0.processes.get(index));
            match (&process.pages, before.and_then(|b| b.pages.whole())) {
                (Pages::Whole(frozen), Some(before)) => frozen.beyond(before),
                // What clones share with it is not theirs.
                (Pages::Whole(frozen), None) => frozen.used(),
                (Pages::Delta(..), _) => process.pages.private(),
            }
        };
        self.0.processes.iter().enumerate().map(added).sum()
    }

    /// Bytes of guest memory and page tables that a clone does not share with this snapshot. For a snapshot [of
    /// differences](Self::capture_delta) those are what it does not share with the one below.
    #[must_use]
    pub fn beyond(&self, uc: &Uc) -> u64 {
        let family = uc.processes.borrow();
        let beyond = |(index, process): (usize, &Rc<Process>)| {
            let memory = process.memory();
            let space = memory.space.borrow();
            let before = self.0.processes.get(index).and_then(|b| b.pages.whole());
            before.map_or_else(|| space.used(), |before| space.beyond(before))
        };
        family.live.iter().enumerate().map(beyond).sum()
    }

    /// How many threads it has.
    #[must_use]
    pub fn threads(&self) -> usize {
        let processes = self.0.processes.iter();
        processes.map(|p| p.threads.iter().flatten().count()).sum()
    }

    /// Remembers the pages that a clone has used so far: later clones get them at once rather than by a fault for each. The
    /// first call counts; false for later ones, and for a UC that is not a clone of this snapshot.
    pub fn learn(&self, clone: &Uc) -> bool {
        if !origin(clone).is_some_and(|o| o.is(self)) {
            return false;
        }
        let memory = clone.init().memory();
        let noted = memory.space.borrow_mut().take_noted();
        if self.working_set().is_some() {
            return false;
        }
        // Of the first process; what others need comes by faults.
        let Some(whole) = self.0.processes.first().and_then(|p| p.pages.whole()) else {
            return false;
        };
        let set = noted.unwrap_or_else(|| memory.space.borrow().working_set(whole));
        let set = alloc::boxed::Box::into_raw(alloc::boxed::Box::new(set));
        let null = core::ptr::null_mut();
        let slot = &self.0.working_set;
        if slot
            .compare_exchange(null, set, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            // SAFETY: from `into_raw` just now, and it was not stored.
            drop(unsafe { alloc::boxed::Box::from_raw(set) });
            return false;
        }
        true
    }

    /// The pages that [`learn`](Self::learn) remembered.
    #[must_use]
    pub fn working_set(&self) -> Option<&WorkingSet> {
        // SAFETY: null, or a box that is stored once and lives as long as the snapshot.
        unsafe { self.0.working_set.load(Ordering::Acquire).as_ref() }
    }
}

/// Freezes the pages of files that nobody has mapped as shared: the snapshot has them too then, and its clones; whoever
/// writes to such a file first takes a copy of them.
fn freeze_objects(uc: &Uc, live: &[Rc<Process>]) {
    let memories: Vec<_> = live.iter().map(|p| p.memory()).collect();
    let mut written = BTreeSet::new();
    for memory in &memories {
        written.extend(memory.space.borrow().all_shared().map(|s| s.id()));
    }
    if let Some(ipc) = &*uc.ipc.borrow() {
        written.extend(ipc.all_pages().map(|s| s.id()));
    }
    for memory in &memories {
        let space = memory.space.borrow();
        for object in space.all_private().filter(|o| !written.contains(&o.id())) {
            object.freeze();
        }
    }
    uc.objects.borrow().fs.freeze_shared(&written);
}

/// Copies the shared pages that are mapped and no file's, so that all of them have a copy in `made`. `None` when there is no
/// memory for it.
fn copy_shared(
    all: impl Iterator<Item = Arc<Shared>>,
    mut made: BTreeMap<u64, Arc<Shared>>,
    quota: &Arc<Quota>,
) -> Option<BTreeMap<u64, Arc<Shared>>> {
    for shared in all {
        if let Entry::Vacant(missing) = made.entry(shared.id()) {
            missing.insert(shared.copy(quota)?);
        }
    }
    Some(made)
}

/// Refuses a process of which a thread could not go on in a clone.
fn check(process: &Process) -> Result<(), Refused> {
    if process.threads.borrow().is_empty() {
        return Err(Refused::NotRestartable(NotRestartable {
            thread: process.pid(),
            call: "exit_group",
            why: "its process is ending and gives its memory back",
        }));
    }
    for thread in process.threads.borrow().iter() {
        if let Some(why) = obstacle(thread) {
            return Err(Refused::NotRestartable(NotRestartable {
                thread: thread.tid,
                call: crate::syscall::name(thread.context.rax),
                why,
            }));
        }
    }
    Ok(())
}

/// What a waiting thread keeps that a clone of it could not go on with.
fn obstacle(thread: &Thread) -> Option<&'static str> {
    let waiting = thread.waiting.as_ref()?;
    if waiting.rare().fifo.is_some() {
        return Some("it has opened one end of a FIFO and waits for the other");
    }
    None
}

impl Uc {
    /// Makes `count` pages of its snapshot's working set usable, from the one with number `from` on, for a clone that was
    /// started without ([`CloneOptions::no_prefetch`]): that work in pieces, for moments when the core is idle. Returns
    /// the number of the next page; `None` when all of them are there.
    pub fn prefetch(&self, from: usize, count: usize) -> Option<usize> {
        let origin = self.origin()?;
        let set = origin.working_set()?;
        let whole = origin.0.processes.first()?.pages.whole()?;
        let memory = self.init().memory();
        let mut space = memory.space.borrow_mut();
        let next = space.prefetch_part(
            set,
            whole,
            from..from.saturating_add(count),
            vectors::claim(),
        );
        (next < set.len()).then_some(next)
    }

    /// Maps the pages of files that its snapshot's working set reads. A snapshot of the clone then has them mapped for all of
    /// its own clones, in tables that they share.
    pub fn prefetch_read(&self) {
        if let Some(set) = self.origin().and_then(Snapshot::working_set) {
            let memory = self.init().memory();
            memory.space.borrow_mut().prefetch_read(set);
        }
    }

    /// The snapshot that this is a clone of.
    #[must_use]
    pub fn origin(&self) -> Option<&Snapshot> {
        origin(self)
    }

    /// Whether every thread of every process waits in a system call or is stopped.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        let processes = self.processes.borrow();
        let parked = |p: &Rc<Process>| {
            let threads = p.threads.borrow();
            !threads.is_empty() && threads.iter().all(|t| t.waiting.is_some())
        };
        processes
            .live
            .iter()
            .all(|p| p.stopped.get().is_some() || parked(p))
    }

    /// Waits until every thread waits in a system call, which is when a snapshot is worth most: nothing that it does then
    /// has to be done again in a clone.
    pub async fn parked(&self) {
        // Looking now and then costs less than telling would cost every call that waits.
        while !self.is_parked() && self.exit_status().is_none() {
            ebb_runtime::time::sleep(core::time::Duration::from_micros(200)).await;
        }
    }
}
