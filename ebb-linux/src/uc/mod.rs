//! A UC: one guest program with the processes that it starts, their memory, threads and files.
//!
//! What must hold: a UC is used on one core only (`Rc`); no borrow of a cell is held across an await or while a guest runs,
//! but for those that [`Uc::enter`] takes. Everything in it but the wakers is plain data.

pub mod caller;
pub mod channel;
pub mod console;
mod cpu;
pub mod env;
pub(crate) mod load;
mod maps;
pub mod net;
pub mod user_bytes;

use crate::abi::exit::Exit;
use crate::abi::signal::SIGKILL;
use crate::image::vdso;
use crate::ipc::Ipc;
use crate::object::epoll::EpollEvent;
use crate::object::wait::Events;
use crate::object::{Console, Limits, Objects};
use crate::state::futex::{Futexes, Key};
use crate::state::process::{Memory, Process, Processes};
use crate::state::thread::Thread;
use crate::state::timer::Clock;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::{Rc, Weak};
use alloc::string::String;
use borsh::{BorshDeserialize, BorshSerialize};
use env::World;
use load::Load;
use net::NetSockets;

use alloc::vec::Vec;
use core::any::Any;
use core::cell::{Cell, OnceCell, RefCell};
use core::time::Duration;
use ebb_mem::space::{Area, Backing};
use ebb_runtime::platform::Entropy;
use ebb_runtime::sync::notify::Notify;
use ebb_runtime::{EbbRef, JoinHandle};

/// How a UC is to be set up.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct Options {
    /// Its name in messages.
    pub name: String,
    /// Maximum bytes of memory, page tables counted.
    pub memory: u64,
    /// Maximum number of threads, over all its processes.
    pub threads: usize,
    /// Maximum number of processes, including those that have ended and were not waited for.
    pub processes: usize,
    /// Maximum processor time of all its processes, in nanoseconds; beyond it the UC ends with a report.
    pub cpu: Option<u64>,
    /// Most of everything else.
    pub limits: Limits,
    /// Its sockets reach the machine's network.
    pub network: bool,
    /// Descriptors 0 to 2 are a terminal to the program.
    pub terminal: bool,
    /// Prints every system call, as strace does.
    pub trace: bool,
    /// What is at the other end of descriptors 0 to 2.
    pub stdio: Stdio,
    /// Mappings with far-away hints, which V8 draws at random, are placed next to each other instead. For
    /// programs that are to be cloned: clones then have fewer page tables of their own.
    pub close_mappings: bool,
    /// The random bits by which the addresses of its programs are varied; drawn for each program if there are none. With the same
    /// bits code lies where it lies in another UC, and an emulator has translated it.
    pub layout: Option<u64>,
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
            layout: None,
        }
    }
}

/// What is at the other end of a program's first three descriptors.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdio {
    /// What it writes is printed on the machine's console; input is at its end.
    #[default]
    Machine,
    /// As `Machine`, and what is typed on the machine's console is its input, up to a byte 4 (Ctrl-D).
    Console,
    /// Whoever started it: [`Uc::give`], [`Uc::end_input`], [`Uc::take`], [`Uc::output`].
    Owner,
}

/// Starts the task that runs the thread of this index. Given by whoever assembles a UC, because a thread's task makes
/// system calls, and these add threads.
pub(crate) type RunThread = fn(&Rc<Uc>, &Rc<Process>, usize);

/// What a UC is made of.
pub(crate) struct Parts {
    pub options: Options,
    pub processes: Processes,
    pub objects: Objects,
    pub futexes: Futexes,
    pub ipc: Option<Box<Ipc>>,
    pub console: Console,
    pub origin: Option<Rc<dyn Any>>,
    pub behind: u64,
    pub ran: u64,
    pub run_thread: RunThread,
}

