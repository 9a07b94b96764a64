//! So many at once, and no more: what further ones do is their affair.

use core::sync::atomic::{AtomicUsize, Ordering};

/// Places of which each is taken by one at a time.
pub struct Places {
    taken: AtomicUsize,
    all: usize,
}

/// A place, until it is dropped.
pub struct Place<'a>(&'a Places);

impl Places {
    /// So many, all free.
    pub const fn new(all: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            all,
        }
    }

    /// Takes one, if one is free.
    pub fn take(&self) -> Option<Place<'_>> {
        let more = |taken| (taken < self.all).then_some(taken + 1);
        let taken = (self.taken).fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.ok().map(|_| Place(self))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}
