//! A UC: one guest program with its memory, threads and files.
//!
//! What must hold: a UC is used on one core only (`Rc`); no borrow of a cell is held across an await or while a guest runs,
//! but for the one that [`Uc::enter`] takes. Everything in it but the wakers is plain data.

use crate::exec::{self, Started, note};
use crate::futex::Futexes;
use crate::net::NetSockets;
use crate::object::errno::Errno;
use crate::object::{Console, Limits, Objects};
use crate::program::Program;
use crate::signal::Actions;
use crate::snapshot::Snapshot;
use crate::thread::{GuestThread, Thread, Threads};
use alloc::collections::BTreeMap;
use alloc::rc::{Rc, Weak};
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use ebb_mem::PhysAddr;
use ebb_mem::space::Space;
use ebb_runtime::guest::{Context, GuestCpu, Stale, Trap};
use ebb_runtime::platform::Entropy;
use ebb_runtime::sync::notify::Notify;
use ebb_runtime::time::timeout;
use ebb_runtime::{EbbRef, spawn};

/// How a UC is to be set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name in messages.
    pub name: String,
    /// Most bytes of memory, page tables counted.
    pub memory: u64,
    /// Most threads.
    pub threads: usize,
    /// Most of everything else.
    pub limits: Limits,
    /// Its sockets reach the machine's network.
    pub network: bool,
    /// Descriptors 0 to 2 are a terminal to the program.
    pub terminal: bool,
    /// Prints every system call, as strace does.
    pub trace: bool,
    /// Who has the other end of descriptors 0 to 2.
    pub stdio: Stdio,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: String::from("uc"),
            memory: 1 << 30,
            threads: 1000,
            limits: Limits::default(),
            network: true,
            terminal: false,
            trace: false,
            stdio: Stdio::Machine,
        }
    }
}

/// Who has the other end of a program's first three descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdio {
    /// What it writes is printed on the machine's console; input is at its end.
    #[default]
    Machine,
    /// Whoever started it: [`Uc::give`], [`Uc::end_input`], [`Uc::take`], [`Uc::output`].
    Owner,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It called `exit` with this status.
    Status(u8),
    /// A signal ended it.
    Signal(u8),
}

impl Exit {
    /// The status as a shell gives it.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Status(status) => status,
            Self::Signal(signal) => 128u8.wrapping_add(signal),
        }
    }
}

/// What all threads of the program share besides memory and files.
#[derive(Clone, Debug)]
pub struct Process {
    /// Where the program's stack, heap and strings are.
    pub started: Started,
    /// The end of the heap.
    pub brk: u64,
    /// Absolute path of the program.
    pub path: Vec<u8>,
    /// Arguments and environment it was started with.
    pub arguments: Vec<Vec<u8>>,
    /// See `arguments`.
    pub environment: Vec<Vec<u8>>,
    /// Names of files that areas are backed by, from [`note::FIRST_FILE`] on.
    pub names: Vec<Vec<u8>>,
    /// What signals do.
    pub actions: Actions,
    /// Signals sent to the process that no thread has taken.
    pub pending: u64,
    /// Soft and hard limits by `RLIMIT_*` number.
    pub limits: [(u64, u64); 16],
    /// The program's clock at the start, in nanoseconds.
    pub begun: u64,
    /// Its number.
    pub pid: u32,
}

/// What a UC is made of.
pub(crate) struct Parts {
    pub options: Options,
    pub space: Space,
    pub threads: Threads,
    pub objects: Objects,
    pub futexes: Futexes,
    pub process: Process,
    pub console: Console,
    pub origin: Option<Snapshot>,
    pub behind: u64,
}

