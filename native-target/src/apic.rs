//! The local APIC: acknowledging, sending interrupts between cores, its timer.
//!
//! What must hold: a core touches only its own local APIC; [`init`] has run on a core before it
//! sends, sleeps or sets a timer. Sources: Intel SDM volume 3, chapter "Advanced Programmable
//! Interrupt Controller (APIC)".

use crate::{msr, paging, vectors};
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use x86_64::registers::model_specific::Msr;

const ID: u32 = 0x20;
const TASK_PRIORITY: u32 = 0x80;
const END_OF_INTERRUPT: u32 = 0xb0;
const SPURIOUS: u32 = 0xf0;
const COMMAND: u32 = 0x300;
const COMMAND_HIGH: u32 = 0x310;
const LVT_TIMER: u32 = 0x320;
const LVT_LINT0: u32 = 0x350;
const LVT_LINT1: u32 = 0x360;
const LVT_ERROR: u32 = 0x370;
const TIMER_INITIAL: u32 = 0x380;
const TIMER_CURRENT: u32 = 0x390;
const TIMER_DIVIDE: u32 = 0x3e0;

const MASKED: u32 = 1 << 16;
const TSC_DEADLINE: u32 = 1 << 18;

/// Address of the registers of an xAPIC (the same on every core); 0 with x2APIC.
static REGISTERS: AtomicU64 = AtomicU64::new(0);
static DEADLINE_MODE: AtomicBool = AtomicBool::new(false);

/// Whether the local APICs are driven through MSRs.
pub fn is_x2apic() -> bool {
    REGISTERS.load(Ordering::Relaxed) == 0
}

/// Whether the timer compares with the TSC itself.
pub fn has_deadline_timer() -> bool {
    DEADLINE_MODE.load(Ordering::Relaxed)
}

/// Why there is no local APIC to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// The CPU has none.
    None,
    /// No frame for the mapping.
    OutOfFrames,
}

/// Chooses the mode and maps the registers. Once, on the boot core.
///
/// # Errors
/// See [`Bad`].
pub fn find(allow_x2apic: bool, allow_deadline: bool) -> Result<(), Bad> {
    if __cpuid(1).edx & 1 << 9 == 0 {
        return Err(Bad::None);
    }
    let features = __cpuid(1).ecx;
    // SAFETY: every 64-bit CPU has the MSR.
    let base = unsafe { Msr::new(msr::APIC_BASE).read() };
    // Firmware may have left x2APIC on, and it cannot simply be switched off.
    if !(features & 1 << 21 != 0 && allow_x2apic || base & 1 << 10 != 0) {
        let registers =
            paging::map_device(base & 0x000f_ffff_ffff_f000, 4096).map_err(|_| Bad::OutOfFrames)?;
        REGISTERS.store(registers as u64, Ordering::Relaxed);
    }
    DEADLINE_MODE.store(features & 1 << 24 != 0 && allow_deadline, Ordering::Relaxed);
    Ok(())
}

/// What a core's block says of its APIC.
pub fn registers() -> u64 {
    REGISTERS.load(Ordering::Relaxed)
}

fn read(register: u32) -> u32 {
    match REGISTERS.load(Ordering::Relaxed) {
        // SAFETY: x2APIC is on (`init`), and the register exists in it.
        0 => unsafe { Msr::new(msr::X2APIC_FIRST + (register >> 4)).read() as u32 },
        // SAFETY: the registers are mapped uncached.
        at => unsafe { ((at + u64::from(register)) as *const u32).read_volatile() },
    }
}

fn write(register: u32, value: u32) {
    match REGISTERS.load(Ordering::Relaxed) {
        // SAFETY: as in `read`; the callers write what the register allows.
        0 => unsafe { Msr::new(msr::X2APIC_FIRST + (register >> 4)).write(u64::from(value)) },
        // SAFETY: as in `read`.
        at => unsafe { ((at + u64::from(register)) as *mut u32).write_volatile(value) },
    }
}