/// A guest program.
pub struct Uc {
    /// How it was set up.
    pub options: Options,
    /// Its processes.
    pub(crate) processes: RefCell<Processes>,
    /// Their descriptors, files, sockets.
    pub(crate) objects: RefCell<Objects>,
    /// Threads waiting on futexes, by address.
    pub(crate) futexes: RefCell<Futexes>,
    /// System V objects, once a process has used any.
    pub(crate) ipc: RefCell<Option<Box<Ipc>>>,
    /// Unknown and missing system calls by number, with how often they were called.
    pub(crate) missing: RefCell<BTreeMap<u64, u64>>,
    /// System calls made.
    pub(crate) calls: Cell<u64>,
    draws: Cell<u64>,
    /// Processor time of all its processes, in nanoseconds.
    pub(crate) ran: Cell<u64>,
    pub(crate) load: Load,
    /// The most memory that a process had which has ended, in bytes.
    pub(crate) peak: Cell<u64>,
    /// When it was started, in nanoseconds of the machine's clock.
    begun: u64,
    pub(crate) network: RefCell<NetSockets>,
    /// Whether it is known which addresses the machine has, IPv4 and IPv6.
    pub(crate) network_settled: Cell<(bool, bool)>,
    /// What the last `epoll_wait` reported: memory to be used again.
    pub(crate) reported: RefCell<Vec<EpollEvent>>,
    this: Weak<Self>,
    /// The channels behind the first three descriptors.
    pub(crate) console: Console,
    /// What it was cloned from, or has become a clone of; whoever makes clones knows its type.
    pub(crate) origin: OnceCell<Rc<dyn Any>>,
    /// How far its monotonic clock is behind the machine's, in nanoseconds: a clone does not see the time between its
    /// snapshot and its start.
    pub(crate) behind: u64,
    /// The first process, which the UC ends with.
    pub(crate) init: Rc<Process>,
    /// The serial number of the process whose files and limits are in place.
    pub(crate) running: Cell<u64>,
    /// Tells the task of the timers that there are new ones.
    pub(crate) timers: Notify,
    /// That task runs.
    pub(crate) timing: Cell<bool>,
    /// The task that sends the signals of descriptors that have become ready.
    pub(crate) telling: RefCell<Option<Task>>,
    pub(crate) exit: Cell<Option<Exit>>,
    /// That was because it used more memory than it may.
    exhausted: Cell<bool>,
    ended: Notify,
    run_thread: RunThread,
}

