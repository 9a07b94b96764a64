//! Signals: what they do, which are pending, and how one reaches its thread.
//!
//! What must hold: `SIGKILL` and `SIGSTOP` are never blocked or handled; a mask never has their bits.

mod frame;

use crate::process::{Memory, Process, State, Zombie, limit};
use crate::report;
use crate::thread::Thread;
use crate::timer::{Clock, Due, Notify};
use crate::uc::{Exit, Uc};
use alloc::rc::Rc;
use core::mem::take as empty;

pub const SIGILL: u8 = 4;
pub const SIGTRAP: u8 = 5;
pub const SIGBUS: u8 = 7;
pub const SIGFPE: u8 = 8;
pub const SIGKILL: u8 = 9;
pub const SIGSEGV: u8 = 11;
pub const SIGPIPE: u8 = 13;
pub const SIGALRM: u8 = 14;
pub const SIGCHLD: u8 = 17;
pub const SIGTSTP: u8 = 20;
pub const SIGTTIN: u8 = 21;
pub const SIGTTOU: u8 = 22;
pub const SIGXCPU: u8 = 24;
pub const SIGXFSZ: u8 = 25;
pub const SIGCONT: u8 = 18;
pub const SIGSTOP: u8 = 19;
pub const SIGURG: u8 = 23;
pub const SIGWINCH: u8 = 28;

/// `SA_*`: no `SIGCHLD` for stops, no zombies.
const SA_NOCLDSTOP: u64 = 1;
const SA_NOCLDWAIT: u64 = 2;

/// Signals that stop a process.
const STOPS: u64 = bit(SIGSTOP) | bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU);

/// Signals that cannot be blocked, as a mask.
pub const UNBLOCKABLE: u64 = bit(SIGKILL) | bit(SIGSTOP);

/// A signal's bit in a mask.
pub const fn bit(signal: u8) -> u64 {
    1 << (signal - 1)
}

/// What a program asked for a signal; as in `struct sigaction` of the system call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// 0 for the default, 1 to ignore, else the handler's address.
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Where a handler returns to.
    pub restorer: u64,
    /// Signals blocked while the handler runs.
    pub mask: u64,
}

/// The actions of all signals.
#[derive(Clone, Debug)]
pub struct Actions([Action; 64]);

impl Default for Actions {
    fn default() -> Self {
        Self([Action::default(); 64])
    }
}

impl Actions {
    /// What `execve` leaves: signals that are ignored stay so, handlers are gone.
    pub fn reset(&mut self) {
        for action in &mut self.0 {
            *action = Action {
                handler: u64::from(action.handler == 1),
                ..Action::default()
            };
        }
    }

    /// Signals that are ignored, and those that have handlers.
    #[must_use]
    pub fn sets(&self) -> (u64, u64) {
        let set = |test: fn(u64) -> bool| {
            let with = self.0.iter().enumerate().filter(|(_, a)| test(a.handler));
            with.fold(0, |set, (i, _)| set | 1 << i)
        };
        (set(|h| h == 1), set(|h| h > 1))
    }

    /// The action of a signal, 1 to 64.
    #[must_use]
    pub fn get(&self, signal: u8) -> Option<Action> {
        self.0.get(usize::from(signal).checked_sub(1)?).copied()
    }

    /// Sets the action of a signal, 1 to 64.
    pub fn set(&mut self, signal: u8, action: Action) {
        if let Some(slot) = usize::from(signal)
            .checked_sub(1)
            .and_then(|i| self.0.get_mut(i))
        {
            *slot = action;
        }
    }
}

/// `sigaltstack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AltStack {
    /// Lowest address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// `SS_*`; 2 is disabled.
    pub flags: u32,
}

impl Default for AltStack {
    fn default() -> Self {
        Self {
            start: 0,
            size: 0,
            flags: 2,
        }
    }
}

impl AltStack {
    /// Whether a stack pointer is on it.
    #[must_use]
    pub fn contains(&self, stack_pointer: u64) -> bool {
        self.flags & 2 == 0 && stack_pointer > self.start && stack_pointer - self.start <= self.size
    }
}

/// What a fault tells its handler.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub address: u64,
    /// The CPU's vector.
    pub vector: u8,
    /// The CPU's error code.
    pub error: u64,
}

