//! Atomics and cells as the rest of [`sync`](super) sees them: `core`'s, or loom's in a loom test.
//!
//! A loom test includes the sources of this folder by path (`tests/loom_sync.rs`), so only that test, and never the
//! library itself, is built against loom. (Not `cfg(loom)`: some dependencies take that as meant for them.)

#![allow(unused_imports)]

#[cfg(not(all(ebb_loom, test)))]
pub(crate) use core::sync::atomic::{
    AtomicBool, AtomicIsize, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
    fence,
};
#[cfg(all(ebb_loom, test))]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::atomic::{
        AtomicBool, AtomicIsize, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
        fence,
    },
};

/// `core`'s cell with loom's interface: loom checks that no two accesses overlap.
#[cfg(not(all(ebb_loom, test)))]
pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(all(ebb_loom, test)))]
#[allow(dead_code)]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        UnsafeCell(core::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Declares a function `const` except under loom, whose atomics cannot be made in a constant.
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => {
        #[cfg(not(all(ebb_loom, test)))]
        $(#[$meta])* $vis const fn $($rest)*
        #[cfg(all(ebb_loom, test))]
        $(#[$meta])* $vis fn $($rest)*
    };
}
pub(crate) use const_fn;
