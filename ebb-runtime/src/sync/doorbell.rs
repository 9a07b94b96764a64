//! Whether a core has to be woken for what was put into its inbox, and whether it still takes anything.
//!
//! The core says that it is about to sleep, then looks into the inbox once more; a producer pushes, then checks whether the
//! core sleeps. Each puts a sequentially consistent fence between its two steps, so one of the two sees the other: no
//! push is slept over, and a push to a running core costs a load. Of several producers one wakes the core. Shutting is
//! the same game: a push either comes before the core's last look, or finds the bell shut.
//!
//! Checked by loom together with the inbox (`tests/loom_sync.rs`).

use super::atomic::{AtomicU32, Ordering, const_fn, fence};

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
const SHUT: u32 = 2;

/// What [`Doorbell::ring`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Rung {
    /// The core will look into its inbox, or somebody else wakes it.
    Awake,
    /// The caller has to wake the core.
    Asleep,
    /// The core will never look again. All that it did has happened.
    Shut,
}

/// See the module.
pub(crate) struct Doorbell {
    state: AtomicU32,
}

impl Doorbell {
    const_fn! {
        /// Of a core that is awake.
        pub fn new() -> Self {
            Doorbell { state: AtomicU32::new(AWAKE) }
        }
    }

    /// By a producer, after a push into the inbox that said that the consumer has to be told.
    #[inline]
    pub fn ring(&self) -> Rung {
        fence(Ordering::SeqCst);
        let mut state = self.state.load(Ordering::Acquire);
        if state == ASLEEP {
            let taken =
                self.state
                    .compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Acquire);
            match taken {
                Ok(_) => return Rung::Asleep,
                Err(now) => state = now,
            }
        }
        if state == SHUT {
            Rung::Shut
        } else {
            Rung::Awake
        }
    }

    /// By the core, before its last look into the inbox; it may sleep if it finds nothing there.
    #[inline]
    pub fn about_to_sleep(&self) {
        self.state.store(ASLEEP, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// By the core, when it has slept or thought better of it.
    #[inline]
    pub fn awake(&self) {
        self.state.store(AWAKE, Ordering::Relaxed);
    }

    /// Whether the core has ended.
    pub fn is_shut(&self) -> bool {
        self.state.load(Ordering::Acquire) == SHUT
    }

    /// By the core, before it empties the inbox for the last time.
    pub fn shut(&self) {
        self.state.store(SHUT, Ordering::Release);
        fence(Ordering::SeqCst);
    }
}