/// The name of a signal, for messages.
#[must_use]
pub fn name(signal: u8) -> &'static str {
    const NAMES: [&str; 32] = [
        "signal 0",
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    NAMES
        .get(usize::from(signal))
        .unwrap_or(&"a real-time signal")
}

/// A thread did something that the CPU refused: its handler hears of it, or its process ends with a report.
pub fn fault(uc: &Rc<Uc>, process: &Rc<Process>, index: usize, signal: u8, info: Info) {
    let action = process
        .state
        .borrow()
        .actions
        .get(signal)
        .unwrap_or_default();
    let blocked = process
        .threads
        .borrow()
        .get(index)
        .is_none_or(|t| t.mask & bit(signal) != 0);
    let mut data = SigInfo::new(signal, info.code);
    data.0[16..24].copy_from_slice(&info.address.to_le_bytes());
    let memory = process.memory();
    if action.handler <= 1
        || blocked
        || frame::push(process, &memory, index, signal, &action, &data, Some(&info)).is_err()
    {
        report::crash(uc, process, index, name(signal), &info);
        uc.end_process(process, Exit::Signal(signal));
    }
}

/// `siginfo_t`.
#[derive(Clone, Debug)]
pub struct SigInfo(pub [u8; 128]);

/// `si_code` of signals that the kernel sends.
pub const SI_KERNEL: i32 = 0x80;

impl SigInfo {
    /// With signal and code, the rest zero.
    #[must_use]
    pub fn new(signal: u8, code: i32) -> Self {
        let mut info = [0; 128];
        info[0] = signal;
        info[8..12].copy_from_slice(&code.to_le_bytes());
        Self(info)
    }

    /// As `kill` and `tgkill` make it: sent by the process of this number.
    #[must_use]
    pub fn sent(signal: u8, code: i32, pid: u32) -> Self {
        let mut info = Self::new(signal, code);
        info.0[16..20].copy_from_slice(&pid.to_le_bytes());
        info
    }

    /// The signal.
    #[must_use]
    pub fn signal(&self) -> u8 {
        self.0[0]
    }
}

/// The `struct signalfd_siginfo` of a signal.
#[must_use]
pub fn for_signalfd(info: &SigInfo) -> [u8; 128] {
    let mut out = [0; 128];
    out[0] = info.signal();
    // ssi_code; then pid and uid, or timer and overrun; then status or value.
    out[8..12].copy_from_slice(&info.0[8..12]);
    let code = i32::from_le_bytes([info.0[8], info.0[9], info.0[10], info.0[11]]);
    if code == SI_TIMER {
        out[24..32].copy_from_slice(&info.0[16..24]);
    } else {
        out[12..20].copy_from_slice(&info.0[16..24]);
        out[40..44].copy_from_slice(&info.0[24..28]);
    }
    out[44..48].copy_from_slice(&info.0[24..28]);
    out[48..56].copy_from_slice(&info.0[24..32]);
    out
}

/// `si_code` of a POSIX timer's signal.
const SI_TIMER: i32 = -2;

/// Real-time signals queue, up to this many in a thread or process; others are kept once.
const MAX_QUEUED: usize = 128;

fn queue(pending: &mut u64, queued: &mut alloc::vec::Vec<SigInfo>, info: SigInfo) {
    let signal = info.signal();
    let new = *pending & bit(signal) == 0;
    *pending |= bit(signal);
    if new || signal >= 32 && queued.len() < MAX_QUEUED {
        queued.push(info);
    }
}

fn unqueue(pending: &mut u64, queued: &mut alloc::vec::Vec<SigInfo>, signal: u8) -> SigInfo {
    let at = queued.iter().position(|q| q.signal() == signal);
    let info = at.map_or(SigInfo::new(signal, SI_KERNEL), |i| queued.remove(i));
    if queued.iter().all(|q| q.signal() != signal) {
        *pending &= !bit(signal);
    }
    info
}

fn post(thread: &mut Thread, info: SigInfo) {
    queue(&mut thread.pending, &mut thread.queued, info);
    thread.wake();
}

