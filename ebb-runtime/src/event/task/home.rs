//! The executor's part of a core: its tasks, and where other cores leave those that they have woken.
//!
//! What must hold: `queue`, `live`, `running` and `closed` are touched by the core itself only, or by whoever sweeps the inbox of
//! a core that is shut. Everything else is for all cores.

use alloc::vec::Vec;
use core::{
    cell::Cell,
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use once_cell::race::OnceBox;

use super::{
    Header, TaskPtr,
    lists::{LiveList, RunQueue},
};
use crate::{
    EbbRef,
    event::counters::Counters,
    per_core::{CoreId, Part, part},
    platform::{Cores, Unwind},
    sync::{
        doorbell::{Doorbell, Rung},
        inbox::Inbox,
    },
};

/// The homes of a machine's cores, by number. Filled in right after they are made: each points here.
pub(crate) type Homes = OnceBox<Vec<&'static Home>>;

/// Where a task lives.
pub(crate) struct Home {
    /// The platform's name for this core.
    pub token: usize,
    /// Tasks that other cores have woken.
    pub inbox: Inbox<Header>,
    /// To be rung after a push into the inbox that said so.
    pub doorbell: Doorbell,
    /// How many asked for the inbox to be swept since the one who sweeps last looked.
    sweeps: AtomicUsize,
    /// Written by this core, read by all.
    pub counters: Counters,
    all: &'static Homes,
    pub(crate) queue: RunQueue,
    pub(crate) live: LiveList,
    /// The task whose event runs.
    pub running: Cell<Option<TaskPtr>>,
    /// No task is accepted any more.
    pub closed: Cell<bool>,
}

part!("__ebb_home", Home);

// SAFETY: the lists and cells are touched by one thread at a time (see above), everything else is `Sync` by itself.
unsafe impl Sync for Home {}
// SAFETY: as above; the home of a core that does not run yet has no thread affinity.
unsafe impl Send for Home {}

impl Home {
    pub fn new(token: usize, all: &'static Homes) -> Self {
        Self {
            token,
            inbox: Inbox::new(),
            doorbell: Doorbell::new(),
            sweeps: AtomicUsize::new(0),
            counters: Counters::default(),
            all,
            queue: RunQueue::default(),
            live: LiveList::default(),
            running: Cell::new(None),
            closed: Cell::new(false),
        }
    }

    /// Those of all cores of this machine, by number.
    pub fn all(&self) -> &'static [&'static Self] {
        self.all.get().map_or(&[], Vec::as_slice)
    }

    /// The core's number, found by looking: for those who have time.
    pub fn number(&self) -> u64 {
        let all = self.all();
        all.iter()
            .position(|home| ptr::eq(*home, self))
            .unwrap_or(all.len()) as u64
    }

    /// That of another core of this machine. Panics when there is none of that number.
    #[track_caller]
    pub fn of(&self, core: CoreId) -> &'static Self {
        let all = self.all();
        match all.get(core.number()) {
            Some(home) => home,
            None => panic!("there is no {core:?}: this machine has {} cores", all.len()),
        }
    }

    /// True when this code runs on this core.
    #[inline(always)]
    pub fn is_current(&self) -> bool {
        ptr::eq(Self::slot(), self)
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
