//! A value that is built once, whoever races for it.
//!
//! Invariant: `value` is written by the one builder between [`BUILDING`](Claim::Building) and
//! `READY`, and never after, so whoever reads `READY` (acquire) sees the value and all that it
//! points to. The file knows nothing of cores beyond their numbers, so that loom can check it.

use core::ptr;

use crate::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

const EMPTY: u8 = 0;
const READY: u8 = 0xff;

/// One value for all cores.
pub struct BuildCell {
    /// `EMPTY`, `READY`, or one more than the number of the core that builds.
    state: AtomicU8,
    value: AtomicPtr<()>,
}

/// What an attempt at the value found.
pub enum Claim<'a> {
    /// It is there.
    Ready(*mut ()),
    /// The core of this number builds it.
    Building(usize),
    /// The caller is to build it.
    Mine(Builder<'a>),
}

/// The right to build the value. Dropped without [`finish`](Builder::finish), by a constructor's
/// panic, it leaves the cell empty for the next.
pub struct Builder<'a>(&'a BuildCell);

impl BuildCell {
    pub fn new() -> Self {
        Self {
            state: AtomicU8::new(EMPTY),
            value: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Gets the value, or the right to build it. `me` is the calling core's number, below 254.
    pub fn claim(&self, me: usize) -> Claim<'_> {
        let me = me as u8 + 1;
        match self
            .state
            .compare_exchange(EMPTY, me, Ordering::Acquire, Ordering::Acquire)
        {
            Ok(_) => Claim::Mine(Builder(self)),
            Err(READY) => Claim::Ready(self.value.load(Ordering::Relaxed)),
            Err(builder) => Claim::Building(usize::from(builder) - 1),
        }
    }

    /// The core that builds it at the moment, if one does.
    pub fn builder(&self) -> Option<usize> {
        match self.state.load(Ordering::Acquire) {
            EMPTY | READY => None,
            builder => Some(usize::from(builder) - 1),
        }
    }

    /// The value, if it is there.
    pub fn get(&self) -> Option<*mut ()> {
        (self.state.load(Ordering::Acquire) == READY).then(|| self.value.load(Ordering::Relaxed))
    }
}

impl Builder<'_> {
    /// Makes the value known to all.
    pub fn finish(self, value: *mut ()) {
        self.0.value.store(value, Ordering::Relaxed);
        self.0.state.store(READY, Ordering::Release);
        core::mem::forget(self);
    }
}

impl Drop for Builder<'_> {
    fn drop(&mut self) {
        self.0.state.store(EMPTY, Ordering::Release);
    }
}