/// A task that ends with the UC.
pub(crate) struct Task(pub JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Uc {
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
            network_settled: Cell::default(),
            reported: RefCell::default(),
            options: parts.options,
            processes: RefCell::new(parts.processes),
            objects: RefCell::new(parts.objects),
            console: parts.console,
            origin: parts.origin.map_or_else(OnceCell::new, OnceCell::from),
            behind: parts.behind,
            init,
            running: Cell::new(running),
            timers: Notify::new(),
            timing: Cell::new(false),
            telling: RefCell::default(),
            futexes: RefCell::new(parts.futexes),
            ipc: RefCell::new(parts.ipc),
            missing: RefCell::default(),
            calls: Cell::new(0),
            draws: Cell::new(0),
            ran: Cell::new(parts.ran),
            load: Load::new(crate::now(), parts.ran),
            peak: Cell::new(0),
            begun: crate::now(),
            exit: Cell::new(None),
            exhausted: Cell::new(false),
            ended: Notify::new(),
            run_thread: parts.run_thread,
        }))
    }

    /// Starts the tasks of threads that are in their places already.
    pub(crate) fn run_threads(self: &Rc<Self>) {
        let live: Vec<Rc<Process>> = self.processes.borrow().live.clone();
        for process in live {
            let count = process.threads.borrow_mut().slots_mut().len();
            for index in 0..count {
                if process.threads.borrow().get(index).is_some() {
                    (self.run_thread)(self, &process, index);
                }
            }
        }
    }

    /// Adds a thread and the task that runs it.
    pub(crate) fn add_thread(self: &Rc<Self>, process: &Rc<Process>, thread: Thread) {
        let index = process.threads.borrow_mut().insert(thread);
        (self.run_thread)(self, process, index);
    }

    /// Lets the load averages see how much has run until now.
    #[inline]
    pub(crate) fn sample_load(&self, now: u64) {
        let wanting = || {
            let processes = self.processes.borrow();
            let live = processes.live.iter();
            live.map(|p| {
                p.threads
                    .borrow()
                    .iter()
                    .filter(|t| t.waiting.is_none())
                    .count()
            })
            .sum()
        };
        self.load.sample(now, self.ran.get(), wanting);
    }

    /// The first process.
    pub(crate) fn init(&self) -> &Rc<Process> {
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

    /// How many times its programs have drawn randomness: by `getrandom`, from the random devices, or when they were executed.
    ///
    /// Copies of a snapshot that was taken after a draw may hold what was drawn, each the same. The count begins with the UC:
    /// a clone's does not go on from its snapshot's.
    pub fn draws(&self) -> u64 {
        self.draws.get()
    }

    /// Draws randomness for a program; `counts` unless no program sees it.
    pub(crate) fn draw(&self, bytes: &mut [u8], counts: bool) {
        self.draws.set(self.draws.get() + u64::from(counts));
        EbbRef::<dyn Entropy>::get().fill(bytes);
    }

    /// Nanoseconds of the program's monotonic clock.
    pub fn now(&self) -> u64 {
        crate::now().wrapping_sub(self.behind)
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

    /// Tells a program's vDSO how far its clock is behind the machine's, if it has not been told. Before its threads are entered.
    pub(crate) fn tell_clock(&self, process: &Process, memory: &Memory) {
        if memory.untold.get() {
            // Without memory for it the program sees the machine's clock for now, and this is tried again.
            let vdso = process.state.borrow().started.vdso;
            let told = vdso::set_behind(&mut memory.space.borrow_mut(), vdso, self.behind);
            memory.untold.set(told.is_err());
        }
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
        self.end_process(process, Exit::Signal(SIGKILL));
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

    /// When the first timer is due, of a descriptor or a process, on the UC's clock.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let processes = self.processes.borrow();
        let of = |p: &Rc<Process>| p.state.borrow().timers.next(Clock::Real);
        let own = self.objects.borrow().next_deadline();
        processes.live.iter().filter_map(of).chain(own).min()
    }

    /// Wakes whoever waits for System V objects, if anything has changed.
    pub(crate) fn tell_ipc_news(&self) {
        let mut ipc = self.ipc.borrow_mut();
        if let Some(ipc) = ipc.as_mut()
            && ipc.take_news()
            && let Some(queue) = ipc.queue
        {
            self.objects.borrow_mut().hub.wake(queue, Events::all());
        }
    }

    /// How many mappings the processes have of the shared pages of this identifier.
    pub(crate) fn mappings_of(&self, pages: u64) -> u64 {
        let live = &self.processes.borrow().live;
        let memories: Vec<Rc<Memory>> = live.iter().map(|p| p.memory()).collect();
        let is_of =
            |a: &&Area| matches!(&a.backing, Backing::Shared(shared) if shared.id() == pages);
        let mut count = 0;
        for (i, memory) in memories.iter().enumerate() {
            // A child of `vfork` has its parent's.
            if memories[..i].iter().all(|m| !Rc::ptr_eq(m, memory)) {
                count += memory.space.borrow().areas().filter(is_of).count();
            }
        }
        count as u64
    }

    /// Ends System V segments that were removed and are mapped no more.
    pub(crate) fn sweep_segments(&self) {
        if let Some(ipc) = self.ipc.borrow_mut().as_mut()
            && ipc.has_removed_segments()
        {
            ipc.sweep_segments(|pages| self.mappings_of(pages));
        }
    }

    /// Wakes threads that wait for a word of memory; returns how many.
    pub(crate) fn wake_futex(&self, memory: &Memory, address: u64, count: u32, bits: u32) -> u32 {
        self.wake_key(memory.key(address), count, bits)
    }

    /// As [`wake_futex`](Self::wake_futex).
    pub(crate) fn wake_key(&self, key: Key, count: u32, bits: u32) -> u32 {
        let processes = self.processes.borrow();
        // Queues that somebody leaves who waited for any of several.
        let mut left = Vec::new();
        let woken = self.futexes.borrow_mut().wake(key, count, bits, |name| {
            let Some(process) = processes.by_serial(name.process) else {
                return;
            };
            if let Some(thread) = process.threads.borrow_mut().get_mut(name.index) {
                let mut result = 0;
                if let Some(waiting) = &mut thread.waiting
                    && let Some(rare) = &mut waiting.rare
                    && let Some(any) = &mut rare.any_of
                {
                    result = any.keys.iter().position(|k| *k == key).unwrap_or(0) as u64;
                    any.woken = result;
                    left.extend(any.keys.iter().map(|k| (*k, name)));
                }
                if !self.options.trace {
                    // The call is over; it need not be made again to find that out.
                    thread.waiting = None;
                    thread.context.rax = result;
                } else if let Some(waiting) = &mut thread.waiting {
                    waiting.woken = true;
                    waiting.futex = None;
                }
                thread.wake();
            }
        });
        for (key, thread) in left {
            self.futexes.borrow_mut().cancel(key, thread);
        }
        woken
    }
}
