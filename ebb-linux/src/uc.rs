//! A UC: one guest program with the processes that it starts, their memory, threads and files.
//!
//! What must hold: a UC is used on one core only (`Rc`); no borrow of a cell is held across an await or while a guest runs,
//! but for those that [`Uc::enter`] takes. Everything in it but the wakers is plain data.

use crate::exec;
use crate::futex::{Futexes, Key, ThreadKey};
use crate::net::NetSockets;
use crate::object::epoll::EpollEvent;
use crate::object::errno::Errno;
use crate::object::{Console, Limits, Objects};
use crate::process::{Memory, Process, Processes, Ran, State, Zombie, limit};
use crate::program::Program;
use crate::signal::{self, Actions};
use crate::snapshot::Snapshot;
use crate::thread::{GuestThread, Thread};
use crate::timer::{Clock, Timers};
use crate::world::World;
use alloc::collections::BTreeMap;
use alloc::rc::{Rc, Weak};
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use ebb_guest::{Context, GuestCpu, Trap};
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
    /// Most threads, those of all its processes together.
    pub threads: usize,
    /// Most processes, those counted that have ended and nobody has waited for.
    pub processes: usize,
    /// Most processor time of all its processes, in nanoseconds; beyond it the UC ends with a report.
    pub cpu: Option<u64>,
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
    /// Its mappings go side by side where the program suggests places far from everything else, as V8 does at random. For
    /// programs that are to be cloned: clones then have fewer page tables of their own.
    pub close_mappings: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: String::from("uc"),
            memory: 1 << 30,
            threads: 1000,
            processes: 256,
            cpu: None,
            limits: Limits::default(),
            network: true,
            terminal: false,
            trace: false,
            stdio: Stdio::Machine,
            close_mappings: false,
        }
    }
}

/// Who has the other end of a program's first three descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdio {
    /// What it writes is printed on the machine's console; input is at its end.
    #[default]
    Machine,
    /// As `Machine`, and what is typed on the machine's console is its input, up to a byte 4 (Ctrl-D).
    Console,
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

/// What a UC is made of.
pub(crate) struct Parts {
    pub options: Options,
    pub processes: Processes,
    pub objects: Objects,
    pub futexes: Futexes,
    pub console: Console,
    pub origin: Option<Snapshot>,
    pub behind: u64,
    pub ran: u64,
}