/// A guest program.
pub struct Uc {
    /// How it was set up.
    pub options: Options,
    /// Its memory.
    pub space: RefCell<Space>,
    /// Its threads.
    pub threads: RefCell<Threads>,
    /// Its descriptors, files, sockets.
    pub objects: RefCell<Objects>,
    /// Who waits for which word of memory.
    pub futexes: RefCell<Futexes>,
    /// The rest.
    pub process: RefCell<Process>,
    /// Unknown and missing system calls by number, with how often they were called.
    pub missing: RefCell<BTreeMap<u64, u64>>,
    /// System calls made.
    pub calls: Cell<u64>,
    pub(crate) network: RefCell<NetSockets>,
    this: Weak<Self>,
    /// The channels behind the first three descriptors.
    pub console: Console,
    /// What it was cloned from.
    pub(crate) origin: Option<Snapshot>,
    /// How far its monotonic clock is behind the machine's, in nanoseconds: a clone does not see the time between its
    /// snapshot and its start.
    pub(crate) behind: u64,
    /// The vDSO has not been told so yet: a clone that only waits needs no page for it.
    untold: Cell<bool>,
    /// Tells the task of the timers that there are new ones.
    timers: Notify,
    /// That task runs.
    timing: Cell<bool>,
    exit: Cell<Option<Exit>>,
    /// That was because it used more memory than it may.
    exhausted: Cell<bool>,
    ended: Notify,
}

impl Uc {
    /// Starts a program; its threads run as tasks of this core.
    ///
    /// # Errors
    /// What starting it gives: `ENOENT`, `ENOEXEC`, `ENOMEM`, ...
    pub fn start(options: Options, program: Program) -> Result<Rc<Self>, Errno> {
        let path = program.found();
        let path = &path[..];
        let Program {
            arguments,
            environment,
            directory,
            ..
        } = program;
        let cpu = EbbRef::<dyn GuestCpu>::get();
        if cpu.kernel_root() == 0 {
            // No user mode here: the program is hosted.
            return Err(Errno::ENOSYS);
        }
        let mut space =
            Space::new(PhysAddr(cpu.kernel_root()), options.memory).ok_or(Errno::ENOMEM)?;
        let names = RefCell::new(Vec::new());
        let image = |path: &[u8]| {
            let mut names = names.borrow_mut();
            let image = crate::files::image(path, note::FIRST_FILE + names.len() as u32)?;
            names.push(path.to_vec());
            Ok(image)
        };
        let mut random = [0; 32];
        EbbRef::<dyn Entropy>::get().fill(&mut random);
        let start = exec::Start {
            program: image(path)?,
            interpreter: &image,
            path,
            arguments: &arguments,
            environment: &environment,
            random,
        };
        let started = exec::start(&mut space, &start)?;
        let mut context = Context::new();
        context.rip = started.entry;
        context.rsp = started.stack;
        let limits = {
            let mut limits = [(u64::MAX, u64::MAX); 16];
            limits[3] = (exec::STACK, u64::MAX);
            limits[4] = (0, u64::MAX);
            limits[7] = (1024, 1 << 20);
            limits
        };
        let mut objects = Objects::new(&crate::world::Boot, crate::world::root(), options.limits)?;
        let console = objects.open_console(options.terminal)?;
        if options.stdio == Stdio::Machine {
            // Nobody types: input is at its end.
            objects.channel_end_input(console.input);
        }
        if !directory.is_empty() {
            objects.chdir(&crate::world::Boot, &directory)?;
        }
        let process = Process {
            brk: started.heap,
            started,
            path: path.to_vec(),
            arguments,
            environment,
            names: names.into_inner(),
            actions: Actions::default(),
            pending: 0,
            limits,
            begun: crate::now(),
            pid: 1,
        };
        let uc = Self::assemble(Parts {
            options,
            space,
            threads: Threads::default(),
            objects,
            futexes: Futexes::default(),
            process,
            console,
            origin: None,
            behind: 0,
        });
        uc.add_thread(Thread::new(1, context));
        Ok(uc)
    }

