//! What day it is: kvmclock's word or the real-time clock's.

use super::{PAGE, kvm, line, now_ns, scaled};
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;
use x86_64::instructions::port::Port;

/// When the runner launched the machine, in nanoseconds since 1970; 0 if it did not say.
static LAUNCHED_NS: AtomicU64 = AtomicU64::new(0);

/// Takes the option `launched`.
pub fn set_launched(ms: Option<u64>) {
    let time = ms.unwrap_or(0).saturating_mul(1_000_000);
    LAUNCHED_NS.store(time, Ordering::Relaxed);
}

/// Nanoseconds between 1970 and the zero of [`now_ns`], found at the first question.
static ZERO_NS: Once<u64> = Once::new();

/// Nanoseconds since 1970, as the hypervisor (kvmclock) or the real-time clock tell.
pub fn unix_time_ns() -> u64 {
    zero_ns() + now_ns()
}

/// Nanoseconds between 1970 and the zero of [`now_ns`].
pub fn zero_ns() -> u64 {
    *ZERO_NS.call_once(|| {
        let zero = kvm::wall_zero_ns().unwrap_or_else(rtc_zero_ns);
        PAGE.wall.store(zero, Ordering::Relaxed);
        zero
    })
}

/// Nanoseconds between 1970 and the zero of [`now_ns`], as the real-time clock tells.
fn rtc_zero_ns() -> u64 {
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
    let at_ns = now_ns();
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
    let zero = (seconds * 1_000_000_000).saturating_sub(at_ns);
    // A virtual machine's TSC counts from its start, so this is how long the firmware and the loader took.
    let (base, ns, scale, _) = line();
    let before = scaled(base, scale).saturating_sub(ns);
    nearer(
        zero,
        LAUNCHED_NS.load(Ordering::Relaxed).saturating_add(before),
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
