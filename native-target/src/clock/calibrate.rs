//! How fast the TSC runs: told by the CPU or the hypervisor, or measured.

use super::frequency_source::Source;
use super::reference::{Reference, Sample};
use super::{APIC_PER_TSC, PAGE, frequency_hz, kvm, now_ns, set_frequency, tsc};
use core::arch::x86_64::__cpuid;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;

static SOURCE: Once<Source> = Once::new();

/// Where the frequency was found; `None` before it is known.
pub fn source() -> Option<Source> {
    SOURCE.get().copied()
}

/// Measures the local APIC's timer against the TSC: it counts down from [`begin`] to
/// [`Calibration::finish`].
fn measure_apic(started: u64) -> bool {
    let left = crate::apic::countdown();
    let ticks = tsc() - started;
    crate::apic::set_countdown(0);
    let counted = u64::from(u32::MAX - left);
    if counted == 0 || left == 0 {
        return false;
    }
    APIC_PER_TSC.store(
        ((u128::from(counted) << 32) / u128::from(ticks.max(1))) as u64,
        Ordering::Relaxed,
    );
    true
}

/// A measurement under way, or its result.
pub struct Calibration {
    known: Option<(u64, Source)>,
    reference: Option<Reference>,
    first: Sample,
    /// TSC when the local APIC's timer was started.
    apic_started: Option<u64>,
}

/// The measuring of the frequency goes on over at least this many nanoseconds.
const SHORTEST_NS: u64 = 2_000_000;

/// Sets the zero of [`now_ns`](super::now_ns) and starts finding the frequency. `measure` skips what the CPU and the hypervisor say.
pub fn begin(entry_tsc: u64, measure: bool) -> Calibration {
    PAGE.base_tsc.store(entry_tsc, Ordering::Relaxed);
    let known = if measure { None } else { told() };
    let reference = if known.is_none() {
        Reference::find()
    } else {
        None
    };
    let apic_started = (!crate::apic::has_deadline_timer()).then(|| {
        let at = tsc();
        crate::apic::start_silent_countdown();
        at
    });
    Calibration {
        known,
        reference,
        first: reference.map(Reference::sample).unwrap_or_default(),
        apic_started,
    }
}

impl Calibration {
    /// Ends the measurement; `None` when there is nothing to measure with.
    pub fn finish(self) -> Option<()> {
        let source = self.finish_tsc()?;
        SOURCE.call_once(|| source);
        if let Some(started) = self.apic_started {
            // Against a told frequency there may have been too little time for a good measurement.
            let least = frequency_hz() / 1000;
            while tsc() - started < least {
                spin_loop();
            }
            if !measure_apic(started) {
                return None;
            }
            crate::apic::arm_timer();
        }
        Some(())
    }

    fn finish_tsc(&self) -> Option<Source> {
        if let Some((hz, source)) = self.known {
            set_frequency(hz);
            return Some(source);
        }
        let reference = self.reference?;
        // A counter that does not move must not hold the boot up for ever.
        for _ in 0..10_000_000u32 {
            let elapsed = reference.read().wrapping_sub(self.first.reference) & reference.mask();
            if reference.ns(elapsed) >= SHORTEST_NS {
                break;
            }
            spin_loop();
        }
        let last = reference.sample();
        set_frequency(between(reference, self.first, last)?);
        REFINE.call_once(|| Refinement {
            reference,
            first: self.first,
        });
        Some(reference.source())
    }
}

fn between(reference: Reference, first: Sample, last: Sample) -> Option<u64> {
    let ns = reference.ns(last.reference.wrapping_sub(first.reference) & reference.mask());
    if ns == 0 {
        return None;
    }
    let hz = u128::from(last.tsc - first.tsc) * 1_000_000_000 / u128::from(ns);
    u64::try_from(hz).ok().filter(|&hz| hz > 1_000_000)
}

struct Refinement {
    reference: Reference,
    first: Sample,
}

static REFINE: Once<Refinement> = Once::new();
static REFINED: AtomicU64 = AtomicU64::new(0);

/// Measures again over the time since the first measurement, once, when that has become long
/// enough to be worth it and not so long that the reference has wrapped. Called by the boot core's loop.
#[inline]
pub fn refine() {
    if REFINED.load(Ordering::Relaxed) == 0 {
        refine_slowly();
    }
}

#[cold]
fn refine_slowly() {
    let Some(refinement) = REFINE.get() else {
        REFINED.store(1, Ordering::Relaxed);
        return;
    };
    let age_ns = now_ns();
    if age_ns < 500_000_000 {
        return;
    }
    REFINED.store(1, Ordering::Relaxed);
    let reference = refinement.reference;
    // Half the counter's range: past that the difference could have wrapped.
    if age_ns > reference.ns(reference.mask()) / 2 {
        return;
    }
    if let Some(hz) = between(reference, refinement.first, reference.sample()) {
        // A correction beyond 1 % is a sample gone wrong.
        let old = frequency_hz();
        if hz.abs_diff(old) < old / 100 {
            set_frequency(hz);
        }
    }
}

/// The frequency as the CPU or the hypervisor tell it.
fn told() -> Option<(u64, Source)> {
    if kvm::hypervisor_max_leaf().is_some_and(|max| max >= 0x4000_0010) {
        let khz = __cpuid(0x4000_0010).eax;
        if khz != 0 {
            return Some((u64::from(khz) * 1000, Source::Hypervisor));
        }
    }
    if let Some(time) = kvm::time() {
        // Linux' pvclock_tsc_khz: ns = (ticks << shift) * mul >> 32.
        let hz = (1_000_000_000u128 << 32) / u128::from(time.mul.max(1));
        let hz = if time.shift < 0 {
            hz << -time.shift
        } else {
            hz >> time.shift
        };
        return Some((hz as u64, Source::KvmClock));
    }
    if crate::cpu::max_leaf() >= 0x15 {
        let leaf = __cpuid(0x15);
        if leaf.eax != 0 && leaf.ebx != 0 && leaf.ecx != 0 {
            return Some((
                u64::from(leaf.ecx) * u64::from(leaf.ebx) / u64::from(leaf.eax),
                Source::Crystal,
            ));
        }
    }
    None
}
