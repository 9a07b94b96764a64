//! Each core's thread-local storage: variant II of the ELF TLS ABI, reached by FS.
//!
//! What must hold: the thread pointer is aligned as the image's PT_TLS segment asks and `fs:0`
//! holds the pointer itself; the variables lie below it, the template first.

use crate::{memory_map, paging::linear};

unsafe extern "C" {
    static __tdata_start: u8;
    static __tdata_size: u8;
    static __tls_size: u8;
    static __tls_align: u8;
}

/// Makes a TLS block from the image's template; returns its thread pointer, or `None` when memory is short.
pub fn new_block() -> Option<u64> {
    // The linker gives these numbers as addresses of symbols.
    let (template, filled) = (&raw const __tdata_start, &raw const __tdata_size as usize);
    let (size, align) = (
        &raw const __tls_size as u64,
        (&raw const __tls_align as u64).max(16),
    );
    let below = size.next_multiple_of(align);
    // The control block above the pointer: its self pointer, and room to keep glibc's layout free.
    let frames = (below + align + 64).div_ceil(memory_map::FRAME);
    let start = linear(memory_map::take_frames(frames)?) as u64;
    let pointer = (start + below).next_multiple_of(align);
    // SAFETY: the frames are ours; `below` bytes lie under the pointer and 64 above, inside them.
    unsafe {
        (start as *mut u8).write_bytes(0, (frames * memory_map::FRAME) as usize);
        ((pointer - below) as *mut u8).copy_from_nonoverlapping(template, filled);
        (pointer as *mut u64).write(pointer);
    }
    Some(pointer)
}
