//! Work for a core that has nothing else to do: zeroing frames, flushing counters, polling a device.

use alloc::{boxed::Box, rc::Rc, vec::Vec};
use core::cell::{Cell, RefCell};

use crate::per_core::{Part, part};

type Work = Box<dyn FnMut() -> bool>;

struct Registrant {
    /// Taken out while it runs, so that it may register and deregister.
    work: RefCell<Option<Work>>,
    gone: Cell<bool>,
}

/// A core's idle work, called in turn.
#[derive(Default)]
pub(crate) struct IdleList {
    registrants: RefCell<Vec<Rc<Registrant>>>,
    next: Cell<usize>,
}

part!("__ebb_idle", IdleList);

impl IdleList {
    /// Whether nobody is registered.
    pub fn is_empty(&self) -> bool {
        self.registrants.borrow().is_empty()
    }

    /// One call of each registrant until one has more to do. False when none has.
    #[inline]
    pub fn run(&self) -> bool {
        if self.registrants.borrow().is_empty() {
            return false;
        }
        self.run_some()
    }

    fn run_some(&self) -> bool {
        let count = self.registrants.borrow().len();
        for _ in 0..count {
            let registrant = {
                let registrants = self.registrants.borrow();
                if registrants.is_empty() {
                    return false;
                }
                let at = self.next.get() % registrants.len();
                self.next.set(at + 1);
                Rc::clone(&registrants[at])
            };
            let Some(mut work) = registrant.work.take() else {
                continue;
            };
            let more = work();
            if registrant.gone.get() {
                drop(work);
            } else {
                registrant.work.replace(Some(work));
            }
            if more {
                return true;
            }
        }
        false
    }

    pub fn clear(&self) {
        let all = self.registrants.take();
        drop(all);
    }
}

/// Registers work for this core's idle time. Several may be registered; they are called in turn,
/// once each time that the core has no event to run. `work` does a little (tens of microseconds)
/// and returns whether there is more; when nobody has more the core sleeps, and everybody is asked
/// again when it next runs out of events. Dropping the handle ends it.
///
/// A panic in idle work, where unwinding exists, ends that registration only.
///
/// # Panics
/// On a thread that is not a core.
#[must_use = "dropping the handle ends the idle work"]
pub fn idle(work: impl FnMut() -> bool + 'static) -> IdleWork {
    let registrant = Rc::new(Registrant {
        work: RefCell::new(Some(Box::new(work))),
        gone: Cell::new(false),
    });
    IdleList::current()
        .registrants
        .borrow_mut()
        .push(Rc::clone(&registrant));
    IdleWork { registrant }
}

/// Keeps a registration of [`idle`] work.
pub struct IdleWork {
    registrant: Rc<Registrant>,
}

impl Drop for IdleWork {
    fn drop(&mut self) {
        self.registrant.gone.set(true);
        let work = self.registrant.work.take();
        drop(work);
        if let Some(list) = IdleList::try_current() {
            list.registrants
                .borrow_mut()
                .retain(|r| !Rc::ptr_eq(r, &self.registrant));
        }
    }
}

impl core::fmt::Debug for IdleWork {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("IdleWork")
    }
}
