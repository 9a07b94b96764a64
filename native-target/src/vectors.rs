//! What each interrupt vector is for, and which of a core's are taken by devices.

use crate::cpu::{CpuBlock, Handler};

/// First vector free for devices; the last is [`LAST_DEVICE`].
pub const FIRST_DEVICE: u8 = 0x30;
/// Last vector free for devices.
pub const LAST_DEVICE: u8 = 0xef;
/// Vector of the local APIC's timer.
pub const TIMER: u8 = 0xf0;
/// Vector by which one core wakes another.
pub const WAKE: u8 = 0xf1;
/// Vector of the local APIC's error report.
pub const APIC_ERROR: u8 = 0xfe;
/// Vector of spurious interrupts; not acknowledged.
pub const SPURIOUS: u8 = 0xff;

/// Allocates a vector on a core.
pub fn bind(block: &CpuBlock, handler: fn(usize), argument: usize) -> Option<u8> {
    let mut handler = Some(Handler(handler, argument));
    for (slot, vector) in block.handlers.iter().zip(FIRST_DEVICE..=LAST_DEVICE) {
        let mut ours = false;
        slot.handler.call_once(|| {
            ours = true;
            handler.take().expect("taken once")
        });
        if ours {
            return Some(vector);
        }
    }
    None
}
