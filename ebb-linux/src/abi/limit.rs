//! `RLIMIT_*`: the numbers of resources in `getrlimit(2)`.

/// Seconds of processor time.
pub const CPU: usize = 0;
/// Bytes of a file.
pub const FSIZE: usize = 1;
/// Bytes of data and heap.
pub const DATA: usize = 2;
/// Bytes of the first thread's stack.
pub const STACK: usize = 3;
/// Bytes of a core file: none is written.
pub const CORE: usize = 4;
/// Processes and threads.
pub const NPROC: usize = 6;
/// One more than the highest descriptor.
pub const NOFILE: usize = 7;
/// Bytes that are kept in memory.
pub const MEMLOCK: usize = 8;
/// Bytes of address space.
pub const AS: usize = 9;
/// Signals that are queued for a user.
pub const SIGPENDING: usize = 11;
/// The most that it may be.
pub const MAX_SIGNALS: u64 = 4096;
/// How far the nice value may be lowered.
pub const NICE: usize = 13;
/// The highest real-time priority.
pub const RTPRIO: usize = 14;
/// Bytes of POSIX message queues.
pub const MSGQUEUE: usize = 12;
