//! Time: the TSC, how fast it runs, and what day it is.
//!
//! The frequency comes from the hypervisor (CPUID leaf 0x40000010, else kvmclock), from CPUID leaf
//! 0x15, or is measured against the HPET, the ACPI timer or the PIT while the machine comes up,
//! and measured once more over a second later on.
//!
//! What must hold: `now` never goes back on a core: parameters change under a sequence lock and
//! each change joins the old line. Every core's TSC reads the same (invariant TSC, which
//! hypervisors with more than one core give).

use crate::{paging, tables};
use core::arch::x86_64::{__cpuid, _mm_lfence, _rdtsc};
use core::hint::spin_loop;
use core::sync::atomic::{AtomicU64, Ordering, fence};
use ebb_runtime::guest::ClockPage;
use spin::Once;
use x86_64::instructions::port::Port;
use x86_64::registers::model_specific::Msr;

/// The TSC, read after everything before it.
#[inline]
pub fn tsc() -> u64 {
    // SAFETY: every 64-bit CPU has both.
    unsafe {
        _mm_lfence();
        _rdtsc()
    }
}

/// Where the frequency was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// CPUID leaf 0x40000010, of the hypervisor.
    Hypervisor,
    /// kvmclock.
    KvmClock,
    /// CPUID leaf 0x15.
    Crystal,
    /// Measured against the HPET.
    Hpet,
    /// Measured against the ACPI timer.
    AcpiTimer,
    /// Measured against the PIT.
    Pit,
}

impl Source {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hypervisor => "the hypervisor",
            Self::KvmClock => "kvmclock",
            Self::Crystal => "CPUID",
            Self::Hpet => "the HPET",
            Self::AcpiTimer => "the ACPI timer",
            Self::Pit => "the PIT",
        }
    }
}

/// The line from ticks to nanoseconds, alone on its page: guests read it too.
static PAGE: ClockPage = ClockPage::new();
static FREQUENCY: AtomicU64 = AtomicU64::new(0);

static SOURCE: Once<Source> = Once::new();

/// Where the frequency was found; `None` before it is known.
pub fn source() -> Option<Source> {
    SOURCE.get().copied()
}

/// TSC ticks per second; 0 before it is known.
pub fn frequency() -> u64 {
    FREQUENCY.load(Ordering::Relaxed)
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
pub fn now() -> u64 {
    let (base, ns, scale, tsc) = line();
    ns + scaled(tsc.saturating_sub(base), scale)
}

/// The TSC's value at `ns` nanoseconds since entry.
pub fn tsc_at(ns: u64) -> u64 {
    let (base, base_ns, ..) = line();
    let frequency = u128::from(frequency());
    let ticks = u128::from(ns.saturating_sub(base_ns)) * frequency / 1_000_000_000;
    base.saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX))
}

/// Ticks of the local APIC's timer per TSC tick, times 2^32.
static APIC_PER_TSC: AtomicU64 = AtomicU64::new(0);

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

/// How far the local APIC's timer counts in `ns` nanoseconds; at most what its register holds.
pub fn apic_ticks(ns: u64) -> u32 {
    let tsc = u128::from(ns) * u128::from(frequency()) / 1_000_000_000;
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
    FREQUENCY.store(hz, Ordering::Relaxed);
    PAGE.sequence.store(sequence + 2, Ordering::Release);
}

/// The timer that the others are measured with.
#[derive(Clone, Copy, Debug)]
enum Reference {
    Hpet { registers: u64, femtoseconds: u64 },
    AcpiTimer { port: u16, wide: bool },
    Pit,
}

impl Reference {
    fn find() -> Option<Self> {
        let machine = tables::get();
        if let Some(address) = machine.hpet
            && let Ok(registers) = paging::map_device(address, 1024)
        {
            let registers = registers as u64;
            // SAFETY: the HPET's registers are mapped uncached; reading its capabilities and setting
            // "enable" disturbs nobody.
            let femtoseconds = unsafe {
                let capabilities = (registers as *const u64).read_volatile();
                let configuration = (registers + 0x10) as *mut u64;
                configuration.write_volatile(configuration.read_volatile() | 1);
                capabilities >> 32
            };
            // The specification's bound: at least 10 MHz.
            if (1..=100_000_000).contains(&femtoseconds) {
                return Some(Self::Hpet {
                    registers,
                    femtoseconds,
                });
            }
        }
        if let Some(port) = machine.pm_timer {
            return Some(Self::AcpiTimer {
                port,
                wide: machine.pm_timer_32,
            });
        }
        Self::start_pit().then_some(Self::Pit)
    }

    /// Lets channel 2 of the PIT count down from 65535 once; false where there is none.
    fn start_pit() -> bool {
        // SAFETY: the PIT's and the speaker gate's ports, which nobody else uses.
        unsafe {
            let mut gate = Port::<u8>::new(0x61);
            let value = gate.read();
            gate.write(value & !2 | 1);
            Port::<u8>::new(0x43).write(0b1011_0000);
            let mut channel = Port::<u8>::new(0x42);
            channel.write(0xff);
            channel.write(0xff);
        }
        let first = Self::Pit.read();
        for _ in 0..10_000 {
            if Self::Pit.read() != first {
                return true;
            }
        }
        false
    }

