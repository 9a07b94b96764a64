//! The processes of a UC: each with its memory, threads, descriptors and signal actions, in one tree below the first.
//!
//! What must hold:
//! - all of them live on the UC's core, so nothing is locked; a process is in [`Processes`] from its start until somebody has
//!   been told of its end, as a [`Zombie`] when it has ended;
//! - `Objects::files` are those of the process that runs ([`Uc::switch`](crate::Uc)), and the limit of its memory is what
//!   the others leave of the UC's;
//! - a process refers to others by number only.

use super::futex::Key;
use super::policy::Policies;
use super::thread::{Thread, Threads};
use super::timer::Timers;
use crate::abi::exit::Exit;
use crate::abi::signal::{Actions, SigInfo};
use crate::image::exec::Started;
use crate::image::note::{self, AreaFile};
use crate::object::credentials::Credentials;
use crate::object::fd::FilesId;
use crate::object::id::NodeRef;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use core::cell::{Cell, RefCell};
use ebb_guest::{GuestCpu, Trap};
use ebb_mem::space::Space;
use ebb_runtime::EbbRef;

/// Entries of page tables that one part of a call, or of an end, changes: about a millisecond's worth.
pub(crate) const STEP_ENTRIES: u64 = 6144;

/// An address space. A child of `vfork` has its parent's until it starts a program.
pub struct Memory {
    /// The space.
    pub space: RefCell<Space>,
    /// Names it among the memories of its UC, for futexes.
    pub number: u64,
    /// Its vDSO has not been told yet how far the UC's clock is behind: a clone that only waits needs no page for it.
    pub(crate) untold: Cell<bool>,
}

impl Memory {
    /// The memory of this number; `untold` when its vDSO has to be told of the UC's clock.
    pub fn new(space: Space, number: u64, untold: bool) -> Rc<Self> {
        Rc::new(Self {
            space: RefCell::new(space),
            number,
            untold: Cell::new(untold),
        })
    }
}

impl Memory {
    /// Runs a thread in it until that traps.
    #[inline(always)]
    pub(crate) fn enter(&self, thread: &mut Thread) -> Trap {
        let mut space = self.space.borrow_mut();
        let cpu = EbbRef::<dyn GuestCpu>::get();
        let trap = cpu.enter(&mut thread.context, space.root().0, space.stale());
        if !space.stale().is_empty() {
            space.drop_stale();
        }
        trap
    }

    /// Gives a part of it back ahead of its end, so that no event takes long; true when it can be dropped. Nobody runs in it
    /// any more.
    pub(crate) fn release_part(&self) -> bool {
        let mut space = self.space.borrow_mut();
        EbbRef::<dyn GuestCpu>::get().leave(space.root().0);
        space.release_part(STEP_ENTRIES)
    }

    /// Names a word of this memory alone for futexes.
    pub fn private_key(&self, address: u64) -> Key {
        Key {
            memory: self.number,
            at: address,
        }
    }