/// What a signal does to other signals and to a stopped process when it is sent, whoever takes it.
fn on_sending(uc: &Uc, process: &Process, signal: u8) {
    if signal == SIGCONT || signal == SIGKILL {
        if signal == SIGCONT {
            forget(process, STOPS);
        }
        uc.stop_process(process, None);
    } else if STOPS & bit(signal) != 0 {
        forget(process, bit(SIGCONT));
    }
}

/// Takes signals back that nobody has taken.
fn forget(process: &Process, set: u64) {
    let mut state = process.state.borrow_mut();
    state.pending &= !set;
    state.queued.retain(|q| bit(q.signal()) & set == 0);
    for thread in process.threads.borrow_mut().iter_mut() {
        thread.pending &= !set;
        thread.queued.retain(|q| bit(q.signal()) & set == 0);
    }
}

/// Sends a signal to one thread; false when there is none of that number. No table of the UC may be borrowed.
pub fn send_thread(uc: &Uc, process: &Process, tid: u32, info: SigInfo) -> bool {
    let signal = info.signal();
    if process.threads.borrow().iter().all(|t| t.tid != tid) {
        return false;
    }
    if signal == 0 {
        return true;
    }
    on_sending(uc, process, signal);
    let effect = has_effect(process, signal);
    if let Some(thread) = process
        .threads
        .borrow_mut()
        .iter_mut()
        .find(|t| t.tid == tid)
        && (effect || thread.mask & bit(signal) != 0)
    {
        post(thread, info);
    }
    uc.objects.borrow_mut().signal_arrived();
    true
}

/// Sends a signal to a process: to some thread that does not block it. No table of the UC may be borrowed.
pub fn send_process(uc: &Uc, process: &Process, info: SigInfo) {
    let signal = info.signal();
    if signal == 0 {
        return;
    }
    on_sending(uc, process, signal);
    let effect = has_effect(process, signal);
    {
        let mut threads = process.threads.borrow_mut();
        let free = threads
            .iter_mut()
            .find(|t| t.mask & bit(signal) == 0 && !t.doomed);
        match free {
            Some(thread) if effect => post(thread, info),
            Some(_) => {}
            None => {
                let state = &mut *process.state.borrow_mut();
                queue(&mut state.pending, &mut state.queued, info);
                // Somebody may wait for it with `sigtimedwait`, or in a call whose mask is about to end.
                for thread in threads.iter() {
                    if thread.waiting.is_some() {
                        thread.wake();
                    }
                }
            }
        }
    }
    uc.objects.borrow_mut().signal_arrived();
}

/// What tells a parent of a child's end.
#[must_use]
pub fn child_info(zombie: &Zombie) -> SigInfo {
    // CLD_EXITED, CLD_KILLED
    let (code, status) = match zombie.exit {
        Exit::Status(status) => (1, status),
        Exit::Signal(signal) => (2, signal),
    };
    about_child(zombie.exit_signal, code, zombie.pid, status, zombie.ran)
}

/// A `siginfo_t` about a child.
#[must_use]
pub fn about_child(signal: u8, code: i32, pid: u32, status: u8, ran: u64) -> SigInfo {
    let mut info = SigInfo::sent(signal, code, pid);
    info.0[24..28].copy_from_slice(&u32::from(status).to_le_bytes());
    // si_utime, in clock ticks.
    info.0[32..40].copy_from_slice(&(ran / 10_000_000).to_le_bytes());
    info
}

/// Whether a parent wants to be asked for its children before they go for good.
#[must_use]
pub fn wants_zombies(parent: &Process, exit_signal: u8) -> bool {
    if exit_signal != SIGCHLD {
        return true;
    }
    let action = parent
        .state
        .borrow()
        .actions
        .get(SIGCHLD)
        .unwrap_or_default();
    action.handler != 1 && action.flags & SA_NOCLDWAIT == 0
}

/// Tells a parent that a signal has stopped its child, or that the child goes on.
pub fn tell_of_stop(uc: &Uc, parent: &Process, pid: u32, stopped: Option<u8>) {
    let action = parent
        .state
        .borrow()
        .actions
        .get(SIGCHLD)
        .unwrap_or_default();
    if action.flags & SA_NOCLDSTOP == 0 {
        // CLD_STOPPED, CLD_CONTINUED
        let code = if stopped.is_some() { 5 } else { 6 };
        let status = stopped.unwrap_or(SIGCONT);
        send_process(uc, parent, about_child(SIGCHLD, code, pid, status, 0));
    }
}

