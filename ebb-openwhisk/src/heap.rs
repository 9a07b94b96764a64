//! What values take in the heap, for budgets of bytes: about what an allocator gives away for them.

use alloc::string::String;

/// A block for so many bytes: allocators have four sizes between two powers of two, which are multiples of 16.
pub fn block_bytes(bytes: usize) -> usize {
    let Some(largest) = bytes.checked_sub(1) else {
        return 0;
    };
    let step = 1 << largest.checked_ilog2().unwrap_or(0) >> 2;
    bytes.next_multiple_of(if step < 16 { 16 } else { step })
}

/// What an `Arc` of so many bytes takes: its two counters as well.
pub fn shared_bytes(bytes: usize) -> usize {
    block_bytes(2 * size_of::<usize>() + bytes)
}

/// What a text takes, besides its place in whatever has it.
pub fn text_bytes(text: &String) -> usize {
    block_bytes(text.capacity())
}