/// A guest program.
pub struct Uc {
    /// How it was set up.
    pub options: Options,
    /// Its processes.
    pub processes: RefCell<Processes>,
    /// Their descriptors, files, sockets.
    pub objects: RefCell<Objects>,
    /// Who waits for which word of memory.
    pub futexes: RefCell<Futexes>,
    /// Unknown and missing system calls by number, with how often they were called.
    pub missing: RefCell<BTreeMap<u64, u64>>,
    /// System calls made.
    pub calls: Cell<u64>,
    /// Processor time of all its processes, in nanoseconds.
    pub(crate) ran: Cell<u64>,
    /// The most memory that a process had which has ended, in bytes.
    peak: Cell<u64>,
    /// When it was started, in nanoseconds of the machine's clock.
    begun: u64,
    pub(crate) network: RefCell<NetSockets>,
    /// What the last `epoll_wait` reported: memory to be used again.
    pub(crate) reported: RefCell<Vec<EpollEvent>>,
    this: Weak<Self>,
    /// The channels behind the first three descriptors.
    pub console: Console,
    /// What it was cloned from.
    pub(crate) origin: Option<Snapshot>,
    /// How far its monotonic clock is behind the machine's, in nanoseconds: a clone does not see the time between its
    /// snapshot and its start.
    pub(crate) behind: u64,
    /// The first process, which the UC ends with.
    init: Rc<Process>,
    /// The serial number of the process whose files and limits are in place.
    running: Cell<u64>,
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
        let Program {
            arguments,
            environment,
            directory,
            ..
        } = program;
        if EbbRef::<dyn GuestCpu>::get().kernel_root() == 0 {
            // No user mode here: the program is hosted.
            return Err(Errno::ENOSYS);
        }
        let mut objects = Objects::new(&crate::world::Boot, crate::world::root(), options.limits)?;
        let console = objects.open_console(options.terminal)?;
        if options.stdio == Stdio::Machine {
            // Nobody types: input is at its end.
            objects.channel_end_input(console.input);
        }
        let file = objects.executable(&crate::world::Boot, &path)?;
        if !directory.is_empty() {
            objects.chdir(&crate::world::Boot, &directory)?;
        }
        let mut image = exec::load(
            &objects,
            &crate::world::Boot,
            exec::Request {
                file,
                known_as: path,
                arguments,
                environment,
                stack: exec::STACK,
            },
            options.memory,
        )?;
        if options.close_mappings {
            image.space.keep_close();
        }
        let mut context = Context::new();
        context.rip = image.started.entry;
        context.rsp = image.started.stack;
        let limits = {
            let mut limits = [(u64::MAX, u64::MAX); 16];
            limits[limit::STACK] = (exec::STACK, u64::MAX);
            limits[limit::CORE] = (0, u64::MAX);
            limits[limit::NPROC] = (options.threads as u64, options.threads as u64);
            limits[limit::NOFILE] = (options.limits.nofile.into(), 1 << 20);
            limits
        };
        let state = State {
            brk: image.started.heap,
            started: image.started,
            path: image.path,
            arguments: image.arguments,
            environment: image.environment,
            names: image.names,
            actions: Actions::default(),
            pending: 0,
            queued: Vec::new(),
            limits,
            begun: crate::now(),
            pid: 1,
            parent: 0,
            orphan: false,
            group: 1,
            session: 1,
            exit_signal: 0,
            executed: true,
            timers: Timers::default(),
            ran: Ran::default(),
            cpu_warned: 0,
        };
        let files = objects.running_files().ok_or(Errno::EIO)?;
        let mut processes = Processes {
            last: 1,
            ..Processes::default()
        };
        let memory = Memory::new(image.space, processes.new_serial(), false);
        let serial = processes.new_serial();
        processes
            .live
            .push(Process::new(serial, memory, files, state));
        let uc = Self::assemble(Parts {
            options,
            processes,
            objects,
            futexes: Futexes::default(),
            console,
            origin: None,
            behind: 0,
            ran: 0,
        })
        .ok_or(Errno::EIO)?;
        let init = Rc::clone(&uc.init);
        uc.add_thread(&init, Thread::new(1, context));
        if uc.options.stdio == Stdio::Console {
            drop(spawn(crate::stdio::pass_input(uc.weak())));
        }
        Ok(uc)
    }

    /// A UC of these parts; nothing runs in it yet. `None` without a process.
    pub(crate) fn assemble(parts: Parts) -> Option<Rc<Self>> {
        let init = Rc::clone(parts.processes.live.first()?);
        let running = parts.objects.running_files();
        let running = parts
            .processes
            .live
            .iter()
            .find(|p| Some(p.files.get()) == running);
        let running = running.map_or(0, |p| p.serial);
        Some(Rc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            network: RefCell::default(),
            reported: RefCell::default(),
            options: parts.options,
            processes: RefCell::new(parts.processes),
            objects: RefCell::new(parts.objects),
            console: parts.console,
            origin: parts.origin,
            behind: parts.behind,
            init,
            running: Cell::new(running),
            timers: Notify::new(),
            timing: Cell::new(false),
            futexes: RefCell::new(parts.futexes),
            missing: RefCell::default(),
            calls: Cell::new(0),
            ran: Cell::new(parts.ran),
            peak: Cell::new(0),
            begun: crate::now(),
            exit: Cell::new(None),
            exhausted: Cell::new(false),
            ended: Notify::new(),
        }))
    }

    /// Starts the tasks of threads that are in their places already.
    pub(crate) fn run_threads(self: &Rc<Self>) {
        let live: Vec<Rc<Process>> = self.processes.borrow().live.clone();
        for process in live {
            let count = process.threads.borrow_mut().slots_mut().len();
            for index in 0..count {
                if process.threads.borrow().get(index).is_some() {
                    drop(spawn(GuestThread::new(
                        Rc::clone(self),
                        Rc::clone(&process),
                        index,
                    )));
                }
            }
        }
    }

    /// The first process.
    pub fn init(&self) -> &Rc<Process> {
        &self.init
    }

    /// Bytes of memory that it uses: pages and page tables of all its processes.
    pub fn used(&self) -> u64 {
        self.processes.borrow().used()
    }

    /// Bytes of memory that its processes have allocated, whether given back or not.
    pub fn taken(&self) -> u64 {
        let processes = self.processes.borrow();
        let of = |p: &Rc<Process>| p.memory().space.borrow().taken();
        processes.live.iter().map(of).sum()
    }

    /// Bytes of memory that nobody else uses: what ending it frees.
    pub fn private(&self) -> u64 {
        let processes = self.processes.borrow();
        let of = |p: &Rc<Process>| p.memory().space.borrow().private();
        processes.live.iter().map(of).sum()
    }

    /// The most bytes of memory that one of its processes used at once, page tables counted.
    pub fn peak(&self) -> u64 {
        let processes = self.processes.borrow();
        let of = |p: &Rc<Process>| p.memory().space.borrow().peak();
        processes
            .live
            .iter()
            .map(of)
            .fold(self.peak.get(), u64::max)
    }

    /// How long it has been running, or ran.
    pub fn age(&self) -> Duration {
        Duration::from_nanos(crate::now().saturating_sub(self.begun))
    }

    /// Processor time of all its processes, in nanoseconds.
    pub fn cpu_time(&self) -> u64 {
        self.ran.get()
    }

    /// Nanoseconds of the program's monotonic clock.
    pub fn now(&self) -> u64 {
        crate::now().saturating_sub(self.behind)
    }

    /// A reference for tasks that must not keep the program alive.
    pub(crate) fn weak(&self) -> Weak<Self> {
        Weak::clone(&self.this)
    }

    /// The UC as its objects see it, for what no process asked for.
    pub(crate) fn world(&self) -> World<'_> {
        World {
            uc: self,
            process: &self.init,
        }
    }

    /// Adds a thread and the task that runs it.
    pub(crate) fn add_thread(self: &Rc<Self>, process: &Rc<Process>, thread: Thread) {
        let index = process.threads.borrow_mut().insert(thread);
        // The task ends with the thread; nobody waits for it.
        drop(spawn(GuestThread::new(
            Rc::clone(self),
            Rc::clone(process),
            index,
        )));
    }

    /// Puts a process's files and the limit of its memory in place.
    #[inline]
    pub(crate) fn switch(&self, process: &Process) {
        if self.running.get() != process.serial {
            self.switch_to(process);
        }
    }

    #[cold]
    fn switch_to(&self, process: &Process) {
        self.running.set(process.serial);
        self.objects.borrow_mut().run_files(process.files.get());
        let used = self.used();
        let memory = process.memory();
        let mut space = memory.space.borrow_mut();
        let others = used.saturating_sub(space.used());
        space.set_limit(self.options.memory.saturating_sub(others));
    }

    /// The limits of the process that runs have changed, or its files.
    pub(crate) fn switch_again(&self, process: &Process) {
        self.switch_to(process);
    }

    /// Runs a thread until it traps.
    #[inline]
    pub(crate) fn enter(&self, process: &Process, memory: &Memory, thread: &mut Thread) -> Trap {
        let mut space = memory.space.borrow_mut();
        if memory.untold.get() {
            // Without memory for it the program sees the machine's clock for now, and this is tried again.
            let vdso = process.state.borrow().started.vdso;
            let told = crate::vdso::set_behind(&mut space, vdso, self.behind);
            memory.untold.set(told.is_err());
        }
        let cpu = EbbRef::<dyn GuestCpu>::get();
        let trap = cpu.enter(&mut thread.context, space.root().0, space.stale());
        space.drop_stale();
        trap
    }

    /// How the program ended, if it has.
    pub fn exit_status(&self) -> Option<Exit> {
        self.exit.get()
    }

    /// Ends the program: every thread of every process stops where it is. The first reason counts.
    pub fn end(&self, exit: Exit) {
        if self.exit.get().is_none() {
            self.exit.set(Some(exit));
        }
        for process in &self.processes.borrow().live {
            if process.exit.get().is_none() {
                process.exit.set(Some(exit));
            }
            process.wake();
        }
        self.ended.notify_all();
        // The task of the timers holds the UC while it waits.
        self.timers.notify_one();
    }

    /// Whether the program was ended because its memory limit, or the machine's memory, was used up.
    pub fn ran_out_of_memory(&self) -> bool {
        self.exhausted.get()
    }

    /// Ends a process because there is no memory for it.
    pub(crate) fn end_without_memory(&self, process: &Process) {
        if process.serial == self.init.serial {
            self.exhausted.set(self.exit.get().is_none());
        }
        self.end_process(process, Exit::Signal(signal::SIGKILL));
    }

    /// Ends a process; the UC with it if it is the first.
    pub(crate) fn end_process(&self, process: &Process, exit: Exit) {
        if process.serial == self.init.serial {
            self.end(exit);
            return;
        }
        if process.exit.get().is_none() {
            process.exit.set(Some(exit));
        }
        process.wake();
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

    /// The thread of this index is over: its memory says so to who waits for it. How its process ends, if it was the last:
    /// the caller then gives the memory back and calls [`process_ended`](Self::process_ended).
    pub(crate) fn thread_ended(&self, process: &Process, index: usize, status: u8) -> Option<Exit> {
        let mut thread = process.threads.borrow_mut().remove(index)?;
        process.state.borrow_mut().ran.gone += thread.ran;
        let key = ThreadKey {
            process: process.serial,
            index,
        };
        crate::sys::abandon(self, &mut thread, key);
        // What it locked may lie in memory that others have too, however it ends. One that makes room for a program has no
        // memory any more.
        let memory = process.memory();
        if self.exit.get().is_none() && !thread.doomed {
            crate::sys::futex::release_robust_list(self, &memory, &thread);
        }
        if process.exit.get().is_none() && !thread.doomed {
            let told = thread.clear_tid != 0
                && memory
                    .space
                    .borrow_mut()
                    .put(thread.clear_tid, 0u32)
                    .is_ok();
            if told {
                self.wake_futex(&memory, thread.clear_tid, 1, !0);
            }
        }
        if !process.threads.borrow().is_empty() {
            return None;
        }
        self.peak
            .set(self.peak.get().max(memory.space.borrow().peak()));
        let exit = process.exit.get().unwrap_or(Exit::Status(status));
        process.exit.set(Some(exit));
        Some(exit)
    }

    /// Frees a part of what its files hold once it is over and the last process ends; true when there is no more to be freed.
    pub(crate) fn release_files(&self) -> bool {
        let last = self.exit.get().is_some() && self.processes.borrow().live.len() == 1;
        !last || self.objects.borrow_mut().fs.release_part(1024)
    }

    /// A process has no thread left: its descriptors are closed, and its parent hears of it.
    pub(crate) fn process_ended(self: &Rc<Self>, process: &Rc<Process>, exit: Exit) {
        if process.serial == self.init.serial {
            self.end(exit);
        }
        if self.exit.get().is_some() {
            // All of it goes.
            let mut processes = self.processes.borrow_mut();
            processes.live.retain(|p| p.serial != process.serial);
            return;
        }
        let name = {
            use crate::object::env::ProcInfo;
            let world = World { uc: self, process };
            let comm = world.comm(0);
            let mut name = [0; 16];
            name[..comm.len()].copy_from_slice(&comm);
            name
        };
        let (zombie, orphan) = {
            let state = process.state.borrow();
            let zombie = Zombie {
                serial: process.serial,
                pid: state.pid,
                parent: state.parent,
                group: state.group,
                session: state.session,
                exit_signal: state.exit_signal,
                exit,
                ran: state.ran.gone + state.ran.children,
                name,
            };
            (zombie, state.orphan)
        };
        process.borrows.set(false);
        {
            let mut objects = self.objects.borrow_mut();
            objects.end_files(process.files.get());
            self.running.set(0);
            if objects.has_closed_network() {
                objects.sweep_network(&self.world());
            }
        }
        let parent = {
            let mut processes = self.processes.borrow_mut();
            let init = self.init.pid();
            processes.live.retain(|p| p.serial != process.serial);
            // Its children belong to the first process, which need not wait for what it did not start.
            processes.zombies.retain(|z| z.parent != zombie.pid);
            for child in &processes.live {
                let mut state = child.state.borrow_mut();
                if state.parent == zombie.pid {
                    (state.parent, state.orphan) = (init, true);
                }
            }
            let parent = processes.find(zombie.parent).filter(|_| !orphan).cloned();
            let told = parent
                .as_ref()
                .is_some_and(|p| signal::wants_zombies(p, zombie.exit_signal));
            if told {
                processes.zombies.push(zombie);
            }
            parent
        };
        self.objects.borrow_mut().child_news();
        if let Some(parent) = parent.filter(|_| zombie.exit_signal != 0) {
            signal::send_process(self, &parent, signal::child_info(&zombie));
        }
    }

    /// A signal stops a process, or lets it go on (`None`).
    pub(crate) fn stop_process(&self, process: &Process, signal: Option<u8>) {
        if process.stopped.get().is_some() == signal.is_some() {
            return;
        }
        process.stopped.set(signal);
        process.news.set(Some(signal.unwrap_or(signal::SIGCONT)));
        if signal.is_none() {
            process.wake();
        }
        let (pid, parent) = {
            let state = process.state.borrow();
            (state.pid, state.parent)
        };
        let parent = self.processes.borrow().find(parent).cloned();
        self.objects.borrow_mut().child_news();
        if let Some(parent) = parent {
            signal::tell_of_stop(self, &parent, pid, signal);
        }
    }

    /// Processor time that a thread of a process has just used. Ends the UC when that is more than it may have.
    pub(crate) fn account(&self, process: &Process, index: usize, time: u64) {
        let ran = self.ran.get() + time;
        self.ran.set(ran);
        if let Some(thread) = process.threads.borrow_mut().get_mut(index) {
            thread.ran += time;
            let quick = core::mem::take(&mut thread.context.quick_calls);
            self.calls.set(self.calls.get() + quick);
        }
        if self.options.cpu.is_some_and(|most| ran >= most) && self.exit.get().is_none() {
            crate::report::out_of_time(self, process);
            self.end(Exit::Signal(signal::SIGKILL));
        }
        let watched = {
            let state = process.state.borrow();
            state.soft(limit::CPU) != u64::MAX || state.timers.next(Clock::Processor).is_some()
        };
        if watched {
            signal::processor_time(self, process);
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

    /// When the first timer is due, of a descriptor or a process, on the UC's clock.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let processes = self.processes.borrow();
        let of = |p: &Rc<Process>| p.state.borrow().timers.next(Clock::Real);
        let own = self.objects.borrow().next_deadline();
        processes.live.iter().filter_map(of).chain(own).min()
    }

    /// Timers were set: whoever drives them looks again.
    pub(crate) fn timers_changed(self: &Rc<Self>) {
        if !self.timing.replace(true) {
            drop(spawn(drive_timers(Rc::downgrade(self))));
        }
        self.timers.notify_one();
    }

    /// Wakes threads that wait for a word of memory; returns how many.
    pub(crate) fn wake_futex(&self, memory: &Memory, address: u64, count: u32, bits: u32) -> u32 {
        self.wake_key(memory.key(address), count, bits)
    }

    /// As [`wake_futex`](Self::wake_futex).
    pub(crate) fn wake_key(&self, key: Key, count: u32, bits: u32) -> u32 {
        let processes = self.processes.borrow();
        self.futexes.borrow_mut().wake(key, count, bits, |thread| {
            let Some(process) = processes.by_serial(thread.process) else {
                return;
            };
            if let Some(thread) = process.threads.borrow_mut().get_mut(thread.index) {
                if !self.options.trace {
                    // The call is over; it need not be made again to find that out.
                    thread.waiting = None;
                    thread.context.rax = 0;
                } else if let Some(waiting) = &mut thread.waiting {
                    waiting.woken = true;
                    waiting.futex = None;
                }
                thread.wake();
            }
        })
    }
}

/// Lets timer descriptors fire and sends the signals of timers, as long as the program lives.
async fn drive_timers(uc: Weak<Uc>) {
    loop {
        let Some(uc) = uc.upgrade() else { return };
        if uc.exit.get().is_some() {
            return;
        }
        let now = uc.now();
        uc.objects.borrow_mut().expire_timers(now);
        let live: Vec<Rc<Process>> = uc.processes.borrow().live.clone();
        for process in live {
            let due = process.state.borrow_mut().timers.expire(Clock::Real, now);
            for due in due {
                signal::timer_due(&uc, &process, due);
            }
        }
        let next = uc.next_deadline();
        // Looking again once a second lets go of a program that has ended.
        let next = next.unwrap_or(u64::MAX).min(now + 1_000_000_000);
        let wait = Duration::from_nanos(next.saturating_sub(uc.now()));
        let _ = timeout(wait, uc.timers.notified()).await;
    }
}
