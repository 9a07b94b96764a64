//! Bytes that may be in use at once, shared by all cores: bodies that are being received, calls that wait.

use core::cell::Cell;
use core::ops::Deref;
use core::sync::atomic::{AtomicUsize, Ordering};

/// See the module. Whoever needs bytes takes a share and gives it back by dropping it.
#[derive(Debug)]
pub struct Budget {
    most: usize,
    used: AtomicUsize,
}

impl Budget {
    /// A budget of so many bytes.
    pub const fn new(most: usize) -> Self {
        Self {
            most,
            used: AtomicUsize::new(0),
        }
    }

    /// So many bytes of it; `None` when there are not as many left.
    pub fn take(&self, bytes: usize) -> Option<Share<&Self>> {
        let mut share = Share::of(self);
        share.grow(bytes).then_some(share)
    }

    fn add(&self, bytes: usize) -> bool {
        let add = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.most);
        // Nothing else is read or written on the strength of the sum.
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.most.saturating_sub(self.used())
    }
}

/// One core's way to a budget that is asked for a little all the time: it takes and gives back pieces of [`PIECE`] bytes. So up to two
/// of them for each core are not to be had by others.
#[derive(Debug)]
pub struct Reserve {
    budget: &'static Budget,
    /// Bytes taken, and not in use.
    bytes: Cell<usize>,
}

/// Bytes of a piece of a [`Reserve`].
pub const PIECE: usize = 64 << 10;

impl Reserve {
    /// An empty one.
    pub fn new(budget: &'static Budget) -> Self {
        Self {
            budget,
            bytes: Cell::new(0),
        }
    }

    /// Takes so many bytes, which are to be [given back](Self::give). False when there are not as many left.
    #[must_use = "the bytes may not be there"]
    pub fn take(&self, bytes: usize) -> bool {
        let mut here = self.bytes.get();
        if here < bytes {
            let missing = bytes - here;
            let more = missing.saturating_add(PIECE);
            here += match () {
                () if self.budget.add(more) => more,
                () if self.budget.add(missing) => missing,
                () => return false,
            };
        }
        self.bytes.set(here - bytes);
        true
    }

    /// Gives bytes back.
    pub fn give(&self, bytes: usize) {
        let here = self.bytes.get() + bytes;
        let less = if here > 2 * PIECE { here - PIECE } else { 0 };
        if less > 0 {
            self.budget.used.fetch_sub(less, Ordering::Relaxed);
        }
        self.bytes.set(here - less);
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        self.budget
            .used
            .fetch_sub(self.bytes.get(), Ordering::Relaxed);
    }
}

/// A part of a budget, which `B` refers to.
#[derive(Debug)]
pub struct Share<B: Deref<Target = Budget>> {
    budget: B,
    bytes: usize,
}

impl<B: Deref<Target = Budget>> Share<B> {
    /// A share of no bytes.
    pub fn of(budget: B) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Takes so many bytes more; false, and nothing is taken, when there are not as many left.
    #[must_use = "the bytes may not be there"]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let added = self.budget.add(bytes);
        if added {
            self.bytes += bytes;
        }
        added
    }

    /// What it is a part of.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
}

impl<B: Deref<Target = Budget>> Drop for Share<B> {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;

    #[test]
    fn shares_never_exceed_the_budget_and_come_back() {
        let budget = Budget::new(100);
        let first = budget.take(60).unwrap();
        let second = budget.take(40).unwrap();
        assert!(budget.take(1).is_none() && budget.take(usize::MAX).is_none());
        assert!(budget.take(0).is_some());
        drop(first);
        assert_eq!(budget.used(), 40);
        assert!(budget.take(61).is_none());
        drop((budget.take(60).unwrap(), second));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_share_that_cannot_grow_stays_as_it_is() {
        let budget = Arc::new(Budget::new(100));
        let mut share = Share::of(Arc::clone(&budget));
        assert!(share.grow(70) && share.grow(30) && !share.grow(1) && !share.grow(usize::MAX));
        assert_eq!((budget.used(), budget.left()), (100, 0));
        drop(share);
        assert_eq!(budget.left(), 100);
    }

    #[test]
    fn cores_take_pieces_and_all_of_a_budget_but_what_others_reserve() {
        static ALL: Budget = Budget::new(10 * PIECE);
        let cores = [Reserve::new(&ALL), Reserve::new(&ALL)];
        assert!(cores[0].take(100) && ALL.used() == PIECE + 100);
        // What lies ready is taken first.
        assert!(cores[0].take(PIECE) && ALL.used() == PIECE + 100);
        cores[0].give(PIECE + 100);
        assert_eq!(ALL.used(), PIECE + 100);
        assert!(!cores[1].take(9 * PIECE) && cores[1].take(9 * PIECE - 100));
        assert_eq!(ALL.left(), 0);
        cores[1].give(9 * PIECE - 100);
        assert_eq!(ALL.used(), 2 * PIECE + 100);
        drop(cores);
        assert_eq!(ALL.used(), 0);
    }
}