    /// A UC of these parts; nothing runs in it yet.
    pub(crate) fn assemble(parts: Parts) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            network: RefCell::default(),
            options: parts.options,
            space: RefCell::new(parts.space),
            threads: RefCell::new(parts.threads),
            objects: RefCell::new(parts.objects),
            console: parts.console,
            origin: parts.origin,
            behind: parts.behind,
            untold: Cell::new(parts.behind != 0),
            timers: Notify::new(),
            timing: Cell::new(false),
            futexes: RefCell::new(parts.futexes),
            process: RefCell::new(parts.process),
            missing: RefCell::default(),
            calls: Cell::new(0),
            exit: Cell::new(None),
            exhausted: Cell::new(false),
            ended: Notify::new(),
        })
    }

    /// Starts the tasks of threads that are in their places already.
    pub(crate) fn run_threads(self: &Rc<Self>) {
        let count = self.threads.borrow_mut().slots_mut().len();
        for index in 0..count {
            if self.threads.borrow().get(index).is_some() {
                drop(spawn(GuestThread::new(Rc::clone(self), index)));
            }
        }
    }

    /// Nanoseconds of the program's monotonic clock.
    pub fn now(&self) -> u64 {
        crate::now().saturating_sub(self.behind)
    }

    /// A reference for tasks that must not keep the program alive.
    pub(crate) fn weak(&self) -> Weak<Self> {
        Weak::clone(&self.this)
    }

    /// Adds a thread and the task that runs it.
    pub(crate) fn add_thread(self: &Rc<Self>, thread: Thread) {
        let index = self.threads.borrow_mut().insert(thread);
        // The task ends with the thread; nobody waits for it.
        drop(spawn(GuestThread::new(Rc::clone(self), index)));
    }

    /// Runs a thread until it traps; `None` when the thread is gone.
    pub(crate) fn enter(&self, index: usize) -> Option<Trap> {
        let mut threads = self.threads.borrow_mut();
        let thread = threads.get_mut(index)?;
        let mut space = self.space.borrow_mut();
        if self.untold.get() {
            self.tell_behind(&mut space);
        }
        let stale = space.take_stale();
        let stale = stale.pages().map_or(Stale::All, Stale::Pages);
        Some(EbbRef::<dyn GuestCpu>::get().enter(&mut thread.context, space.root().0, stale))
    }

    /// Without memory for it the program sees the machine's clock for now, and this is tried again.
    #[cold]
    fn tell_behind(&self, space: &mut Space) {
        let vdso = self.process.borrow().started.vdso;
        let told = crate::vdso::set_behind(space, vdso, self.behind);
        self.untold.set(told.is_err());
    }

    /// How the program ended, if it has.
    pub fn exit_status(&self) -> Option<Exit> {
        self.exit.get()
    }

    /// Ends the program: every thread stops where it is. The first reason counts.
    pub fn end(&self, exit: Exit) {
        if self.exit.get().is_none() {
            self.exit.set(Some(exit));
        }
        for thread in self.threads.borrow().iter() {
            thread.wake();
        }
        self.ended.notify_all();
        // The task of the timers holds the UC while it waits.
        self.timers.notify_one();
    }

    /// Whether the program was ended because its memory limit, or the machine's memory, was used up.
    pub fn ran_out_of_memory(&self) -> bool {
        self.exhausted.get()
    }

    /// Ends the program because there is no memory for it.
    pub(crate) fn end_without_memory(&self) {
        self.exhausted.set(self.exit.get().is_none());
        self.end(Exit::Signal(crate::signal::SIGKILL));
    }

    /// Waits for the end of the program.
    pub async fn wait(&self) -> Exit {
        loop {
            if let Some(exit) = self.exit.get() {
                return exit;
            }
            self.ended.notified().await;
        }
    }

    /// The thread of this index is over: its memory says so to who waits for it, and the last one ends the program.
    pub(crate) fn thread_ended(&self, index: usize, status: u8) {
        let Some(thread) = self.threads.borrow_mut().remove(index) else {
            return;
        };
        if let Some(address) = thread.waiting.as_ref().and_then(|w| w.futex) {
            self.futexes.borrow_mut().cancel(address, index);
        }
        if self.exit.get().is_none() {
            crate::sys::futex::release_robust_list(self, &thread);
            if thread.clear_tid != 0 && self.space.borrow_mut().put(thread.clear_tid, 0u32).is_ok()
            {
                self.wake_futex(thread.clear_tid, 1, !0);
            }
        }
        if self.threads.borrow().is_empty() {
            self.end(Exit::Status(status));
        }
    }

    /// Prints what the program wrote to its console.
    pub(crate) fn flush_console(&self) {
        if self.options.stdio == Stdio::Owner {
            return;
        }
        use ebb_runtime::platform::Console as _;
        let machine = EbbRef::<dyn ebb_runtime::platform::Console>::get();
        for channel in [self.console.output, self.console.error] {
            while let Ok(bytes) = self.objects.borrow_mut().channel_take(channel, 4096)
                && !bytes.is_empty()
            {
                machine.write(&bytes);
            }
        }
    }

    /// Timers were set: whoever drives them looks again.
    pub(crate) fn timers_changed(self: &Rc<Self>) {
        if !self.timing.replace(true) {
            drop(spawn(drive_timers(Rc::downgrade(self))));
        }
        self.timers.notify_one();
    }

    /// Wakes threads that wait for a word of memory; returns how many.
    pub(crate) fn wake_futex(&self, address: u64, count: u32, bits: u32) -> u32 {
        let mut threads = self.threads.borrow_mut();
        self.futexes
            .borrow_mut()
            .wake(address, count, bits, |index| {
                if let Some(thread) = threads.get_mut(index) {
                    if let Some(waiting) = &mut thread.waiting {
                        waiting.woken = true;
                        waiting.futex = None;
                    }
                    thread.wake();
                }
            })
    }

    /// The name that a note of an area stands for.
    pub(crate) fn area_name(&self, number: u32) -> Vec<u8> {
        match number {
            note::NONE => Vec::new(),
            note::STACK => b"[stack]".to_vec(),
            note::HEAP => b"[heap]".to_vec(),
            note::VDSO => b"[vdso]".to_vec(),
            note::VVAR => b"[vvar]".to_vec(),
            n => {
                let process = self.process.borrow();
                let index = n.saturating_sub(note::FIRST_FILE) as usize;
                process.names.get(index).cloned().unwrap_or_default()
            }
        }
    }

    /// The number of a file's name among the notes.
    pub(crate) fn note_of(&self, path: &[u8]) -> u32 {
        let names = &mut self.process.borrow_mut().names;
        let index = names.iter().position(|n| n == path).unwrap_or_else(|| {
            // A program that maps ever new files gets no more names.
            if names.len() < 4096 {
                names.push(path.to_vec());
            }
            names.len() - 1
        });
        note::FIRST_FILE + index as u32
    }
}

impl Drop for Uc {
    fn drop(&mut self) {
        EbbRef::<dyn GuestCpu>::get().leave(self.space.get_mut().root().0);
    }
}

/// Lets timer descriptors fire, as long as the program lives.
async fn drive_timers(uc: Weak<Uc>) {
    loop {
        let Some(uc) = uc.upgrade() else { return };
        if uc.exit.get().is_some() {
            return;
        }
        let next = {
            let mut objects = uc.objects.borrow_mut();
            objects.expire_timers(uc.now());
            objects.next_deadline()
        };
        // Looking again once a second lets go of a program that has ended.
        let next = next.unwrap_or(u64::MAX).min(uc.now() + 1_000_000_000);
        let wait = Duration::from_nanos(next.saturating_sub(uc.now()));
        let _ = timeout(wait, uc.timers.notified()).await;
    }
}
