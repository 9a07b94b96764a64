//! Arguments and options of the kernel command line, and the boot archive.

use super::Native;
use crate::memory_map::{FRAME, Kind, Region};
use crate::{options, paging, start};
use alloc::vec::Vec;
use ebb_runtime::{platform::Environment, provides};
use spin::Once;

#[provides(Environment, default, instance = &Native)]
impl Environment for Native {
    fn arguments(&self) -> &'static [&'static str] {
        static ARGUMENTS: Once<Vec<&'static str>> = Once::new();
        ARGUMENTS.call_once(|| options::arguments(start::handover().command_line()))
    }

    fn option(&self, name: &str) -> Option<&'static str> {
        options::value(start::handover().command_line(), name)
    }

    fn memory_bytes(&self) -> Option<u64> {
        Some(ebb_mem::frame::stats().total * FRAME)
    }

    fn spare_memory_bytes(&self) -> Option<u64> {
        Some(ebb_mem::frame::stats().free_in_large_pages() * FRAME)
    }

    fn archive(&self) -> &'static [u8] {
        let Some(&(start, len)) = start::handover().modules.first() else {
            return &[];
        };
        // A module outside memory is not in the linear map.
        let reachable = start.checked_add(len).is_some_and(|end| {
            let holds = |r: &Region| r.kind == Kind::Usable && r.start <= start && end <= r.end();
            start::handover().map().iter().any(holds)
        });
        if len == 0 || !start.is_multiple_of(FRAME) || !reachable {
            return &[];
        }
        // SAFETY: the loader filled this memory, the linear map has it, and the heap was not given it.
        unsafe { core::slice::from_raw_parts(paging::linear(start).cast(), len as usize) }
    }
}