    fn source(self) -> Source {
        match self {
            Self::Hpet { .. } => Source::Hpet,
            Self::AcpiTimer { .. } => Source::AcpiTimer,
            Self::Pit => Source::Pit,
        }
    }

    fn read(self) -> u64 {
        match self {
            Self::Hpet { registers, .. } => {
                let counter = (registers + 0xf0) as *const u32;
                // SAFETY: the main counter, mapped uncached; 32 bits are enough and always valid.
                u64::from(unsafe { counter.read_volatile() })
            }
            // SAFETY: reading the timer has no effect.
            Self::AcpiTimer { port, .. } => u64::from(unsafe { Port::<u32>::new(port).read() }),
            // SAFETY: latching and reading channel 2.
            Self::Pit => unsafe {
                Port::<u8>::new(0x43).write(0b1000_0000);
                let mut channel = Port::<u8>::new(0x42);
                let low = channel.read();
                0xffff - (u64::from(low) | u64::from(channel.read()) << 8)
            },
        }
    }

    fn mask(self) -> u64 {
        match self {
            Self::Hpet { .. } | Self::AcpiTimer { wide: true, .. } => 0xffff_ffff,
            Self::AcpiTimer { .. } => 0x00ff_ffff,
            Self::Pit => 0xffff,
        }
    }

    /// Nanoseconds of `ticks`.
    fn ns(self, ticks: u64) -> u64 {
        let ticks = u128::from(ticks);
        (match self {
            Self::Hpet { femtoseconds, .. } => ticks * u128::from(femtoseconds) / 1_000_000,
            Self::AcpiTimer { .. } => ticks * 1_000_000_000 / 3_579_545,
            Self::Pit => ticks * 1_000_000_000 / 1_193_182,
        }) as u64
    }

    /// The reference and the TSC at one moment: the tightest of a few tries.
    fn sample(self) -> Sample {
        let mut best = Sample::default();
        let mut width = u64::MAX;
        for _ in 0..6 {
            let before = tsc();
            let reference = self.read();
            let after = tsc();
            if after - before < width {
                width = after - before;
                best = Sample {
                    reference,
                    tsc: before + width / 2,
                };
            }
        }
        best
    }
}

