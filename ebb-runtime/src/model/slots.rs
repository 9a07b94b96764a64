//! The slots of one of several cores that a thread is in turns.
//!
//! Invariant: from the first [`Slots::fill`] on, the list has each slot that this core sets, once, with what it set it to: representatives that
//! are never dropped, of the type that the function is for. A slot is null while the thread is no core, so a core finds those of its own
//! list, or null and the miss path.

use alloc::vec::Vec;
use core::{
    cell::{Cell, RefCell},
    ptr,
};

use super::WellKnown;

struct Kept {
    rep: *const (),
    set: unsafe fn(*const ()),
}

/// See the module.
#[derive(Default)]
pub(crate) struct Slots {
    kept: RefCell<Vec<Kept>>,
    /// Others do not pay for it in programs that have both.
    takes_turns: Cell<bool>,
}

/// # Safety
/// As [`WellKnown::set_slot`], or null.
unsafe fn set<T: WellKnown>(rep: *const ()) {
    // SAFETY: the caller's promise.
    unsafe { T::set_slot(rep.cast()) }
}

impl Slots {
    /// The core has set the slot of `T`.
    pub fn keep<T: WellKnown>(&self, rep: &'static T) {
        if !self.takes_turns.get() {
            return;
        }
        self.kept.borrow_mut().push(Kept {
            rep: ptr::from_ref(rep).cast(),
            set: set::<T>,
        });
    }

    /// Sets the slots of the calling thread as this core has set them.
    ///
    /// # Safety
    /// The calling thread is this core from now on, and no other one.
    pub unsafe fn fill(&self) {
        self.takes_turns.set(true);
        for kept in &*self.kept.borrow() {
            // SAFETY: the module's invariant, and the caller's promise.
            unsafe { (kept.set)(kept.rep) }
        }
    }

    /// Empties them.
    pub fn empty(&self) {
        for kept in &*self.kept.borrow() {
            // SAFETY: null stands for nothing that has been built.
            unsafe { (kept.set)(ptr::null()) }
        }
    }
}
