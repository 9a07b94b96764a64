//! Blank copies of the bases, made while the core is idle, so that a cold start need not wait for its copy.
//!
//! Each core has a few of each base that it has made instances of. They have the memory limit of most actions; others get a copy when they ask. A piece of the work
//! takes tens of microseconds, so that a request that comes meanwhile hardly waits.

use alloc::{collections::VecDeque, rc::Rc, sync::Arc};
use core::cell::{Cell, RefCell};

use ebb::{IdleWork, ebb};
use ebb_invoker::instance::{Instance, InstanceLimits};
use ebb_openwhisk::runtimes::Launch;
use hashbrown::HashMap;

use crate::guest::{Frozen, Guest};
use ebb_invoker::room::KEPT_FREE;

/// Blank copies of each core, of one base.
const BLANKS: usize = 4;

/// The blank copies of a core.
#[ebb(per_core)]
#[derive(Default)]
pub struct Stock {
    shelves: RefCell<HashMap<Launch, Rc<Shelf>>>,
}

/// Those of one base, the oldest in front.
#[derive(Default)]
struct Shelf {
    blanks: RefCell<VecDeque<Guest>>,
    filler: RefCell<Option<IdleWork>>,
    /// The newest has pages to fetch.
    unfinished: Cell<bool>,
}

impl Stock {
    /// From now on this core makes blank copies of that base in idle times.
    pub fn keep_filled(&self, launch: &Launch, base: &Arc<Frozen>) {
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelves.entry_ref(launch).or_default();
        let mut filler = shelf.filler.borrow_mut();
        if filler.is_none() {
            let (base, weak) = (Arc::clone(base), Rc::downgrade(shelf));
            *filler = Some(ebb::idle(move || {
                weak.upgrade().is_some_and(|shelf| shelf.fill(&base))
            }));
        }
    }

    /// A copy that may use as much.
    pub fn take(&self, launch: &Launch, limits: InstanceLimits) -> Option<Guest> {
        if limits != InstanceLimits::USUAL {
            return None;
        }
        let shelf = self.shelves.borrow().get(launch).cloned()?;
        shelf.take()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        let shelves = self.shelves.borrow();
        shelves.values().map(|s| s.blanks.borrow().len()).sum()
    }
}

impl Shelf {
    /// A piece of the work; whether there is more.
    fn fill(&self, base: &Frozen) -> bool {
        let mut blanks = self.blanks.borrow_mut();
        if self.unfinished.get() {
            let more = blanks.back_mut().is_some_and(Guest::fetch);
            self.unfinished.set(more);
            return true;
        }
        if ebb_mem::frame::stats().free_for_pages() * 4096 < 2 * KEPT_FREE {
            return false;
        }
        if blanks.len() >= BLANKS {
            // Those of other cores' instances are the same.
            return base.make_spares();
        }
        let Ok(guest) = base.copy_bare(InstanceLimits::USUAL) else {
            return false;
        };
        blanks.push_back(guest);
        self.unfinished.set(true);
        true
    }

    fn take(&self) -> Option<Guest> {
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
}
