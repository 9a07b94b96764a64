//! Signals: what they do, which are pending, and how one reaches its thread.
//!
//! What must hold: `SIGKILL` and `SIGSTOP` are never blocked or handled; a mask never has their bits.

mod frame;

use crate::report;
use crate::thread::Thread;
use crate::uc::{Exit, Uc};
use alloc::rc::Rc;

pub const SIGILL: u8 = 4;
pub const SIGTRAP: u8 = 5;
pub const SIGBUS: u8 = 7;
pub const SIGFPE: u8 = 8;
pub const SIGKILL: u8 = 9;
pub const SIGSEGV: u8 = 11;
pub const SIGPIPE: u8 = 13;
pub const SIGCHLD: u8 = 17;
pub const SIGCONT: u8 = 18;
pub const SIGSTOP: u8 = 19;
pub const SIGURG: u8 = 23;
pub const SIGWINCH: u8 = 28;

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

/// A thread did something that the CPU refused: its handler hears of it, or the program ends with a report.
pub fn fault(uc: &Rc<Uc>, index: usize, signal: u8, info: Info) {
    let action = uc.process.borrow().actions.get(signal).unwrap_or_default();
    let blocked = uc
        .threads
        .borrow()
        .get(index)
        .is_none_or(|t| t.mask & bit(signal) != 0);
    let mut data = SigInfo::new(signal, info.code);
    data.0[16..24].copy_from_slice(&info.address.to_le_bytes());
    if action.handler <= 1
        || blocked
        || frame::push(uc, index, signal, &action, &data, Some(&info)).is_err()
    {
        report::crash(uc, index, name(signal), &info);
        uc.end(Exit::Signal(signal));
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

    /// As `kill` and `tgkill` make it: sent by the program itself.
    #[must_use]
    pub fn sent(signal: u8, code: i32) -> Self {
        let mut info = Self::new(signal, code);
        info.0[16] = 1;
        info
    }

    /// The signal.
    #[must_use]
    pub fn signal(&self) -> u8 {
        self.0[0]
    }
}

fn post(thread: &mut Thread, info: SigInfo) {
    let signal = info.signal();
    if thread.pending & bit(signal) == 0 {
        thread.pending |= bit(signal);
        thread.queued.push(info);
    }
    thread.wake();
}

/// Sends a signal to one thread; false when there is none of that number.
pub fn send_thread(uc: &Uc, tid: u32, info: SigInfo) -> bool {
    let effect = info.signal() != 0 && has_effect(uc, info.signal());
    let mut threads = uc.threads.borrow_mut();
    let Some(thread) = threads.iter_mut().find(|t| t.tid == tid) else {
        return false;
    };
    if info.signal() != 0 && (effect || thread.mask & bit(info.signal()) != 0) {
        post(thread, info);
    }
    true
}

/// Sends a signal to the program: to some thread that does not block it.
pub fn send_process(uc: &Uc, info: SigInfo) {
    let signal = info.signal();
    if signal == 0 {
        return;
    }
    let effect = has_effect(uc, signal);
    let mut threads = uc.threads.borrow_mut();
    match threads.iter_mut().find(|t| t.mask & bit(signal) == 0) {
        Some(thread) if effect => post(thread, info),
        Some(_) => {}
        None => uc.process.borrow_mut().pending |= bit(signal),
    }
}

/// Moves signals of the program to a thread that has just unblocked them.
pub fn take_process_signals(uc: &Uc, index: usize) {
    let mut threads = uc.threads.borrow_mut();
    let mut process = uc.process.borrow_mut();
    if let Some(thread) = threads.get_mut(index) {
        let ours = process.pending & !thread.mask;
        process.pending &= !ours;
        thread.pending |= ours;
    }
}

/// As [`take_process_signals`], of a set whether blocked or not.
pub fn take_process_signals_of(uc: &Uc, index: usize, set: u64) {
    let mut threads = uc.threads.borrow_mut();
    let mut process = uc.process.borrow_mut();
    if let Some(thread) = threads.get_mut(index) {
        thread.pending |= process.pending & set;
        process.pending &= !set;
    }
}

/// Takes a pending signal of a set.
pub fn take(thread: &mut Thread, set: u64) -> Option<SigInfo> {
    let found = thread.pending & set;
    if found == 0 {
        return None;
    }
    let signal = found.trailing_zeros() as u8 + 1;
    thread.pending &= !bit(signal);
    let queued = thread.queued.iter().position(|q| q.signal() == signal);
    Some(queued.map_or(SigInfo::new(signal, SI_KERNEL), |i| thread.queued.remove(i)))
}

/// `rt_sigreturn` with a frame that cannot be: the program ends.
pub fn bad_frame(uc: &Uc, index: usize) {
    let info = Info {
        code: SI_KERNEL,
        address: 0,
        vector: 13,
        error: 0,
    };
    report::crash(uc, index, "rt_sigreturn with a damaged frame", &info);
    uc.end(Exit::Signal(SIGSEGV));
}

/// Whether a system call that a signal interrupts is made again after the handler (signal(7)).
pub fn restarts(uc: &Uc, index: usize, number: u64) -> bool {
    const SA_RESTART: u64 = 0x1000_0000;
    // read, write, readv, writev, ioctl, connect, accept, sendto, recvfrom, sendmsg, recvmsg, open, flock, wait4, futex,
    // waitid, openat, accept4, preadv, pwritev, recvmmsg, sendmmsg, getrandom
    let restartable = [
        0, 1, 19, 20, 16, 42, 43, 44, 45, 46, 47, 2, 73, 61, 202, 247, 257, 288, 295, 296, 299,
        307, 318,
    ];
    let threads = uc.threads.borrow();
    let Some(thread) = threads.get(index) else {
        return false;
    };
    let due = thread.pending & !thread.mask;
    let process = uc.process.borrow();
    let mut actions = (1..=64u8)
        .filter(|s| due & bit(*s) != 0)
        .filter_map(|s| process.actions.get(s));
    let again = restartable.contains(&number)
        || thread.waiting.as_ref().is_none_or(|w| w.deadline.is_none());
    restartable.contains(&number)
        && again
        && actions.all(|a| a.handler <= 1 || a.flags & SA_RESTART != 0)
}

/// Whether a signal waits for the thread that it does not block and that does something.
pub fn is_due(uc: &Uc, index: usize) -> bool {
    let threads = uc.threads.borrow();
    let Some(thread) = threads.get(index) else {
        return false;
    };
    thread.pending & !thread.mask != 0
}

/// What a signal does when the program asked for nothing.
fn is_ignored(signal: u8) -> bool {
    // Stopping and continuing have no meaning without a shell.
    matches!(signal, SIGCHLD | SIGCONT | SIGURG | SIGWINCH | SIGSTOP..=22)
}

/// Whether a signal that becomes pending will have any effect.
fn has_effect(uc: &Uc, signal: u8) -> bool {
    match uc.process.borrow().actions.get(signal).map(|a| a.handler) {
        Some(0) => !is_ignored(signal),
        Some(1) => false,
        _ => true,
    }
}

/// Takes the thread's pending signals that it does not block, and does what they are to do.
#[inline]
pub fn deliver(uc: &Rc<Uc>, index: usize) {
    if is_due(uc, index) {
        deliver_due(uc, index);
    }
}

#[cold]
fn deliver_due(uc: &Rc<Uc>, index: usize) {
    while is_due(uc, index) {
        let (signal, info) = {
            let mut threads = uc.threads.borrow_mut();
            let Some(thread) = threads.get_mut(index) else {
                return;
            };
            let due = thread.pending & !thread.mask;
            // What ends the program comes first.
            let signal = if due & bit(SIGKILL) != 0 {
                SIGKILL
            } else {
                due.trailing_zeros() as u8 + 1
            };
            thread.pending &= !bit(signal);
            let queued = thread.queued.iter().position(|q| q.signal() == signal);
            let info = queued.map_or(SigInfo::new(signal, SI_KERNEL), |i| thread.queued.remove(i));
            (signal, info)
        };
        let action = uc.process.borrow().actions.get(signal).unwrap_or_default();
        match action.handler {
            1 => {}
            0 if is_ignored(signal) => {}
            0 => uc.end(Exit::Signal(signal)),
            _ => {
                if frame::push(uc, index, signal, &action, &info, None).is_err() {
                    let info = Info {
                        code: SI_KERNEL,
                        address: 0,
                        vector: 14,
                        error: 6,
                    };
                    report::crash(uc, index, "a signal for which its stack has no room", &info);
                    uc.end(Exit::Signal(SIGSEGV));
                }
            }
        }
    }
}

pub use frame::restore;