/// A timer of a process has come due.
pub fn timer_due(uc: &Uc, process: &Process, due: Due) {
    let info = |signal| {
        let Some((timer, value)) = due.posix else {
            return SigInfo::new(signal, SI_KERNEL);
        };
        let mut info = SigInfo::new(signal, SI_TIMER);
        info.0[16..20].copy_from_slice(&(timer as u32).to_le_bytes());
        info.0[24..32].copy_from_slice(&value.to_le_bytes());
        info
    };
    match due.notify {
        Notify::Nothing => {}
        Notify::Process(signal) => send_process(uc, process, info(signal)),
        Notify::Thread(signal, tid) => drop(send_thread(uc, process, tid, info(signal))),
    }
}

/// Sends what is due by a process's use of the processor: timers of it, and what `RLIMIT_CPU` asks for.
#[cold]
pub fn processor_time(uc: &Uc, process: &Process) {
    let ran = process.ran();
    let due = {
        let mut state = process.state.borrow_mut();
        state.timers.expire(Clock::Processor, ran)
    };
    for due in due {
        timer_due(uc, process, due);
    }
    let seconds = ran / 1_000_000_000;
    let (soft, hard, warned) = {
        let state = process.state.borrow();
        let (soft, hard) = state.limits[limit::CPU];
        (soft, hard, state.cpu_warned)
    };
    if seconds >= hard {
        send_process(uc, process, SigInfo::new(SIGKILL, SI_KERNEL));
    } else if seconds >= soft && seconds > warned {
        process.state.borrow_mut().cpu_warned = seconds;
        send_process(uc, process, SigInfo::new(SIGXCPU, SI_KERNEL));
    }
}

/// Moves signals of the process to a thread that has just unblocked them.
pub fn take_process_signals(process: &Process, index: usize) {
    let mask = process.threads.borrow().get(index).map(|t| t.mask);
    take_process_signals_of(process, index, !mask.unwrap_or(!0));
}

/// As [`take_process_signals`], of a set whether blocked or not.
pub fn take_process_signals_of(process: &Process, index: usize, set: u64) {
    let mut threads = process.threads.borrow_mut();
    let mut state = process.state.borrow_mut();
    if state.pending & set == 0 {
        return;
    }
    if let Some(thread) = threads.get_mut(index) {
        thread.pending |= state.pending & set;
        state.pending &= !set;
        let (ours, rest) = empty(&mut state.queued)
            .into_iter()
            .partition(|q| bit(q.signal()) & set != 0);
        state.queued = rest;
        let ours: alloc::vec::Vec<SigInfo> = ours;
        thread.queued.extend(ours);
    }
}

/// Takes a signal of a set that is pending for the process.
pub fn take_of_process(state: &mut State, set: u64) -> Option<SigInfo> {
    let found = state.pending & set;
    let signal = found.trailing_zeros() as u8 + 1;
    (found != 0).then(|| unqueue(&mut state.pending, &mut state.queued, signal))
}

/// Takes a pending signal of a set.
pub fn take(thread: &mut Thread, set: u64) -> Option<SigInfo> {
    let found = thread.pending & set;
    let signal = found.trailing_zeros() as u8 + 1;
    (found != 0).then(|| unqueue(&mut thread.pending, &mut thread.queued, signal))
}

/// `rt_sigreturn` with a frame that cannot be: the process ends.
pub fn bad_frame(uc: &Rc<Uc>, process: &Rc<Process>, index: usize) {
    let info = Info {
        code: SI_KERNEL,
        address: 0,
        vector: 13,
        error: 0,
    };
    report::crash(
        uc,
        process,
        index,
        "rt_sigreturn with a damaged frame",
        &info,
    );
    uc.end_process(process, Exit::Signal(SIGSEGV));
}

