//! Bytes that may be in use at once, shared by all cores: bodies that are being received, calls that wait.

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
    pub fn take(&self, bytes: usize) -> Option<Share<'_>> {
        let add = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.most);
        // Nothing else is read or written on the strength of the sum.
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .ok()?;
        Some(Share {
            budget: self,
            bytes,
        })
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// A part of a budget.
#[derive(Debug)]
pub struct Share<'b> {
    budget: &'b Budget,
    bytes: usize,
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