/// Switches this core's local APIC on, everything masked but what is set up later.
pub fn init() {
    let mut apic_base = Msr::new(msr::APIC_BASE);
    // SAFETY: setting enable (bit 11) and x2APIC (bit 10) is allowed from any state but "disabled to x2APIC", so in two steps.
    unsafe {
        let base = apic_base.read() | 1 << 11;
        apic_base.write(base);
        if is_x2apic() {
            apic_base.write(base | 1 << 10);
        }
    }
    write(TASK_PRIORITY, 0);
    write(LVT_LINT0, MASKED);
    // LINT1 is the NMI pin.
    write(LVT_LINT1, 4 << 8);
    write(LVT_ERROR, u32::from(vectors::APIC_ERROR));
    write(TIMER_DIVIDE, 0b1011);
    let timer = u32::from(vectors::TIMER)
        | if has_deadline_timer() {
            TSC_DEADLINE
        } else {
            0
        };
    write(LVT_TIMER, timer);
    write(SPURIOUS, 0x100 | u32::from(vectors::SPURIOUS));
    // In deadline mode the switch must be seen before the first deadline (SDM 11.5.4.1).
    // SAFETY: a fence has no other effect.
    unsafe { core::arch::x86_64::_mm_mfence() };
}

/// Acknowledges the interrupt that was taken last.
#[inline]
pub fn end_of_interrupt() {
    write(END_OF_INTERRUPT, 0);
}

/// This core's APIC ID.
pub fn id() -> u32 {
    let id = read(ID);
    if is_x2apic() { id } else { id >> 24 }
}

fn command(target: u32, low: u32) {
    if is_x2apic() {
        // An MSR write to the x2APIC is not ordered after earlier stores (SDM 11.12.3).
        // SAFETY: fences have no other effect; the command register is write-only.
        unsafe {
            core::arch::asm!("mfence", "lfence", options(nostack, preserves_flags));
            Msr::new(msr::X2APIC_COMMAND).write(u64::from(target) << 32 | u64::from(low));
        }
    } else {
        write(COMMAND_HIGH, target << 24);
        write(COMMAND, low);
        // The next command must not overtake this one.
        for _ in 0..1_000_000 {
            if read(COMMAND) & 1 << 12 == 0 {
                break;
            }
            core::hint::spin_loop();
        }
    }
}

/// Sends interrupt `vector` to the core with APIC ID `target`.
#[inline]
pub fn send(target: u32, vector: u8) {
    command(target, 1 << 14 | u32::from(vector));
}

/// Sends an NMI to every other core.
pub fn send_nmi_to_others() {
    command(0, 0b11 << 18 | 1 << 14 | 0b100 << 8);
}

/// Puts a core into its wait-for-startup state.
pub fn send_init(target: u32) {
    command(target, 1 << 14 | 0b101 << 8);
}

/// Starts a waiting core in real mode at `page` times 4096.
pub fn send_startup(target: u32, page: u8) {
    command(target, 1 << 14 | 0b110 << 8 | u32::from(page));
}

/// Lets the timer fire when the TSC reaches `deadline_ticks` (deadline mode only; 0 disarms).
#[inline]
pub fn set_deadline(deadline_ticks: u64) {
    // SAFETY: the MSR exists where the mode does.
    unsafe { Msr::new(msr::TSC_DEADLINE).write(deadline_ticks) };
}

/// Lets the timer fire after `ticks` of its own clock (0 disarms).
#[inline]
pub fn set_countdown(ticks: u32) {
    write(TIMER_INITIAL, ticks);
}

/// Starts the longest countdown there is, without an interrupt at its end.
pub fn start_silent_countdown() {
    write(LVT_TIMER, MASKED | u32::from(vectors::TIMER));
    write(TIMER_INITIAL, u32::MAX);
}

/// Lets the timer interrupt again.
pub fn arm_timer() {
    write(LVT_TIMER, u32::from(vectors::TIMER));
}

/// What is left of the countdown.
pub fn countdown() -> u32 {
    read(TIMER_CURRENT)
}