    /// Names a word for futexes, which others may have mapped too.
    pub fn key(&self, address: u64) -> Key {
        match self.space.borrow().shared(address) {
            Some((shared, offset)) => Key {
                memory: 1 << 63 | shared.id(),
                at: offset,
            },
            None => self.private_key(address),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        EbbRef::<dyn GuestCpu>::get().leave(self.space.get_mut().root().0);
    }
}

/// What the threads of a process share besides memory and files: plain data.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct State {
    /// Where the program's stack, heap and strings are.
    pub started: Started,
    /// The end of the heap.
    pub brk: u64,
    /// Absolute path of the program.
    pub path: Vec<u8>,
    /// The file of it, which nobody may write to.
    pub program: Option<NodeRef>,
    /// Names of files that areas are backed by, from [`note::FIRST_FILE`] on.
    pub names: Vec<AreaFile>,
    /// What signals do.
    pub actions: Actions,
    /// Signals sent to the process that no thread has taken.
    pub pending: u64,
    /// What came with them, at most one of each.
    pub queued: Vec<SigInfo>,
    /// Soft and hard limits by `RLIMIT_*` number.
    pub limits: [(u64, u64); 16],
    /// The program's clock at the start, in nanoseconds.
    pub begun: u64,
    /// Its number.
    pub pid: u32,
    /// The number of its parent; 0 for the first process.
    pub parent: u32,
    /// Its parent is the first process only because its own has ended: nobody will wait for it.
    pub orphan: bool,
    /// Who it is and what it may do.
    pub credentials: Arc<Credentials>,
    /// Its priority and how it wants to be scheduled.
    pub scheduling: Scheduling,
    /// The signal that it is sent when its parent ends; 0 for none.
    pub death_signal: u8,
    /// The orphans among its descendants become its children.
    pub adopts_orphans: bool,
    /// `PR_SET_DUMPABLE`.
    pub dumpable: u8,
    /// `PR_SET_TIMERSLACK`, in nanoseconds.
    pub timer_slack_ns: u64,
    /// What `oom_score_adj` says.
    pub oom: Oom,
    /// What `personality` was told.
    pub personality: u32,
    /// `PR_SET_MDWE`: bit 0, what can be written never becomes code; bit 1, children are not held to that.
    pub code_is_fixed: u8,
    /// `PR_SET_THP_DISABLE`.
    pub huge_pages_disabled: bool,
    /// The commands of `membarrier` that it has registered for; ends with the program.
    pub barriers: u32,
    /// What `coredump_filter` says.
    pub core_filter: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// The signal that tells its parent of its end; 0 for none.
    pub exit_signal: u8,
    /// It has started a program since it was forked (`setpgid` may not touch it from then on).
    pub executed: bool,
    /// Its program has drawn randomness.
    pub drew: bool,
    /// Interval and POSIX timers.
    pub timers: Timers,
    /// Processor time of its threads that are gone, and of its children that have been waited for.
    pub ran: Ran,
    /// `PR_MCE_KILL`: 0 late, 1 early, 2 as the machine's.
    pub machine_check_policy: u8,
    /// The memory policies of its threads and mappings.
    pub policies: Policies,
    /// The second of processor time at which `RLIMIT_CPU` speaks up next.
    pub cpu_warned: u64,
}

/// What a process asks of the scheduler. There is one core for a UC and its threads take turns, so all of it is only told
/// to whoever asks.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// From -20 to 19.
    pub nice: i8,
    /// `SCHED_OTHER`, `SCHED_BATCH` or `SCHED_IDLE`.
    pub policy: u32,
    /// `SCHED_RESET_ON_FORK`: children begin with the default.
    pub resets_on_fork: bool,
    /// Class and level of `ioprio_set`.
    pub io_priority: u16,
}

/// How likely a process is to be ended for want of memory: told, because a UC that has no memory left ends as a whole.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oom {
    /// From -1000 to 1000.
    pub adjustment: i16,
    /// What a process without `CAP_SYS_RESOURCE` may lower it to.
    pub floor: i16,
}

/// What a process has used, as `struct rusage` tells it.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Processor time in nanoseconds.
    pub ran: u64,
    /// The most memory at a time, in bytes.
    pub peak: u64,
    /// Page faults. None had to wait for a device.
    pub faults: u64,
    /// How often it has waited.
    pub waits: u64,
    /// How often it has had to let others run.
    pub turns_lost: u64,
}

impl Used {
    /// With what another one has used.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            ran: self.ran + other.ran,
            peak: self.peak.max(other.peak),
            faults: self.faults + other.faults,
            waits: self.waits + other.waits,
            turns_lost: self.turns_lost + other.turns_lost,
        }
    }
}

/// What a process has used before now.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Processor time of threads that have ended, in nanoseconds.
    pub gone: u64,
    /// Memory of the programs that it was before, or in the end of all of them.
    pub programs: Used,
    /// Of children that have been waited for, theirs included.
    pub children: Used,
}

impl State {
    /// A child or a new program is about to have the state.
    pub fn inherit_fixed_code(&mut self) {
        if self.code_is_fixed & 2 != 0 {
            self.code_is_fixed = 0;
        }
    }

    /// The soft limit of a resource.
    #[must_use]
    pub fn soft(&self, resource: usize) -> u64 {
        self.limits.get(resource).map_or(u64::MAX, |l| l.0)
    }
}

/// What the calls that read and write have moved: what /proc/PID/io tells.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
    /// Calls that read.
    pub reads: u64,
    /// Calls that write.
    pub writes: u64,
}

impl Moved {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            read: self.read + other.read,
            written: self.written + other.written,
            reads: self.reads + other.reads,
            writes: self.writes + other.writes,
        }
    }
}