/// Whether a system call that a signal interrupts is made again after the handler (signal(7)).
pub fn restarts(process: &Process, index: usize, number: u64) -> bool {
    const SA_RESTART: u64 = 0x1000_0000;
    // read, write, readv, writev, ioctl, connect, accept, sendto, recvfrom, sendmsg, recvmsg, open, flock, wait4, fcntl,
    // futex, waitid, openat, accept4, preadv, pwritev, recvmmsg, sendmmsg, getrandom
    let restartable = [
        0, 1, 19, 20, 16, 42, 43, 44, 45, 46, 47, 2, 73, 61, 72, 202, 247, 257, 288, 295, 296, 299,
        307, 318,
    ];
    let threads = process.threads.borrow();
    let Some(thread) = threads.get(index) else {
        return false;
    };
    let due = thread.pending & !thread.mask;
    let state = process.state.borrow();
    let mut actions = (1..=64u8)
        .filter(|s| due & bit(*s) != 0)
        .filter_map(|s| state.actions.get(s));
    let again = restartable.contains(&number)
        || thread.waiting.as_ref().is_none_or(|w| w.deadline.is_none());
    restartable.contains(&number)
        && again
        && actions.all(|a| a.handler <= 1 || a.flags & SA_RESTART != 0)
}

/// Whether a signal waits for the thread that it does not block and that does something.
#[inline]
pub fn is_due(process: &Process, index: usize) -> bool {
    let threads = process.threads.borrow();
    let Some(thread) = threads.get(index) else {
        return false;
    };
    thread.pending & !thread.mask != 0
}

/// Whether a signal does nothing when the program asked for nothing.
fn is_ignored(signal: u8) -> bool {
    matches!(signal, SIGCHLD | SIGCONT | SIGURG | SIGWINCH)
}

/// Whether a signal that becomes pending will have any effect.
fn has_effect(process: &Process, signal: u8) -> bool {
    let state = process.state.borrow();
    match state.actions.get(signal).map(|a| a.handler) {
        // Nobody could let the first process go on.
        Some(0) if STOPS & bit(signal) != 0 => state.parent != 0,
        Some(0) => !is_ignored(signal),
        Some(1) => false,
        _ => true,
    }
}

/// Whether [`deliver`] has anything to do.
#[inline]
pub fn has_work(thread: &Thread) -> bool {
    thread.pending & !thread.mask != 0 || thread.saved_mask.is_some()
}

/// Takes the thread's pending signals that it does not block, and does what they are to do.
#[cold]
pub fn deliver(uc: &Rc<Uc>, process: &Rc<Process>, memory: &Memory, index: usize) {
    deliver_due(uc, process, memory, index);
    let saved = {
        let mut threads = process.threads.borrow_mut();
        let thread = threads.get_mut(index);
        thread.and_then(|t| t.saved_mask.take().map(|mask| t.mask = mask))
    };
    if saved.is_some() {
        // No handler has run; what the call blocked may be due now.
        deliver_due(uc, process, memory, index);
    }
}

fn deliver_due(uc: &Rc<Uc>, process: &Rc<Process>, memory: &Memory, index: usize) {
    while is_due(process, index) {
        let info = {
            let mut threads = process.threads.borrow_mut();
            let Some(thread) = threads.get_mut(index) else {
                return;
            };
            // What ends the program comes first.
            let due = thread.pending & !thread.mask;
            let first = if due & bit(SIGKILL) != 0 {
                bit(SIGKILL)
            } else {
                due
            };
            match take(thread, first) {
                Some(info) => info,
                None => return,
            }
        };
        let signal = info.signal();
        let action = process
            .state
            .borrow()
            .actions
            .get(signal)
            .unwrap_or_default();
        match action.handler {
            1 => {}
            0 if is_ignored(signal) => {}
            0 if STOPS & bit(signal) != 0 => {
                uc.stop_process(process, Some(signal));
                return;
            }
            0 => uc.end_process(process, Exit::Signal(signal)),
            _ => {
                if frame::push(process, memory, index, signal, &action, &info, None).is_err() {
                    let info = Info {
                        code: SI_KERNEL,
                        address: 0,
                        vector: 14,
                        error: 6,
                    };
                    report::crash(
                        uc,
                        process,
                        index,
                        "a signal for which its stack has no room",
                        &info,
                    );
                    uc.end_process(process, Exit::Signal(SIGSEGV));
                }
            }
        }
        if process.exit.get().is_some() {
            return;
        }
    }
}

pub use frame::restore;
