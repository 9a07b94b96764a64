//! Blank copies of the base, made while the core is idle, so that a cold start need not wait for its copy.
//!
//! Each core has a few. They have the memory limit of most actions; others get a copy when they ask. A piece of the work
//! takes tens of microseconds, so that a request that comes meanwhile hardly waits.

use alloc::{collections::VecDeque, sync::Arc};
use core::cell::{Cell, RefCell};

use ebb::{EbbRef, IdleWork, ebb};
use ebb_invoker::instance::{Instance, InstanceLimits};

use crate::KEPT_FREE;
use crate::guest::{Frozen, Guest};

/// Blank copies of each core.
const BLANKS: usize = 4;

/// The blank copies of a core, the oldest in front.
#[ebb(per_core)]
#[derive(Default)]
pub struct Stock {
    blanks: RefCell<VecDeque<Guest>>,
    filler: RefCell<Option<IdleWork>>,
    /// The newest has pages to fetch.
    unfinished: Cell<bool>,
}

impl Stock {
    /// From now on this core makes blank copies in idle times.
    pub fn keep_filled(&self, base: &Arc<Frozen>) {
        let mut filler = self.filler.borrow_mut();
        if filler.is_none() {
            let base = Arc::clone(base);
            *filler = Some(ebb::idle(move || EbbRef::<Self>::get().fill(&base)));
        }
    }

    /// A piece of the work; whether there is more.
    fn fill(&self, base: &Frozen) -> bool {
        let mut blanks = self.blanks.borrow_mut();
        if self.unfinished.get() {
            let more = blanks.back_mut().is_some_and(Guest::fetch);
            self.unfinished.set(more);
            return true;
        }
        if blanks.len() >= BLANKS || ebb_mem::frame::stats().free * 4096 < 2 * KEPT_FREE {
            return false;
        }
        let Ok(guest) = base.copy_bare(InstanceLimits::USUAL) else {
            return false;
        };
        blanks.push_back(guest);
        self.unfinished.set(true);
        true
    }

    /// A copy that may use as much.
    pub fn take(&self, limits: InstanceLimits) -> Option<Guest> {
        if limits != InstanceLimits::USUAL {
            return None;
        }
        let mut blanks = self.blanks.borrow_mut();
        while let Some(mut guest) = blanks.pop_front() {
            if blanks.is_empty() && self.unfinished.take() {
                while guest.fetch() {}
            }
            if guest.is_alive() {
                return Some(guest);
            }
        }
        None
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.blanks.borrow().len()
    }
}
