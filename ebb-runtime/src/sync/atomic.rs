//! Atomics as the rest of [`crate::sync`](super) sees them: `core`'s, or loom's in a loom test.
//!
//! A loom test includes the sources of this folder by path (`tests/loom_sync.rs`), so only that test, and never the
//! library itself, is built against loom.

#[cfg(not(all(loom, test)))]
#[allow(unused_imports)]
pub(crate) use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(all(loom, test))]
#[allow(unused_imports)]
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

/// Declares a function `const` except under loom, whose atomics cannot be made in a constant.
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => {
        #[cfg(not(all(loom, test)))]
        $(#[$meta])* $vis const fn $($rest)*
        #[cfg(all(loom, test))]
        $(#[$meta])* $vis fn $($rest)*
    };
}
pub(crate) use const_fn;
