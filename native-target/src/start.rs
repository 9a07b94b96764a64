//! The order in which the machine comes up. Each step's time goes into the boot timeline.

use crate::memory_map::{self, Kind, Region};
use crate::options::{Options, Timeline};
use crate::pvh::{Bad, Handover};
use crate::{
    acpi, apic, clock, console, cpu, fault, inspect, interrupts, memcpy, multiboot2, paging,
    platform, power, report, smp, timeline,
};
use alloc::vec::Vec;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};
use ebb_runtime::{CoreId, Machine, core_main, options::Wrong, trace};
use spin::Once;

struct Kept(UnsafeCell<Handover>);
// SAFETY: written by the boot core before any other core runs, read afterwards.
unsafe impl Sync for Kept {}
static HANDOVER: Kept = Kept(UnsafeCell::new(Handover::EMPTY));

static OPTIONS: Once<Options> = Once::new();

unsafe extern "C" {
    #[link_name = "ebb_entry_tsc"]
    static ENTRY_TSC: AtomicU64;
}

/// What the loader said.
pub fn handover() -> &'static Handover {
    // SAFETY: only `start` writes it, before anybody can ask.
    unsafe { &*HANDOVER.0.get() }
}

/// Least memory in bytes that an image starts in.
pub const LEAST_MEMORY: u64 = 24 << 20;

/// From the assembly: on the boot stack and the first page tables, with the physical address of what the loader says, and the
/// number by which a Multiboot2 loader is known.
pub extern "C" fn start(info: u32, magic: u32) -> ! {
    // SAFETY: the assembly wrote it; nothing else does.
    let entry = unsafe { ENTRY_TSC.load(Ordering::Relaxed) };
    timeline::begin(entry);
    memcpy::init();
    console::init();
    timeline::mark("console");
    read_handover(info, magic);
    let handover = handover();
    let options = Options::parse(handover.command_line()).unwrap_or_else(|wrong| refuse(wrong));
    OPTIONS.call_once(|| options);
    inspect::begin(&options);
    clock::set_launched(options.launched_ms);
    let home = check_memory(handover);
    let (_, image_end) = paging::image();
    let (start, end) =
        memory_map::largest_gap((image_end, home.end().min(1 << 30)), &handover.modules);
    memory_map::set_early(start, end);
    interrupts::init();
    // SAFETY: once, here.
    unsafe { paging::init(handover.map(), cpu::has_gib_pages()) }
        .unwrap_or_else(|_| no_memory("page tables"));
    timeline::mark("paging");

    find_apic(&options);
    let block = cpu::new_block(0).unwrap_or_else(|_| no_memory("core 0"));
    block.apic = apic::registers();
    // SAFETY: core 0's own block.
    unsafe { cpu::enter(block, interrupts::load) };
    apic::init();
    block.apic_id = apic::id();
    let block: &'static cpu::CpuBlock = block;
    cpu::publish(block, 0);
    timeline::mark("core-0");
    // SAFETY: the new stack is mapped and unused; `on_own_stack` does not return.
    unsafe {
        asm!("mov rsp, {stack}", "xor ebp, ebp", "call {next}", "ud2",
            stack = in(reg) block.stacks[0].top, next = sym on_own_stack, in("rdi") block, options(noreturn));
    }
}

/// Takes down what the loader says, or refuses it.
fn read_handover(info: u32, magic: u32) {
    // SAFETY: nobody else runs; `info` came from EBX; the first page tables map the first 4 GiB.
    let read = unsafe {
        let handover = &mut *HANDOVER.0.get();
        let linear = paging::linear(0).cast();
        if magic == multiboot2::MAGIC {
            multiboot2::read(handover, u64::from(info), linear)
        } else {
            handover.read(u64::from(info), linear)
        }
    };
    match read {
        Ok(()) => {}
        Err(Bad::Magic(found)) => fault::refuse(
            report::MACHINE,
            format_args!(
                "the loader speaks neither PVH (start info begins with {found:#x}) nor Multiboot2; boot with QEMU's -kernel, or GRUB's multiboot2"
            ),
        ),
        Err(Bad::NoMap) => fault::refuse(
            report::MACHINE,
            format_args!(
                "the loader gave no memory map (PVH start info version 0); use QEMU 4.0 or newer"
            ),
        ),
        Err(Bad::LongCommandLine) => fault::refuse(
            report::CONFIG,
            format_args!(
                "the command line is longer than {} bytes; shorten it",
                crate::pvh::MAX_COMMAND_LINE
            ),
        ),
    }
}

/// Refuses to start in too little memory; gives the region that the image is in.
fn check_memory(handover: &Handover) -> &Region {
    let (image_start, image_end) = paging::image();
    let usable: u64 = handover
        .map()
        .iter()
        .filter(|r| r.kind == Kind::Usable)
        .map(|r| r.len)
        .sum();
    let home = handover
        .map()
        .iter()
        .find(|r| r.kind == Kind::Usable && r.start <= image_start && r.end() >= image_end);
    let Some(home) = home else {
        fault::refuse(
            report::MACHINE,
            format_args!(
                "the memory map has no usable memory around the image ({image_start:#x} to {image_end:#x}); is the loader's map right?"
            ),
        )
    };
    if usable < LEAST_MEMORY {
        fault::refuse(
            report::MACHINE,
            format_args!(
                "{} MiB of memory are too little; give the machine at least {} MiB",
                usable >> 20,
                LEAST_MEMORY >> 20
            ),
        );
    }
    home
}