/// A process.
pub struct Process {
    /// Names it in the UC for good, which its number may not.
    pub serial: u64,
    memory: RefCell<Rc<Memory>>,
    /// Its threads.
    pub threads: RefCell<Threads>,
    /// The rest.
    pub state: RefCell<State>,
    /// Its descriptors among the UC's.
    pub files: Cell<FilesId>,
    /// What it has moved, with those of its children that it has waited for. A clone counts anew.
    pub moved: Cell<Moved>,
    /// How often its threads have waited, and how often they have had to let others run. A clone counts anew.
    pub(crate) switches: Cell<(u64, u64)>,
    /// It is over, and this is how; its threads are about to stop.
    pub(crate) exit: Cell<Option<Exit>>,
    /// The signal that stopped it.
    pub(crate) stopped: Cell<Option<u8>>,
    /// News of a stop (the signal) or of going on (`SIGCONT`) that `wait` has not reported.
    pub(crate) news: Cell<Option<u8>>,
    /// It uses its parent's memory, and a thread of the parent waits for the end of that.
    pub(crate) borrows: Cell<bool>,
}

impl Process {
    /// A process without threads.
    pub fn new(serial: u64, memory: Rc<Memory>, files: FilesId, state: State) -> Rc<Self> {
        Rc::new(Self {
            serial,
            memory: RefCell::new(memory),
            threads: RefCell::default(),
            state: RefCell::new(state),
            files: Cell::new(files),
            moved: Cell::default(),
            switches: Cell::default(),
            exit: Cell::new(None),
            stopped: Cell::new(None),
            news: Cell::new(None),
            borrows: Cell::new(false),
        })
    }

    /// Its memory.
    #[inline]
    pub fn memory(&self) -> Rc<Memory> {
        Rc::clone(&self.memory.borrow())
    }

    /// Gives it another memory.
    pub(crate) fn set_memory(&self, memory: Rc<Memory>) {
        let old = self.memory.replace(memory);
        drop(old);
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.state.borrow().pid
    }

    /// Processor time of all its threads, in nanoseconds.
    pub fn ran(&self) -> u64 {
        let living: u64 = self.threads.borrow().iter().map(|t| t.ran).sum();
        living + self.state.borrow().ran.gone
    }

    /// What it has used, its children not included.
    pub fn used(&self) -> Used {
        let (waits, turns_lost) = self.switches.get();
        let now = Used {
            ran: self.ran(),
            waits,
            turns_lost,
            ..self.memory_used()
        };
        now.and(self.state.borrow().ran.programs)
    }

    /// The memory that its present program has used. One that uses its parent's has no faults of its own.
    fn memory_used(&self) -> Used {
        let memory = self.memory();
        let space = memory.space.borrow();
        Used {
            peak: space.peak(),
            faults: if self.borrows.get() {
                0
            } else {
                space.faults()
            },
            ..Used::default()
        }
    }

    /// Its memory is about to be given up: what it has used of it is kept.
    pub(crate) fn keep_memory_used(&self) {
        let used = self.memory_used();
        let ran = &mut self.state.borrow_mut().ran;
        ran.programs = ran.programs.and(used);
    }

    /// The name that a note of an area stands for.
    pub(crate) fn area_name(&self, number: u32) -> Vec<u8> {
        match number {
            note::NONE => Vec::new(),
            note::STACK => b"[stack]".to_vec(),
            note::HEAP => b"[heap]".to_vec(),
            note::VDSO => b"[vdso]".to_vec(),
            note::VVAR => b"[vvar]".to_vec(),
            n => self.area_file(n).path,
        }
    }

    /// The file that a note of an area stands for.
    pub(crate) fn area_file(&self, number: u32) -> AreaFile {
        let index = number.checked_sub(note::FIRST_FILE).map(|n| n as usize);
        let state = self.state.borrow();
        let file = index.and_then(|index| state.names.get(index));
        file.cloned().unwrap_or_default()
    }

    /// The number of a file among the notes.
    pub(crate) fn note_of(&self, path: &[u8], inode: u64) -> u32 {
        let names = &mut self.state.borrow_mut().names;
        let is_it = |n: &AreaFile| n.path == path && n.inode == inode;
        let index = names.iter().position(is_it).unwrap_or_else(|| {
            // A program that maps ever new files gets no more names.
            if names.len() < 4096 {
                names.push(AreaFile {
                    path: path.to_vec(),
                    inode,
                });
            }
            names.len() - 1
        });
        note::FIRST_FILE + index as u32
    }

