//! A value that every core reads as if it never changed, and that can be replaced (read-copy-update: McKenney and
//! Slingwine, PDCS 1998).
//!
//! What must hold: whoever got the pointer uses it only until the end of its event. [`Rcu::read`] lends the value to a
//! closure, which cannot contain an `await`, so nothing of it outlives the event; replaced values are freed when every core
//! has passed an event boundary (see [`epoch`](super::epoch)).

use alloc::boxed::Box;
use core::marker::PhantomData;

use super::atomic::{AtomicPtr, Ordering};
use super::epoch::{Bound, Quiescence, retire_box};

/// A replaceable value. **Cross-core.** A read is plain loads and a branch; a replacement is one atomic exchange and two
/// allocations.
///
/// It belongs to the cores of the machine that first uses it. Every use panics on a thread that is not a core, or is a
/// core of another machine.
pub struct Rcu<T, Q> {
    current: AtomicPtr<T>,
    bound: Bound,
    _owns: PhantomData<(T, fn() -> Q)>,
}

// SAFETY: as a lock-free `RwLock`: values are read from all cores (`Sync`) and dropped on any (`Send`).
unsafe impl<T: Send + Sync, Q> Sync for Rcu<T, Q> {}
// SAFETY: it owns a `T`.
unsafe impl<T: Send + Sync, Q> Send for Rcu<T, Q> {}

impl<T: Send + Sync + 'static, Q: Quiescence> Rcu<T, Q> {
    /// Holds `value` until it is replaced.
    pub fn new(value: T) -> Self {
        Rcu {
            current: AtomicPtr::new(Box::into_raw(Box::new(value))),
            bound: Bound::new(),
            _owns: PhantomData,
        }
    }

    /// Lends the current value to `f`. Wait-free, without an atomic read-modify-write. A replacement meanwhile does not
    /// change what `f` sees.
    #[inline]
    pub fn read<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        self.bound.check::<Q>();
        // Acquire: the value was written before it was published.
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: this core runs an event of the domain that `bound` has checked; what it found published is freed no
        // sooner than this event's end, and `f` cannot keep the reference longer than its call.
        f(unsafe { &*current })
    }

    /// A copy of the current value.
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.read(T::clone)
    }

    /// Replaces the value. Wait-free. The old one is dropped on this core after every core has passed an event boundary.
    pub fn update(&self, value: T) {
        self.bound.check::<Q>();
        let value = Box::into_raw(Box::new(value));
        // Release: the value goes out with the pointer. Acquire: so did the old one, which is dropped here.
        let old = self.current.swap(value, Ordering::AcqRel);
        // SAFETY: made by `new` or `update`; the exchange has made it unreachable for new readers.
        unsafe { retire_box::<T, Q>(old) };
    }

    /// Replaces the value by what `f` makes of it; no other update gets lost. Lock-free: `f` is called again if another
    /// core has been faster.
    pub fn update_with(&self, mut f: impl FnMut(&T) -> T) {
        self.bound.check::<Q>();
        let mut old = self.current.load(Ordering::Acquire);
        loop {
            // SAFETY: as in `read`. Nor can the address come back as another value's: it is not freed in this event.
            let new = Box::into_raw(Box::new(f(unsafe { &*old })));
            match self
                .current
                .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
            {
                // SAFETY: as in `update`.
                Ok(old) => return unsafe { retire_box::<T, Q>(old) },
                Err(newer) => {
                    // SAFETY: made above, never published.
                    drop(unsafe { Box::from_raw(new) });
                    old = newer;
                }
            }
        }
    }
}

impl<T, Q> Drop for Rcu<T, Q> {
    fn drop(&mut self) {
        // SAFETY: nobody else has the `Rcu`, hence nobody reads the value; replaced ones are not this one's any more.
        drop(unsafe { Box::from_raw(self.current.load(Ordering::Acquire)) });
    }
}

#[cfg(all(test, not(ebb_loom)))]
mod tests {
    extern crate std;

    use std::sync::Arc;

    use super::super::epoch::Domain;
    use super::super::testing::Here;
    use super::*;

    #[test]
    fn a_replaced_value_lives_until_the_event_boundary() {
        let domain = Domain::new(1);
        let _core = Here::enter(&domain, 0);
        let first = Arc::new(1);
        let rcu = Rcu::<_, Here>::new(first.clone());
        rcu.read(|value| {
            rcu.update(Arc::new(2));
            assert_eq!(**value, 1);
        });
        assert_eq!(*rcu.get(), 2);
        assert_eq!(Arc::strong_count(&first), 2);
        Here::drain();
        assert_eq!(Arc::strong_count(&first), 1);
    }

    #[test]
    fn no_update_gets_lost() {
        let domain = Domain::new(2);
        let rcu = Rcu::<u64, Here>::new(0);
        std::thread::scope(|scope| {
            for index in 0..2 {
                let (rcu, domain) = (&rcu, &domain);
                scope.spawn(move || {
                    let _core = Here::enter(domain, index);
                    for _ in 0..20_000 {
                        rcu.update_with(|n| n + 1);
                        Here::boundary();
                    }
                    Here::park_and_drain();
                });
            }
        });
        let _core = Here::enter(&domain, 0);
        assert_eq!(rcu.get(), 40_000);
    }

    #[test]
    #[should_panic = "not a core"]
    fn a_thread_that_is_no_core_cannot_read() {
        Rcu::<u64, Here>::new(0).get();
    }

    #[test]
    #[should_panic = "another machine"]
    fn a_core_of_another_machine_cannot_read() {
        let rcu = Rcu::<u64, Here>::new(0);
        // Both live to the end, so that they have different addresses.
        let (one, other) = (Domain::new(1), Domain::new(1));
        let core = Here::enter(&one, 0);
        rcu.get();
        drop(core);
        let _core = Here::enter(&other, 0);
        rcu.get();
    }
}