/// Says what is wrong with the command line.
fn refuse(wrong: Wrong<'_>) -> ! {
    let hint = match wrong {
        Wrong::Unknown { .. } => "; the application's arguments come after `--`",
        _ => "",
    };
    fault::refuse(report::CONFIG, format_args!("{wrong}{hint}"))
}

/// Refuses to start without a local APIC.
fn find_apic(options: &Options) {
    match apic::find(options.x2apic, options.deadline_timer) {
        Ok(()) => {}
        Err(apic::Bad::None) => fault::refuse(
            report::MACHINE,
            format_args!(
                "the CPU has no local APIC (interrupts, timer); give the machine a CPU model that has"
            ),
        ),
        Err(apic::Bad::OutOfFrames) => no_memory("the local APIC's mapping"),
    }
}

fn no_memory(what: &str) -> ! {
    fault::refuse(
        report::MACHINE,
        format_args!(
            "memory ran out while making {what}; give the machine more memory or fewer cores"
        ),
    )
}

extern "C" fn on_own_stack(block: &'static cpu::CpuBlock) -> ! {
    let handover = handover();
    let options = *OPTIONS.get().unwrap_or(&Options::DEFAULT);
    let tables = acpi::read(handover.rsdp, block.apic_id);
    timeline::mark("ACPI");
    // SAFETY: as in `start`.
    let entry = unsafe { ENTRY_TSC.load(Ordering::Relaxed) };
    let calibration = clock::begin(entry, options.measure_clock);
    timeline::mark("reference");
    let launch = smp::launch(handover.map(), options.cores, options.broken_core)
        .unwrap_or_else(|_| no_memory("the cores' stacks"));
    timeline::mark("launch");
    // What follows until `collect` goes on while the other cores come up.
    let most = acpi::get().count.min(options.cores);
    if let Err(error) = memory_map::to_heap(handover.map(), &handover.modules, most) {
        fault::refuse(
            report::MACHINE,
            format_args!("the heap cannot be made: {error}"),
        );
    }
    attach_heap(0);
    crate::options::check_declared(handover.command_line()).unwrap_or_else(|wrong| refuse(wrong));
    timeline::mark("heap");
    console::listen(block);
    timeline::mark("input");
    if calibration.finish().is_none() {
        fault::refuse(
            report::MACHINE,
            format_args!(
                "the machine has no timer to measure the TSC with (no HPET, ACPI timer or PIT), and the CPU does not tell its frequency"
            ),
        );
    }
    timeline::mark("clock");
    if launch.no_low_page {
        crate::inform!(
            "ebb: no page below 1 MiB is free to start other cores from; going on with one core"
        );
    }
    if tables == acpi::Source::Nothing {
        crate::inform!(
            "ebb: the machine has neither ACPI tables nor an MP table, which would name its cores and I/O APIC; going on with one core and without interrupts of ISA devices"
        );
    }
    let ignored = acpi::get().ignored;
    if ignored > 0 {
        crate::inform!(
            "ebb: the machine has {ignored} cores more than the {} that an image uses",
            cpu::MAX_CORES
        );
    }
    let mut missing = 0;
    launch.collect(|id| {
        missing += 1;
        crate::inform!("ebb: the core with APIC ID {id} did not start within 2 s");
    });
    if missing > 0 {
        crate::inform!("ebb: going on without {missing} ({} cores)", cpu::count());
    }
    timeline::mark("cores");
    for word in crate::options::ignored(handover.command_line()) {
        crate::inform!("ebb: `{word}` on the command line is an option of Linux and ignored");
    }
    timeline::report(
        options.timeline != Timeline::Off,
        options.timeline == Timeline::Full,
    );
    if cpu::is_emulated() {
        // What takes 10 ms on silicon; and the emulator's threads are preempted, which looks the same.
        ebb_runtime::set_hog_limit(100_000_000, true);
    }
    let tokens: Vec<usize> = (0..cpu::count())
        .filter_map(cpu::get)
        .map(platform::token)
        .collect();
    let machine = inspect::show(Machine::new(&tokens));
    let records = crate::options::value(handover.command_line(), trace::OPTION);
    if let Some(records) = records.and_then(|records| records.parse().ok()) {
        ebb_runtime::trace::start_on(machine.rings(), records, clock::now_ns());
    }
    power::listen(block, machine);
    // SAFETY: `#[ebb::main]` makes it, once in an image, with this signature.
    machine.start(|| unsafe { __ebb_main() });
    smp::release(run);
    run(block)
}

fn attach_heap(core: usize) {
    if let Err(error) = ebb_mem::attach_core(core) {
        panic!("core {core} has no heap: {error:?}");
    }
}

unsafe extern "Rust" {
    fn __ebb_main();
}

/// Each core ends up here.
pub fn run(block: &'static cpu::CpuBlock) -> ! {
    let machine = inspect::machine().expect("the boot core made it before it released this one");
    let id = block.id.load(Ordering::Relaxed) as usize;
    if id != 0 {
        attach_heap(id);
    }
    // SAFETY: once on each core; its TLS block is fresh but for the heap's slot.
    unsafe { core_main(machine, CoreId::new(id)) };
    if id == 0 {
        // Destructors run on every core; one that never ends must not keep the machine.
        let patience_ns = clock::now_ns() + 2_000_000_000;
        while machine.running() > 0 && clock::now_ns() < patience_ns {
            core::hint::spin_loop();
        }
        inspect::report_trace();
        report::exit(platform::exit_status(machine.status()));
    }
    cpu::halt()
}
