//! The image's reports to whoever started it: lines on the debug console (port 0xe9), and the end
//! of the machine with an exit status.

use core::fmt::{self, Write};
use spin::mutex::SpinMutex as Mutex;
use x86_64::instructions::port::Port;

const DEBUG_CONSOLE: u16 = 0xe9;
const DEBUG_EXIT: u16 = 0xf4;

/// Exit status of a panic or fault, as Rust programs have it.
pub const PANIC: u8 = 101;
/// Exit status when the machine lacks what the image needs (`EX_OSERR`).
pub const MACHINE: u8 = 71;
/// Exit status when the command line is wrong (`EX_CONFIG`).
pub const CONFIG: u8 = 78;

static LINE: Mutex<()> = Mutex::new(());

struct Debugcon;

impl Write for Debugcon {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        // SAFETY: the port is QEMU's debug console, or nobody's.
        unsafe {
            core::arch::asm!("rep outsb", in("dx") DEBUG_CONSOLE, inout("rsi") s.as_ptr() => _, inout("rcx") s.len() => _,
                options(nostack, preserves_flags, readonly));
        }
        Ok(())
    }
}

/// Takes the debug console from cores that were stopped while they used it.
///
/// # Safety
/// As [`crate::console::seize`].
pub unsafe fn seize() {
    // SAFETY: the caller's promise; the lock guards nothing but the order of lines.
    unsafe { LINE.force_unlock() };
}

/// Writes one line to the debug console.
pub fn line(args: fmt::Arguments<'_>) {
    // A core that was stopped may hold the lock: a bounded wait, then a line that may be torn.
    let _guard = crate::console::patiently(&LINE);
    let _ = Debugcon.write_fmt(args);
    let _ = Debugcon.write_str("\n");
}

/// Whether something listens: QEMU's debug console reads as the number of its port, a port without a device as all ones.
fn is_heard() -> bool {
    // SAFETY: reading the port has no effect, with or without a device.
    unsafe { Port::<u8>::new(DEBUG_CONSOLE).read() == DEBUG_CONSOLE as u8 }
}

/// Says a line to whoever started the image, apart from what its program prints; on the console where nothing but that is
/// there.
pub fn note(args: fmt::Arguments<'_>) {
    if is_heard() {
        line(format_args!("note {args}"));
    } else {
        crate::say!("{args}");
    }
}

/// As [`note`], for what a quiet run goes without.
pub fn inform(args: fmt::Arguments<'_>) {
    if is_heard() {
        line(format_args!("info {args}"));
    } else {
        crate::say!("{args}");
    }
}

/// Says a line about the run to whoever started the image.
#[macro_export]
macro_rules! inform {
    ($($arg:tt)*) => {
        $crate::report::inform(format_args!($($arg)*))
    };
}

/// Ends the machine with `status`.
pub fn exit(status: u8) -> ! {
    // Another core may have been left something.
    crate::console::flush();
    line(format_args!("exit {status}"));
    // SAFETY: isa-debug-exit's port, or nobody's.
    unsafe { Port::<u32>::new(DEBUG_EXIT).write(u32::from(status)) };
    crate::acpi::power_off();
    reset()
}

/// Command and status port of the keyboard controller.
const KEYBOARD: u16 = 0x64;
/// Its command to pulse the CPU's reset line.
const PULSE_RESET: u8 = 0xfe;
/// Status bit: it has not taken the last command yet.
const INPUT_FULL: u8 = 2;

/// What ends a machine without a power-off: a monitor such as Firecracker exits when its guest resets. Where nothing else
/// does, the CPU resets itself.
fn reset() -> ! {
    let pause = || (0..1_000_000).for_each(|_| core::hint::spin_loop());
    // SAFETY: nothing follows that the machine is needed for.
    unsafe {
        let mut port = Port::<u8>::new(KEYBOARD);
        // A port with nothing behind it may read as ones.
        for _ in 0..1000 {
            if port.read() & INPUT_FULL == 0 {
                break;
            }
        }
        port.write(PULSE_RESET);
    }
    // The monitor may end the machine when it gets round to it.
    pause();
    // SAFETY: without a descriptor table a breakpoint becomes a triple fault, which nothing survives.
    unsafe {
        core::arch::asm!(
            "lidt [{}]", "int3", "2: hlt", "jmp 2b",
            in(reg) &raw const NO_TABLE, options(noreturn, nostack),
        )
    }
}

/// The limit and the address of an interrupt descriptor table without entries.
static NO_TABLE: [u16; 5] = [0; 5];
