//! The end of an image that went wrong: one report, from one core, while the others stand still.
//!
//! What must hold: the first core to get here reports, once; a fault inside the report ends the
//! machine at once. The others are stopped by NMI, which asks nothing of what they were doing;
//! when the reason is a hang, each prints its backtrace first, in turn.

use crate::backtrace::{self, Registers};
use crate::cpu::{self, CpuBlock, MAX_CORES, STACK_NAMES};
use crate::trap_frame::TrapFrame;
use crate::{apic, console, msr, report, say};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use x86_64::registers::control::Cr2;
use x86_64::registers::model_specific::Msr;

/// Number of the core that reports, plus 1; 0 while all is well.
static REPORTER: AtomicU32 = AtomicU32::new(0);
static IN_REPORT: AtomicBool = AtomicBool::new(false);
/// The core that is asked to print its backtrace.
static TURN: AtomicU32 = AtomicU32::new(u32::MAX);
/// No core will be asked.
static REPORTED: AtomicBool = AtomicBool::new(false);
static STOPPED: AtomicU32 = AtomicU32::new(0);
/// Turns of a loop that waits for another core: some seconds.
const PATIENCE: u32 = 100_000_000;

/// Becomes the reporting core, or does not come back.
fn claim(core: u32) {
    match REPORTER.compare_exchange(0, core + 1, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        Err(reporter) if reporter == core + 1 => {
            // A fault within our own report.
            if !IN_REPORT.swap(true, Ordering::Relaxed) {
                seize();
                say!("core {core} went wrong again while it reported; ending");
            }
            report::exit(report::PANIC);
        }
        Err(_) => cpu::halt(),
    }
    stop_others();
    REPORTED.store(true, Ordering::Release);
}

/// Stops the other cores and takes the console from whoever used it.
fn stop_others() {
    if cpu::count() > 1 {
        apic::send_nmi_to_others();
        for _ in 0..PATIENCE {
            if STOPPED.load(Ordering::Acquire) as usize + 1 >= cpu::count() {
                break;
            }
            core::hint::spin_loop();
        }
    }
    seize();
}

/// A core may have been stopped, or have failed, in the middle of a line.
fn seize() {
    // SAFETY: the other cores stand still for good (one that does not answer an NMI would not print
    // either), and this one only reports from here on.
    unsafe {
        console::seize();
        report::seize();
    }
}

/// After a report.
fn end() -> ! {
    crate::inspect::report_trace();
    if crate::inspect::stays_for_core_file() {
        report::line(format_args!("exit {}", report::PANIC));
        report::line(format_args!("dump"));
        cpu::halt();
    }
    report::exit(report::PANIC)
}

fn core_id() -> u32 {
    cpu::try_this().map_or(0, |block| block.id.load(Ordering::Relaxed))
}

// Called by the panic handler, which has a crate of its own (`native-target/panic`).
#[unsafe(no_mangle)]
fn __ebb_panicked(info: &PanicInfo<'_>) -> ! {
    let registers = Registers::here();
    let core = core_id();
    claim(core);
    match info.location() {
        Some(at) => say!("core {core} panicked at {at}:\n{}", info.message()),
        None => say!("core {core} panicked:\n{}", info.message()),
    }
    backtrace::print(registers);
    end()
}

/// Ends the image because the machine or its command line is not fit; `status` is one of `report`'s.
pub fn refuse(status: u8, message: core::fmt::Arguments<'_>) -> ! {
    say!("ebb: {message}");
    report::exit(status)
}

const NAMES: [&str; 32] = [
    "divide error",
    "debug trap",
    "NMI",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "no FPU",
    "double fault",
    "coprocessor overrun",
    "invalid TSS",
    "segment not present",
    "stack segment fault",
    "general protection fault",
    "page fault",
    "exception 15",
    "x87 error",
    "misaligned access",
    "machine check",
    "SIMD error",
    "virtualization exception",
    "control protection fault",
    "exception 22",
    "exception 23",
    "exception 24",
    "exception 25",
    "exception 26",
    "exception 27",
    "hypervisor injection",
    "VMM communication",
    "security exception",
    "exception 31",
];

/// An exception in the kernel that nothing expects. Comes back only from an NMI to the reporting core.
pub fn kernel(vector: u8, frame: &TrapFrame, block: &'static CpuBlock) {
    // Whatever FS and GS were, the report needs the kernel's.
    // SAFETY: the block is this core's (it lay above this core's interrupt stack).
    unsafe {
        Msr::new(msr::GS_BASE).write(&raw const *block as u64);
        Msr::new(msr::FS_BASE).write(block.tls);
    }
    let core = block.id.load(Ordering::Relaxed);
    if vector == 2 {
        return nmi(core, frame);
    }
    let address = Cr2::read_raw();
    claim(core);
    if matches!(vector, 14 | 8)
        && let Some((owner, name)) = guarded(address)
    {
        say!(
            "stack overflow on core {core}: the {name} of core {owner} is used up ({} KiB)",
            size_of_stack(owner, name) / 1024
        );
    } else if vector == 14 {
        page_fault(core, frame, address);
    } else {
        say!(
            "{} on core {core} (error code {:#x})",
            NAMES[usize::from(vector & 31)],
            frame.error
        );
    }
    registers(frame);
    tell_registers(core, frame);
    backtrace::print(Registers::of(frame));
    end()
}

