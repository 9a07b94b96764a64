//! The page by which a guest tells the time without a call.

use core::sync::atomic::AtomicU64;

/// How a guest tells the time by itself: nanoseconds = `base_ns` + (ticks - `base_tsc`) * `scale` / 2^32, where the ticks
/// are the TSC's; nothing else is on its page. Read under the sequence lock: `sequence` is odd while the line changes.
#[repr(C, align(4096))]
#[allow(missing_docs)]
pub struct ClockPage {
    pub sequence: AtomicU64,
    pub base_tsc: AtomicU64,
    pub base_ns: AtomicU64,
    pub scale: AtomicU64,
    /// What makes nanoseconds since 1970 of them.
    pub wall: AtomicU64,
}

impl ClockPage {
    /// All zero.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "for statics")]
    pub const fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            base_tsc: AtomicU64::new(0),
            base_ns: AtomicU64::new(0),
            scale: AtomicU64::new(0),
            wall: AtomicU64::new(0),
        }
    }
}
