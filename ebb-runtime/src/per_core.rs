//! A core as every layer knows it: its number, and where each layer keeps what only that core touches.
//!
//! A layer owns its part of a core: a type, and a slot of the thread that points to this core's one ([`part!`]). So nothing
//! here knows what the parts are; the event loop, which stands above them all, holds them together.
//!
//! Invariant: a slot is null, or points to the part of the core that this thread (hosted) or CPU (native) runs. Parts live as
//! long as the program. [`Part::current`] is the only way to reach what only the core itself touches.

use core::fmt;

/// The number of a core: 0 up to one less than [`core_count`](crate::core_count).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub(crate) u32);

impl CoreId {
    /// The core of that number. Using one that the machine does not have is an error where it is
    /// used.
    #[must_use]
    pub const fn new(number: usize) -> Self {
        // A number beyond `u32` is not that of another core.
        Self(if number > u32::MAX as usize {
            u32::MAX
        } else {
            number as u32
        })
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "core {}", self.0)
    }
}

/// A layer's part of a core. Implemented by [`part!`].
pub(crate) trait Part: Sized + 'static {
    /// This core's part; null on a thread that is not a core.
    fn slot() -> *const Self;

    /// Makes `part` that of the calling thread; null when it stops being a core.
    ///
    /// # Safety
    /// No other thread is or becomes the core that `part` belongs to.
    unsafe fn set_slot(part: *const Self);

    /// The part of the core that this code runs on.
    #[inline(always)]
    fn try_current() -> Option<&'static Self> {
        // SAFETY: the module's invariant.
        unsafe { Self::slot().as_ref() }
    }

    /// The part of the core that this code runs on. Panics on a thread that is not a core.
    #[inline]
    #[track_caller]
    fn current() -> &'static Self {
        match Self::try_current() {
            Some(part) => part,
            None => off_core(),
        }
    }
}

/// Gives a type its slot, by the slot's symbol.
macro_rules! part {
    ($symbol:literal, $part:ty) => {
        $crate::__slot!(define $symbol);

        impl $crate::per_core::Part for $part {
            #[inline(always)]
            fn slot() -> *const Self {
                // SAFETY: reads this thread's slot.
                unsafe { $crate::__slot!(load $symbol, readonly) }
            }

            unsafe fn set_slot(part: *const Self) {
                // SAFETY: writes this thread's slot.
                unsafe { $crate::__slot!(store $symbol, part) }
            }
        }
    };
}
pub(crate) use part;

#[cold]
#[track_caller]
fn off_core() -> ! {
    panic!(
        "this thread is not a core, so it has no event loop and no Ebbs; run this code as an event \
         (spawn it on a core)"
    )
}

/// Which core this is, and of how many.
pub(crate) struct Seat {
    pub core: CoreId,
    pub core_count: usize,
}

part!("__ebb_current_core", Seat);

/// The core that this code runs on.
///
/// # Panics
/// On a thread that is not a core; see [`try_current_core`].
#[inline]
#[must_use]
#[track_caller]
pub fn current_core() -> CoreId {
    Seat::current().core
}

/// The core that this code runs on, if it runs on one.
#[inline]
#[must_use]
pub fn try_current_core() -> Option<CoreId> {
    Seat::try_current().map(|seat| seat.core)
}

/// How many cores this machine has.
///
/// # Panics
/// On a thread that is not a core.
#[inline]
#[must_use]
#[track_caller]
pub fn core_count() -> usize {
    Seat::current().core_count
}

/// Every core of this machine.
///
/// # Panics
/// On a thread that is not a core.
#[track_caller]
pub fn cores() -> impl ExactSizeIterator<Item = CoreId> {
    (0..core_count()).map(CoreId::new)
}
