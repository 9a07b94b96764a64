//! The task that lets timers fire: those of descriptors, and those that send signals.

use crate::signal;
use crate::state::process::Process;
use crate::state::timer::Clock;
use crate::uc::Uc;
use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::time::Duration;
use ebb_runtime::spawn;
use ebb_runtime::time::timeout;

impl Uc {
    /// Timers were set: whoever drives them looks again.
    pub(crate) fn timers_changed(self: &Rc<Self>) {
        if !self.timing.replace(true) {
            drop(spawn(drive_timers(Rc::downgrade(self))));
        }
        self.timers.notify_one();
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
