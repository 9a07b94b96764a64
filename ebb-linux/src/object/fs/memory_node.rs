//! What /sys tells of the one node of memory that there is.

use super::text::{PAGE, Subject, Text};
use alloc::vec::Vec;
use core::fmt::Write;

/// Appends formatted text; appending to a vector cannot fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => { let _ = write!(Text($out), $($arg)*); };
}

pub(crate) fn meminfo(s: &Subject<'_>, out: &mut Vec<u8>) {
    let memory = s.process.memory();
    let (total, free) = (memory.total / 1024, memory.free / 1024);
    for (name, value) in [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemUsed", total - free),
    ] {
        put!(
            out,
            "Node 0 {:<16}{value:>8} kB\n",
            alloc::format!("{name}:")
        );
    }
}

/// Nothing counts how often pages were given out; those that are in use were, all on this node.
pub(crate) fn numastat(s: &Subject<'_>, out: &mut Vec<u8>) {
    let memory = s.process.memory();
    let hits = (memory.total - memory.free) / PAGE;
    for (name, pages) in [
        ("numa_hit", hits),
        ("numa_miss", 0),
        ("numa_foreign", 0),
        ("interleave_hit", 0),
        ("local_node", hits),
        ("other_node", 0),
    ] {
        put!(out, "{name} {pages}\n");
    }
}
