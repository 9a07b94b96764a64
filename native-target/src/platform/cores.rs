//! Sleeping and waking of cores.

use super::Native;
use crate::cpu::{self, CpuBlock};
use crate::interrupts;
use crate::vectors::{self, FIRST_DEVICE, LAST_DEVICE};
use crate::{apic, clock, timer};
use core::sync::atomic::Ordering;
use ebb_runtime::{platform::Cores, provides};

/// The runtime's token for a core: its block.
pub fn token(block: &'static CpuBlock) -> usize {
    core::ptr::from_ref(block) as usize
}

fn block_of(token: usize) -> &'static CpuBlock {
    // SAFETY: tokens are made by `token` from blocks, which live for ever.
    unsafe { &*(token as *const CpuBlock) }
}

#[provides(Cores, instance = &Native)]
impl Cores for Native {
    #[inline]
    fn wake(&self, token: usize) {
        let block = block_of(token);
        if block.notified.swap(1, Ordering::AcqRel) == 0 && !core::ptr::eq(block, cpu::this()) {
            // Pending until the target's next window, if it has none now.
            apic::send(block.apic_id, vectors::WAKE);
        }
    }

    #[inline]
    fn park(&self, token: usize, deadline_ns: Option<u64>) {
        let block = block_of(token);
        if block.id.load(Ordering::Relaxed) == 0 {
            clock::refine();
        }
        if block.notified.load(Ordering::Acquire) != 0 || !timer::arm(block, deadline_ns) {
            interrupts::poll();
        } else {
            ebb_mem::flush_remote();
            interrupts::wait();
        }
        block.notified.store(0, Ordering::Release);
        handle(block);
    }

    #[inline]
    fn poll(&self, token: usize) {
        interrupts::poll();
        handle(block_of(token));
    }
}

/// Sleeps until an interrupt comes or the clock reaches `deadline_ns`; for the time before the core's loop runs.
pub fn sleep_until(block: &CpuBlock, deadline_ns: u64) {
    if timer::arm(block, Some(deadline_ns)) {
        interrupts::wait();
    }
    handle(block);
}

/// Runs the handlers of what came in during a window.
#[inline]
fn handle(block: &CpuBlock) {
    interrupts::drain(|vector| {
        ebb_runtime::instant!("interrupt", vector = vector);
        match vector {
            vectors::TIMER => block.armed_ns.store(0, Ordering::Relaxed),
            FIRST_DEVICE..=LAST_DEVICE => {
                let slot = &block.handlers[usize::from(vector - FIRST_DEVICE)];
                if let Some(handler) = slot.handler.get() {
                    handler.0(handler.1);
                }
            }
            _ => {}
        }
    });
}
