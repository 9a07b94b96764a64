//! Signals: what they do, which are pending, and how one reaches its thread.
//!
//! What must hold: `SIGKILL` and `SIGSTOP` are never blocked or handled; a mask never has their bits.

use crate::report;
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

/// A thread did something that the CPU refused.
pub fn fault(uc: &Rc<Uc>, index: usize, signal: u8, info: Info) {
    report::crash(uc, index, name(signal), &info);
    uc.end(Exit::Signal(signal));
}

/// Sends a signal to one thread.
pub fn send_thread(uc: &Uc, tid: u32, signal: u8) -> bool {
    let mut threads = uc.threads.borrow_mut();
    let Some(thread) = threads.iter_mut().find(|t| t.tid == tid) else {
        return false;
    };
    if signal != 0 {
        thread.pending |= bit(signal);
        thread.wake();
    }
    true
}

/// Sends a signal to the program: to some thread that does not block it.
pub fn send_process(uc: &Uc, signal: u8) {
    if signal == 0 {
        return;
    }
    let mut threads = uc.threads.borrow_mut();
    match threads.iter_mut().find(|t| t.mask & bit(signal) == 0) {
        Some(thread) => {
            thread.pending |= bit(signal);
            thread.wake();
        }
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

/// Whether a signal waits for the thread that it does not block and that does something.
pub fn is_due(uc: &Uc, index: usize) -> bool {
    let threads = uc.threads.borrow();
    let Some(thread) = threads.get(index) else {
        return false;
    };
    thread.pending & !thread.mask != 0
}

/// Takes the thread's pending signals that it does not block, and does what they are to do.
pub fn deliver(uc: &Rc<Uc>, index: usize) {
    while is_due(uc, index) {
        let mut threads = uc.threads.borrow_mut();
        let Some(thread) = threads.get_mut(index) else {
            return;
        };
        let signal = (thread.pending & !thread.mask).trailing_zeros() as u8 + 1;
        thread.pending &= !bit(signal);
        drop(threads);
        let action = uc.process.borrow().actions.get(signal).unwrap_or_default();
        match action.handler {
            0 if matches!(signal, SIGCHLD | SIGCONT | SIGURG | SIGWINCH | SIGSTOP..=22) => {}
            1 => {}
            0 => uc.end(Exit::Signal(signal)),
            _ => {}
        }
    }
}