    /// Lets all its tasks look again.
    pub(crate) fn wake(&self) {
        for thread in self.threads.borrow().iter() {
            thread.wake();
        }
    }
}

/// What is left of a process that has ended until its parent asks.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct Zombie {
    /// Its serial number.
    pub serial: u64,
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// It began another program.
    pub executed: bool,
    /// The signal that told its parent.
    pub exit_signal: u8,
    /// How it ended.
    pub exit: Exit,
    /// What it has used, its children included.
    pub used: Used,
    /// What it has moved, that of its children included.
    pub moved: Moved,
    /// Its name, filled up with zeroes.
    pub name: [u8; 16],
    /// How it was scheduled; may be changed still.
    pub scheduling: Scheduling,
    /// Its soft and hard limits, which may be changed still.
    pub limits: [(u64, u64); 16],
    /// Who it was.
    pub credentials: Arc<Credentials>,
}

/// All processes of a UC: those that live, the first of them in front, and those that have ended and nobody has asked for.
#[derive(Default)]
pub struct Processes {
    /// Those that live.
    pub live: Vec<Rc<Process>>,
    /// Those that have ended.
    pub zombies: Vec<Zombie>,
    /// The last number given to a process or a thread.
    pub(crate) last: u32,
    /// The last number given to a memory, or serial number to a process.
    pub(crate) serial: u64,
}

impl Processes {
    /// The process of this number.
    pub fn find(&self, pid: u32) -> Option<&Rc<Process>> {
        self.live.iter().find(|p| p.pid() == pid)
    }

    /// Whether a number is one of a process, group, session or thread.
    fn is_taken(&self, number: u32) -> bool {
        self.zombies
            .iter()
            .any(|z| [z.pid, z.group, z.session].contains(&number))
            || self.live.iter().any(|p| {
                let state = p.state.borrow();
                [state.pid, state.group, state.session].contains(&number)
                    || p.threads.borrow().iter().any(|t| t.tid == number)
            })
    }

    /// Gives the first process another number.
    pub fn renumber_first(&mut self, pid: u32) {
        let Some(before) = self.live.first().map(|p| p.pid()) else {
            return;
        };
        let change = |number: &mut u32| {
            if *number == before {
                *number = pid;
            }
        };
        for process in &self.live {
            let state = &mut *process.state.borrow_mut();
            for number in [
                &mut state.pid,
                &mut state.parent,
                &mut state.group,
                &mut state.session,
            ] {
                change(number);
            }
        }
        for zombie in &mut self.zombies {
            for number in [&mut zombie.parent, &mut zombie.group, &mut zombie.session] {
                change(number);
            }
        }
        self.last = self.last.max(pid);
    }

    /// A number for a new process or thread. No table of a UC may be borrowed.
    pub fn new_number(&mut self) -> u32 {
        loop {
            // Linux' own limit on 64-bit machines.
            self.last = if self.last >= 4_194_303 {
                2
            } else {
                self.last + 1
            };
            if !self.is_taken(self.last) {
                return self.last;
            }
        }
    }

    /// The process of this serial number.
    pub fn by_serial(&self, serial: u64) -> Option<&Rc<Process>> {
        self.live.iter().find(|p| p.serial == serial)
    }

    /// A number for a memory, or a serial number.
    pub fn new_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// How many there are, with those that have ended.
    pub fn len(&self) -> usize {
        self.live.len() + self.zombies.len()
    }

    /// Threads of all processes.
    pub fn threads(&self) -> usize {
        self.live.iter().map(|p| p.threads.borrow().len()).sum()
    }

    /// Bytes of memory in use by all, one memory counted once; pages that a parent shares with its child count for each,
    /// because each may come to write them.
    pub fn used(&self) -> u64 {
        let memories: Vec<Rc<Memory>> = self.live.iter().map(|p| p.memory()).collect();
        let mut used = 0;
        for (i, memory) in memories.iter().enumerate() {
            if memories[..i].iter().all(|m| !Rc::ptr_eq(m, memory)) {
                used += memory.space.borrow().used();
            }
        }
        used
    }
}
