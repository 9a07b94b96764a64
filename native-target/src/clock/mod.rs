//! Time: the TSC, how fast it runs, and what day it is.
//!
//! The frequency comes from the hypervisor (CPUID leaf 0x40000010, else kvmclock), from CPUID leaf
//! 0x15, or is measured against the HPET, the ACPI timer or the PIT while the machine comes up,
//! and measured once more over a second later on ([`calibrate`], [`reference`]). What day it is comes from kvmclock
//! ([`kvm`]) or the real-time clock ([`wall`]).
//!
//! What must hold: `now` never goes back on a core: parameters change under a sequence lock and
//! each change joins the old line. Every core's TSC reads the same (invariant TSC, which
//! hypervisors with more than one core give).

mod calibrate;
mod frequency_source;
mod kvm;
mod reference;

mod wall;

pub use calibrate::{begin, refine, source};
pub use frequency_source::Source;
pub use wall::{set_launched, unix_time_ns};

use core::arch::x86_64::{_mm_lfence, _rdtsc};
use core::hint::spin_loop;
use core::sync::atomic::{AtomicU64, Ordering, fence};
use ebb_guest::ClockPage;

/// The TSC, read after everything before it.
#[inline]
pub fn tsc() -> u64 {
    // SAFETY: every 64-bit CPU has both.
    unsafe {
        _mm_lfence();
        _rdtsc()
    }
}

/// The line from ticks to nanoseconds, alone on its page: guests read it too.
static PAGE: ClockPage = ClockPage::new();
static FREQUENCY_HZ: AtomicU64 = AtomicU64::new(0);

/// TSC ticks per second; 0 before it is known.
pub fn frequency_hz() -> u64 {
    FREQUENCY_HZ.load(Ordering::Relaxed)
}

fn scaled(ticks: u64, scale: u64) -> u64 {
    ((u128::from(ticks) * u128::from(scale)) >> 32) as u64
}

/// The line from ticks to nanoseconds (its origin in both, its slope), and a TSC read while it held:
/// with an older line the time could be ahead of what the next call says.
#[inline]
fn line() -> (u64, u64, u64, u64) {
    loop {
        let before = PAGE.sequence.load(Ordering::Acquire);
        let base = PAGE.base_tsc.load(Ordering::Relaxed);
        let ns = PAGE.base_ns.load(Ordering::Relaxed);
        let scale = PAGE.scale.load(Ordering::Relaxed);
        let tsc = tsc();
        fence(Ordering::Acquire);
        if before.is_multiple_of(2) && PAGE.sequence.load(Ordering::Relaxed) == before {
            return (base, ns, scale, tsc);
        }
        spin_loop();
    }
}

/// Nanoseconds since the image was entered.
#[inline]
pub fn now_ns() -> u64 {
    let (base, ns, scale, tsc) = line();
    ns + scaled(tsc.saturating_sub(base), scale)
}

/// The TSC's value at `ns` nanoseconds since entry.
pub fn tsc_at(ns: u64) -> u64 {
    let (base, base_ns, ..) = line();
    let frequency = u128::from(frequency_hz());
    let ticks = u128::from(ns.saturating_sub(base_ns)) * frequency / 1_000_000_000;
    base.saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX))
}

/// Ticks of the local APIC's timer per TSC tick, times 2^32.
static APIC_PER_TSC: AtomicU64 = AtomicU64::new(0);

/// How far the local APIC's timer counts in `ns` nanoseconds; at most what its register holds.
pub fn apic_ticks(ns: u64) -> u32 {
    let tsc = u128::from(ns) * u128::from(frequency_hz()) / 1_000_000_000;
    let ticks = tsc.saturating_mul(u128::from(APIC_PER_TSC.load(Ordering::Relaxed))) >> 32;
    // Up by one: early is worse than late. The core comes back for what is cut off.
    u32::try_from(ticks + 1).unwrap_or(u32::MAX)
}

/// Nanoseconds that `ticks` of the TSC last.
pub fn ticks_to_ns(ticks: u64) -> u64 {
    scaled(ticks, PAGE.scale.load(Ordering::Relaxed))
}

fn set_frequency(hz: u64) {
    let scale = ((1_000_000_000u128 << 32) / u128::from(hz)) as u64;
    let old = PAGE.scale.load(Ordering::Relaxed);
    let at = if old == 0 {
        PAGE.base_tsc.load(Ordering::Relaxed)
    } else {
        tsc()
    };
    let ns = PAGE.base_ns.load(Ordering::Relaxed)
        + scaled(at - PAGE.base_tsc.load(Ordering::Relaxed), old);
    let sequence = PAGE.sequence.load(Ordering::Relaxed);
    PAGE.sequence.store(sequence + 1, Ordering::Relaxed);
    fence(Ordering::Release);
    PAGE.base_tsc.store(at, Ordering::Relaxed);
    PAGE.base_ns.store(ns, Ordering::Relaxed);
    PAGE.scale.store(scale, Ordering::Relaxed);
    FREQUENCY_HZ.store(hz, Ordering::Relaxed);
    PAGE.sequence.store(sequence + 2, Ordering::Release);
}

/// The page from which guests tell the time.
pub fn page() -> &'static ClockPage {
    wall::zero_ns();
    &PAGE
}