fn page_fault(core: u32, frame: &TrapFrame, address: u64) {
    let doing = match frame.error {
        e if e & 16 != 0 => "executing",
        e if e & 2 != 0 => "writing",
        _ => "reading",
    };
    let why = match (address, frame.error & 1) {
        (0..4096, _) if frame.error & 16 != 0 => "a call through a null pointer",
        (0..4096, _) => "a null pointer",
        (_, 0) => "nothing is mapped there",
        _ => "its protection forbids it",
    };
    say!("page fault on core {core}: {doing} {address:#x}: {why}");
}

fn guarded(address: u64) -> Option<(u32, &'static str)> {
    let cores = (0..MAX_CORES).filter_map(cpu::get);
    for block in cores {
        for (stack, name) in block.stacks.iter().zip(STACK_NAMES) {
            if stack.guards(address) {
                return Some((block.id.load(Ordering::Relaxed), name));
            }
        }
    }
    None
}

fn size_of_stack(core: u32, name: &str) -> u64 {
    let Some(block) = cpu::get(core as usize) else {
        return 0;
    };
    block
        .stacks
        .iter()
        .zip(STACK_NAMES)
        .find(|(_, n)| *n == name)
        .map_or(0, |(s, _)| s.top - s.bottom)
}

fn registers(f: &TrapFrame) {
    say!(
        "  rip {:016x}  rsp {:016x}  rflags {:08x}  cs {:x}  ss {:x}",
        f.rip,
        f.rsp,
        f.rflags,
        f.cs,
        f.ss
    );
    say!(
        "  rax {:016x}  rbx {:016x}  rcx {:016x}  rdx {:016x}",
        f.rax,
        f.rbx,
        f.rcx,
        f.rdx
    );
    say!(
        "  rsi {:016x}  rdi {:016x}  rbp {:016x}  r8  {:016x}",
        f.rsi,
        f.rdi,
        f.rbp,
        f.r8
    );
    say!(
        "  r9  {:016x}  r10 {:016x}  r11 {:016x}  r12 {:016x}",
        f.r9,
        f.r10,
        f.r11,
        f.r12
    );
    say!(
        "  r13 {:016x}  r14 {:016x}  r15 {:016x}  cr2 {:016x}",
        f.r13,
        f.r14,
        f.r15,
        Cr2::read_raw()
    );
}

/// Tells the runner the registers at the fault, for the core file: in the order of Linux' `struct user_regs_struct`.
fn tell_registers(core: u32, f: &TrapFrame) {
    if !crate::inspect::stays_for_core_file() {
        return;
    }
    report::line(format_args!(
        "fault {core} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x} {:x}",
        f.r15,
        f.r14,
        f.r13,
        f.r12,
        f.rbp,
        f.rbx,
        f.r11,
        f.r10,
        f.r9,
        f.r8,
        f.rax,
        f.rcx,
        f.rdx,
        f.rsi,
        f.rdi,
        f.rax,
        f.rip,
        f.cs,
        f.rflags,
        f.rsp,
        f.ss
    ));
}

/// An NMI: another core stops us, or somebody outside asks where every core is (the runner, at its
/// time limit; `nmi` in QEMU's monitor). From outside it comes to all cores at once.
fn nmi(core: u32, frame: &TrapFrame) {
    match REPORTER.compare_exchange(0, core + 1, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => asked(core, frame),
        // A second one while we report changes nothing.
        Err(reporter) if reporter == core + 1 => {}
        Err(_) => {
            STOPPED.fetch_add(1, Ordering::AcqRel);
            wait_for_turn(core, frame);
            cpu::halt()
        }
    }
}

/// A stopped core prints its backtrace when the reporting core asks for it.
fn wait_for_turn(core: u32, frame: &TrapFrame) {
    while !REPORTED.load(Ordering::Acquire) {
        if TURN.load(Ordering::Acquire) == core {
            print_place(core, frame);
            TURN.store(u32::MAX, Ordering::Release);
            return;
        }
        core::hint::spin_loop();
    }
}

/// Says where a core was interrupted.
fn print_place(core: u32, frame: &TrapFrame) {
    if frame.cs & 3 == 3 {
        say!("core {core}: in a guest program, at {:#x}", frame.rip);
        return;
    }
    say!("core {core}:");
    backtrace::print(Registers::of(frame));
}

/// Reports where every core is, and ends.
fn asked(core: u32, frame: &TrapFrame) -> ! {
    stop_others();
    say!(
        "core {core} got an NMI from outside (a time limit, or somebody at the machine's monitor); where every core is:"
    );
    print_place(core, frame);
    for other in (0..cpu::count() as u32).filter(|&other| other != core) {
        TURN.store(other, Ordering::Release);
        let mut patience = PATIENCE;
        while TURN.load(Ordering::Acquire) == other && patience > 0 {
            patience -= 1;
            core::hint::spin_loop();
        }
        if patience == 0 {
            say!("core {other}: does not answer");
        }
    }
    end()
}