#[derive(Clone, Copy, Default)]
struct Sample {
    reference: u64,
    tsc: u64,
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
const SHORTEST: u64 = 2_000_000;

/// Sets the zero of [`now`] and starts finding the frequency. `measure` skips what the CPU and the hypervisor say.
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
            let least = frequency() / 1000;
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
            if reference.ns(elapsed) >= SHORTEST {
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
    let age = now();
    if age < 500_000_000 {
        return;
    }
    REFINED.store(1, Ordering::Relaxed);
    let reference = refinement.reference;
    // Half the counter's range: past that the difference could have wrapped.
    if age > reference.ns(reference.mask()) / 2 {
        return;
    }
    if let Some(hz) = between(reference, refinement.first, reference.sample()) {
        // A correction beyond 1 % is a sample gone wrong.
        let old = frequency();
        if hz.abs_diff(old) < old / 100 {
            set_frequency(hz);
        }
    }
}

fn hypervisor() -> Option<u32> {
    // Bit 31 of leaf 1 ECX: there is a hypervisor and its leaves.
    (__cpuid(1).ecx >> 31 == 1).then(|| __cpuid(0x4000_0000).eax)
}

fn is_kvm() -> bool {
    hypervisor().is_some() && {
        let leaf = __cpuid(0x4000_0000);
        [leaf.ebx, leaf.ecx, leaf.edx] == [0x4b4d_564b, 0x564b_4d56, 0x0000_004d]
    }
}

/// The frequency as the CPU or the hypervisor tell it.
fn told() -> Option<(u64, Source)> {
    if hypervisor().is_some_and(|max| max >= 0x4000_0010) {
        let khz = __cpuid(0x4000_0010).eax;
        if khz != 0 {
            return Some((u64::from(khz) * 1000, Source::Hypervisor));
        }
    }
    if let Some(time) = kvm_time() {
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

#[derive(Clone, Copy)]
struct KvmTime {
    tsc: u64,
    system_ns: u64,
    mul: u32,
    shift: i8,
}

/// kvmclock's time information, read once: Linux `Documentation/virt/kvm/x86/msr.rst`.
fn kvm_time() -> Option<KvmTime> {
    if !is_kvm() || __cpuid(0x4000_0001).eax & 1 << 3 == 0 {
        return None;
    }
    let frame = crate::memory::take_zeroed()?;
    let at = paging::linear(frame).cast::<u32>();
    // SAFETY: the frame is ours and stays so; the hypervisor fills it when told where it is, and
    // stops when told 0. Its version is odd while it writes.
    unsafe {
        let mut msr = Msr::new(0x4b56_4d01);
        msr.write(frame | 1);
        let mut time = None;
        for _ in 0..1000 {
            let version = at.read_volatile();
            fence(Ordering::Acquire);
            let read = KvmTime {
                tsc: at.cast::<u64>().add(1).read_volatile(),
                system_ns: at.cast::<u64>().add(2).read_volatile(),
                mul: at.add(6).read_volatile(),
                shift: at.cast::<i8>().add(28).read_volatile(),
            };
            fence(Ordering::Acquire);
            if version != 0
                && version.is_multiple_of(2)
                && at.read_volatile() == version
                && read.mul != 0
            {
                time = Some(read);
                break;
            }
        }
        msr.write(0);
        time
    }
}

/// When the runner launched the machine, in nanoseconds since 1970; 0 if it did not say.
static LAUNCHED: AtomicU64 = AtomicU64::new(0);

/// Takes the option `launched`.
pub(crate) fn set_launched(milliseconds: Option<u64>) {
    let time = milliseconds.unwrap_or(0).saturating_mul(1_000_000);
    LAUNCHED.store(time, Ordering::Relaxed);
}

/// Nanoseconds between 1970 and the zero of [`now`], found at the first question.
static WALL: Once<u64> = Once::new();

/// Nanoseconds since 1970, as the hypervisor (kvmclock) or the real-time clock tell.
pub fn wall() -> u64 {
    wall_zero() + now()
}

fn wall_zero() -> u64 {
    *WALL.call_once(|| {
        let zero = kvm_wall().unwrap_or_else(rtc_wall);
        PAGE.wall.store(zero, Ordering::Relaxed);
        zero
    })
}

/// The page from which guests tell the time.
pub fn page() -> &'static ClockPage {
    wall_zero();
    &PAGE
}

fn kvm_wall() -> Option<u64> {
    let time = kvm_time()?;
    let frame = crate::memory::take_zeroed()?;
    let at = paging::linear(frame).cast::<u32>();
    // SAFETY: as in `kvm_time`; the hypervisor writes once, at the MSR write.
    let boot = unsafe {
        Msr::new(0x4b56_4d00).write(frame);
        fence(Ordering::Acquire);
        u64::from(at.add(1).read_volatile()) * 1_000_000_000 + u64::from(at.add(2).read_volatile())
    };
    // The hypervisor's time when its TSC was `time.tsc`, against ours at the same tick.
    let (base, ns, scale, _) = line();
    let ours = ns + scaled(time.tsc.saturating_sub(base), scale);
    Some((boot + time.system_ns).saturating_sub(ours))
}

fn rtc_wall() -> u64 {
    let read = |register: u8| -> u8 {
        // SAFETY: the index and data ports of the RTC; bit 7 keeps NMI enabled (0).
        unsafe {
            Port::<u8>::new(0x70).write(register);
            Port::<u8>::new(0x71).read()
        }
    };
    let snapshot = || [0, 2, 4, 7, 8, 9, 0x32].map(read);
    let mut fields = snapshot();
    // An update takes up to 2 ms and is announced; two equal readings outside one are good.
    for _ in 0..10_000 {
        if read(0x0a) & 0x80 == 0 {
            let again = snapshot();
            if again == fields {
                break;
            }
            fields = again;
        }
    }
    let at = now();
    let mode = read(0x0b);
    let number = |v: u8| {
        u64::from(if mode & 4 == 0 {
            (v >> 4) * 10 + (v & 15)
        } else {
            v
        })
    };
    let [second, minute, raw_hour, day, month, year, century] = fields;
    let mut hour = number(raw_hour & 0x7f);
    if mode & 2 == 0 {
        hour = hour % 12 + if raw_hour & 0x80 != 0 { 12 } else { 0 };
    }
    let century = match number(century) {
        c @ 19..=30 => c,
        _ => 20,
    };
    let days = days_since_1970(century * 100 + number(year), number(month), number(day));
    let seconds = ((days * 24 + hour) * 60 + number(minute)) * 60 + number(second);
    let zero = (seconds * 1_000_000_000).saturating_sub(at);
    // A virtual machine's TSC counts from its start, so this is how long the firmware and the loader took.
    let (base, ns, scale, _) = line();
    let before = scaled(base, scale).saturating_sub(ns);
    nearer(
        zero,
        LAUNCHED.load(Ordering::Relaxed).saturating_add(before),
    )
}

/// The better of two times of entry. The real-time clock's is up to two seconds slow: QEMU's loses the fraction of the
/// second in which it was made, and tells whole ones. The launcher's is slow by what QEMU takes to come up. So the later of them is nearer, unless
/// they do not belong together: another clock was asked for, a snapshot was resumed, the TSC counts from elsewhere.
fn nearer(rtc: u64, launched: u64) -> u64 {
    const SLOW: u64 = 2_000_000_000;
    if (rtc..=rtc.saturating_add(SLOW)).contains(&launched) {
        launched
    } else {
        rtc
    }
}

/// Days from 1 January 1970 to a date of the Gregorian calendar (Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms").
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let of_era = year % 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.max(1) - 1;
    (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).saturating_sub(719_468)
}
