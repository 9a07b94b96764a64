//! A core: one event loop and all that only it touches.
//!
//! Invariant: [`Core::local`] is touched only by the thread (hosted) or CPU (native) that runs the
//! core, between [`enter`] and the end of its loop. [`Core::current`] is the only way to reach it,
//! and gives it out only there.

use core::{
    cell::{Cell, OnceCell, RefCell},
    fmt, ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::{
    EbbRef,
    event::{Local as Events, Stats, TaskPtr},
    machine::Machine,
    model::{Constructing, DynamicTable},
    platform::{Cores, Unwind},
    sync::{
        doorbell::{Doorbell, Rung},
        epoch,
        inbox::Inbox,
    },
    time::Timers,
};

/// The number of a core: 0 up to one less than [`core_count`](crate::core_count).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub(crate) u32);

impl CoreId {
    /// The core of that number. Using one that the machine does not have is an error where it is
    /// used.
    #[must_use]
    pub const fn new(number: usize) -> Self {
        // A number beyond `u32` is not that of another core.
        Self(if number > u32::MAX as usize {
            u32::MAX
        } else {
            number as u32
        })
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "core {}", self.0)
    }
}

/// Where a core is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    Stopping,
}

/// One core of a machine. Lives as long as the program.
#[repr(align(128))]
pub(crate) struct Core {
    pub id: CoreId,
    pub machine: &'static Machine,
    /// The platform's name for this core.
    pub token: usize,
    /// Tasks that other cores have woken.
    pub inbox: Inbox<crate::event::Header>,
    /// To be rung after a push into the inbox that said so.
    pub doorbell: Doorbell,
    /// How many asked for the inbox to be swept since the one who sweeps last looked.
    sweeps: AtomicUsize,
    /// Written by this core, read by all.
    pub stats: Stats,
    pub local: Local,
}

/// What only the core itself touches.
pub(crate) struct Local {
    pub phase: Cell<Phase>,
    pub events: Events,
    pub timers: Timers,
    /// Representatives under construction, innermost first.
    pub constructing: Cell<*const Constructing>,
    pub dynamic: RefCell<DynamicTable>,
    /// There while the event loop runs.
    pub quiesce: OnceCell<epoch::Core>,
}

// SAFETY: everything outside `local` is Sync by itself; `local` is touched by one thread only (see
// the module's invariant).
unsafe impl Sync for Core {}
// SAFETY: as above; a core that has not been entered has no thread affinity yet.
unsafe impl Send for Core {}

impl Core {
    pub fn new(id: CoreId, machine: &'static Machine, token: usize) -> Self {
        Self {
            id,
            machine,
            token,
            inbox: Inbox::new(),
            doorbell: Doorbell::new(),
            sweeps: AtomicUsize::new(0),
            stats: Stats::default(),
            local: Local {
                phase: Cell::new(Phase::Running),
                events: Events::default(),
                timers: Timers::new(0),
                constructing: Cell::new(ptr::null()),
                dynamic: RefCell::default(),
                quiesce: OnceCell::new(),
            },
        }
    }

    /// The core that this code runs on.
    #[inline(always)]
    pub fn try_current() -> Option<&'static Core> {
        // SAFETY: the slot is null or was set by `enter` to a core that lives as long as the program.
        unsafe { slot().as_ref() }
    }

    /// The core that this code runs on. Panics on a thread that is not a core.
    #[inline]
    #[track_caller]
    pub fn current() -> &'static Core {
        match Self::try_current() {
            Some(core) => core,
            None => off_core(),
        }
    }

    /// True when this code runs on this core.
    #[inline(always)]
    pub fn is_current(&self) -> bool {
        ptr::eq(slot(), self)
    }

    /// Tells the core of a push into its inbox.
    #[inline]
    pub fn nudge(&self) {
        match self.doorbell.ring() {
            Rung::Awake => {}
            Rung::Asleep => EbbRef::<dyn Cores>::get().wake(self.token),
            Rung::Shut => self.sweep(),
        }
    }

    /// The core's loop has ended and will not look into its inbox any more.
    pub fn shut(&self) {
        self.doorbell.shut();
        self.sweep();
    }

    /// Gives up what is in the inbox of a core that is shut: handles on tasks that will never run
    /// learn so. Does not wait: whoever finds a sweep under way leaves the rest to it.
    #[cold]
    fn sweep(&self) {
        if self.sweeps.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        loop {
            let asked = self.sweeps.load(Ordering::Acquire);
            let swept = EbbRef::<dyn Unwind>::get().catch(&mut || {
                // SAFETY: the core is shut, and one thread at a time sweeps: this is the consumer.
                for header in unsafe { self.inbox.drain() } {
                    // SAFETY: the inbox gave it out to this sweep.
                    unsafe { TaskPtr::abandon(header) };
                }
            });
            // After a panic in a destructor there may be more.
            if swept.is_ok()
                && self
                    .sweeps
                    .compare_exchange(asked, 0, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
            {
                return;
            }
        }
    }
}

#[cold]
#[track_caller]
fn off_core() -> ! {
    panic!(
        "this thread is not a core, so it has no event loop and no Ebbs; run this code as an event \
         (spawn it on a core)"
    )
}

crate::__slot!(define "__ebb_current_core");

#[inline(always)]
fn slot() -> *const Core {
    // SAFETY: reads this thread's slot.
    unsafe { crate::__slot!(load "__ebb_current_core", readonly) }
}

/// Makes the calling thread this core.
///
/// # Safety
/// No other thread is or becomes this core.
pub(crate) unsafe fn enter(core: &'static Core) {
    assert!(slot().is_null(), "this thread is a core already");
    // SAFETY: writes this thread's slot.
    unsafe { crate::__slot!(store "__ebb_current_core", ptr::from_ref(core)) };
}

/// Makes the calling thread no core any more.
pub(crate) fn leave() {
    // SAFETY: writes this thread's slot.
    unsafe { crate::__slot!(store "__ebb_current_core", ptr::null::<Core>()) };
}

/// The core that this code runs on.
///
/// # Panics
/// On a thread that is not a core; see [`try_current_core`].
#[inline]
#[must_use]
#[track_caller]
pub fn current_core() -> CoreId {
    Core::current().id
}

/// The core that this code runs on, if it runs on one.
#[inline]
#[must_use]
pub fn try_current_core() -> Option<CoreId> {
    Core::try_current().map(|core| core.id)
}

/// How many cores this machine has.
///
/// # Panics
/// On a thread that is not a core.
#[inline]
#[must_use]
#[track_caller]
pub fn core_count() -> usize {
    Core::current().machine.cores().len()
}

/// Every core of this machine.
///
/// # Panics
/// On a thread that is not a core.
#[track_caller]
pub fn cores() -> impl ExactSizeIterator<Item = CoreId> {
    (0..core_count()).map(CoreId::new)
}
