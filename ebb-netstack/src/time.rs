//! Times: nanoseconds of the machine's monotonic clock. Names of times and spans end in `_ns`.

pub const MILLISECOND_NS: u64 = 1_000_000;
pub const SECOND_NS: u64 = 1_000_000_000;
/// A timer that is off.
pub const NEVER_NS: u64 = u64::MAX;
