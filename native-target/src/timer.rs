//! A core's timer: the TSC deadline or the local APIC's countdown, set to nanoseconds of the clock.
//!
//! What must hold: `CpuBlock::armed_ns` is what the timer is set to, 0 for nothing; only the core itself sets its timer.

use crate::cpu::CpuBlock;
use crate::{apic, clock};
use core::sync::atomic::Ordering;

/// Sets this core's timer; false if the deadline has passed.
pub fn arm(block: &CpuBlock, deadline_ns: Option<u64>) -> bool {
    let armed = block.armed_ns.load(Ordering::Relaxed);
    let Some(deadline_ns) = deadline_ns else {
        if armed != 0 {
            disarm(block);
        }
        return true;
    };
    if armed == deadline_ns {
        return true;
    }
    if apic::has_deadline_timer() {
        let at = clock::tsc_at(deadline_ns);
        if at <= clock::tsc() {
            return false;
        }
        apic::set_deadline(at);
    } else {
        let now_ns = clock::now_ns();
        if deadline_ns <= now_ns {
            return false;
        }
        // A countdown longer than the register holds is cut: the core wakes and comes back here.
        apic::set_countdown(clock::apic_ticks(deadline_ns - now_ns));
    }
    block.armed_ns.store(deadline_ns, Ordering::Relaxed);
    true
}

/// Sets this core's timer to `deadline_ns` unless it fires earlier anyway. A deadline that has passed fires at once: whoever
/// enters a guest has nothing else that brings it back, so no amount of time lost on the way here may leave the timer off.
pub fn arm_earlier(block: &CpuBlock, deadline_ns: u64) {
    let armed = block.armed_ns.load(Ordering::Relaxed);
    if armed != 0 && armed <= deadline_ns {
        return;
    }
    if apic::has_deadline_timer() {
        // One in the past fires at once (SDM volume 3, 11.5.4.1); 0 would disarm.
        apic::set_deadline(clock::tsc_at(deadline_ns).max(1));
    } else {
        let left_ns = deadline_ns.saturating_sub(clock::now_ns());
        apic::set_countdown(clock::apic_ticks(left_ns));
    }
    block.armed_ns.store(deadline_ns, Ordering::Relaxed);
}

fn disarm(block: &CpuBlock) {
    if apic::has_deadline_timer() {
        apic::set_deadline(0);
    } else {
        apic::set_countdown(0);
    }
    block.armed_ns.store(0, Ordering::Relaxed);
}
