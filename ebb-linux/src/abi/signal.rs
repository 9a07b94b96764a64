//! Signals: numbers, and what the system calls pass of them, as in `signal(7)` and `sigaction(2)`.

use borsh::{BorshDeserialize, BorshSerialize};

/// The terminal hung up.
pub const SIGHUP: u8 = 1;
/// Interrupt from the keyboard.
pub const SIGINT: u8 = 2;
/// Quit from the keyboard.
pub const SIGQUIT: u8 = 3;
/// An instruction that does not exist.
pub const SIGILL: u8 = 4;
/// A breakpoint or single step.
pub const SIGTRAP: u8 = 5;
/// Memory behind a mapping is not there.
pub const SIGBUS: u8 = 7;
/// Arithmetic that has no result.
pub const SIGFPE: u8 = 8;
/// Ends a process, always.
pub const SIGKILL: u8 = 9;
/// An address that may not be used so.
pub const SIGSEGV: u8 = 11;
/// Writing where no reader is left.
pub const SIGPIPE: u8 = 13;
/// The real-time interval timer.
pub const SIGALRM: u8 = 14;
/// A child ended, stopped or went on.
pub const SIGCHLD: u8 = 17;
/// Lets a stopped process go on.
pub const SIGCONT: u8 = 18;
/// Stops a process, always.
pub const SIGSTOP: u8 = 19;
/// Stops a process from its terminal.
pub const SIGTSTP: u8 = 20;
/// A background process reads from its terminal.
pub const SIGTTIN: u8 = 21;
/// A background process writes to its terminal.
pub const SIGTTOU: u8 = 22;
/// Urgent data.
pub const SIGURG: u8 = 23;
/// The limit of processor time.
pub const SIGXCPU: u8 = 24;
/// The limit of file size.
pub const SIGXFSZ: u8 = 25;
/// A descriptor has become ready.
pub const SIGIO: u8 = 29;
/// The size of the terminal changed.
pub const SIGWINCH: u8 = 28;

/// `SA_NOCLDSTOP`: no `SIGCHLD` when a child stops.
pub const SA_NOCLDSTOP: u64 = 1;
/// `SA_NOCLDWAIT`: children leave nothing to wait for.
pub const SA_NOCLDWAIT: u64 = 2;
/// `SA_RESTART`: calls that the handler interrupts are made again.
pub const SA_RESTART: u64 = 0x1000_0000;

/// Signals that stop a process.
pub const STOPS: u64 = bit(SIGSTOP) | bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU);

/// Signals that cannot be blocked, as a mask.
pub const UNBLOCKABLE: u64 = bit(SIGKILL) | bit(SIGSTOP);

/// A signal's bit in a mask.
pub const fn bit(signal: u8) -> u64 {
    1 << (signal - 1)
}

/// Whether a signal does nothing when the program asked for nothing.
pub const fn is_ignored_by_default(signal: u8) -> bool {
    matches!(signal, SIGCHLD | SIGCONT | SIGURG | SIGWINCH)
}

/// What a program asked for a signal; as in `struct sigaction` of the system call.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
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
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
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
pub struct FaultInfo {
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

/// `siginfo_t`.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct SigInfo(pub [u8; 128]);

/// `si_code` of signals that the kernel sends.
pub const SI_KERNEL: i32 = 0x80;

/// `si_code` of a POSIX timer's signal.
pub const SI_TIMER: i32 = -2;

/// `si_code` of what `kill` sends.
pub const SI_USER: i32 = 0;

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

    /// With the user that sent it.
    #[must_use]
    pub fn by_user(mut self, user: u32) -> Self {
        self.0[20..24].copy_from_slice(&user.to_le_bytes());
        self
    }

    /// Why it was sent (`SI_*`).
    #[must_use]
    pub fn code(&self) -> i32 {
        i32::from_le_bytes([self.0[8], self.0[9], self.0[10], self.0[11]])
    }

    /// The POSIX timer that has sent it.
    #[must_use]
    pub fn timer(&self) -> Option<u32> {
        let number = [self.0[16], self.0[17], self.0[18], self.0[19]];
        (self.code() == SI_TIMER).then_some(u32::from_le_bytes(number))
    }

    /// How often the timer came due without being told.
    pub fn set_overrun(&mut self, times: u64) {
        let times = i32::try_from(times).unwrap_or(i32::MAX);
        self.0[20..24].copy_from_slice(&times.to_le_bytes());
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
    if info.code() == SI_TIMER {
        out[24..32].copy_from_slice(&info.0[16..24]);
    } else {
        out[12..20].copy_from_slice(&info.0[16..24]);
        out[40..44].copy_from_slice(&info.0[24..28]);
    }
    out[44..48].copy_from_slice(&info.0[24..28]);
    out[48..56].copy_from_slice(&info.0[24..32]);
    out
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
