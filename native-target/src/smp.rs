//! Bringing up the other cores: INIT, startup IPI, the trampoline, and who came.
//!
//! What must hold: `STARTING` is complete before the first startup IPI; a core runs on only if it
//! wins its block's state from STARTING to ARRIVED before the boot core gives it up, so that a
//! late core can do no harm.

use crate::cpu::{self, CpuBlock, MAX_CORES};
use crate::memory_map::{Kind, Region};
use crate::paging::{self, OutOfFrames};
use crate::{acpi, apic, clock, interrupts, platform, vectors};
use core::cell::UnsafeCell;
use core::ptr::copy_nonoverlapping;
use core::sync::atomic::Ordering;
use spin::Once;

const WAITING: u32 = 0;
const ARRIVED: u32 = 1;
const GIVEN_UP: u32 = 2;

/// How long a core may take to come up, in nanoseconds. Generous: a host may be busy.
const PATIENCE_NS: u64 = 2_000_000_000;

#[repr(C)]
struct Entry {
    apic_id: u32,
    stack: u64,
    block: *const CpuBlock,
}

/// What a starting core needs, found by its APIC ID. Read by the trampoline: the layout counts.
#[repr(C)]
pub struct Starting(UnsafeCell<Table>);

#[repr(C)]
struct Table {
    count: u64,
    entries: [Entry; MAX_CORES],
}

// SAFETY: written by the boot core before any other runs, read afterwards.
unsafe impl Sync for Starting {}

/// See [`Starting`].
pub static STARTING: Starting = Starting(UnsafeCell::new(Table {
    count: 0,
    entries: [const {
        Entry {
            apic_id: 0,
            stack: 0,
            block: core::ptr::null(),
        }
    }; MAX_CORES],
}));

/// Where the cores that came up go on, once they may.
static RUN: Once<fn(&'static CpuBlock) -> !> = Once::new();

unsafe extern "C" {
    static ebb_trampoline: u8;
    static ebb_trampoline_end: u8;
    static ebb_trampoline_far: u8;
    static ebb_trampoline_cr3: u8;
    static ebb_trampoline_gdt_ptr: u8;
    static ebb_boot_pml4: u8;
}

/// Finds a page below 640 KiB for the trampoline, clear of the first 32 KiB.
fn low_page(map: &[Region]) -> Option<u64> {
    let usable = |at: u64| {
        map.iter()
            .any(|r| r.kind == Kind::Usable && r.start <= at && at + 4096 <= r.end())
    };
    (0x8..0xa0).map(|n| n * 4096).find(|&at| usable(at))
}

/// Cores on their way up.
pub struct Launch {
    blocks: [Option<&'static CpuBlock>; MAX_CORES],
    page: u8,
    broken: Option<u32>,
    /// No page below 1 MiB was free for the trampoline, so only the first core runs.
    pub no_low_page: bool,
}

/// Starts the cores after the first, `limit` in all; [`Launch::collect`] waits for them. The core with the APIC ID
/// `broken` (for tests) is given no startup IPI.
///
/// # Errors
/// [`OutOfFrames`] when memory does not suffice for the cores' stacks.
pub fn launch(map: &[Region], limit: usize, broken: Option<u32>) -> Result<Launch, OutOfFrames> {
    let machine = acpi::get();
    let ids = &machine.cores[1..machine.count.min(limit)];
    let mut launch = Launch {
        blocks: [None; MAX_CORES],
        page: 0,
        broken,
        no_low_page: false,
    };
    if ids.is_empty() {
        return Ok(launch);
    }
    let Some(page) = low_page(map) else {
        launch.no_low_page = true;
        return Ok(launch);
    };
    launch.page = (page >> 12) as u8;
    let blocks = &mut launch.blocks;
    for (slot, &id) in blocks.iter_mut().zip(ids) {
        let block = cpu::new_block(id)?;
        block.apic = apic::registers();
        *slot = Some(block);
    }
    {
        // SAFETY: no other core runs yet.
        let table = unsafe { &mut *STARTING.0.get() };
        for (entry, block) in table.entries.iter_mut().zip(blocks.iter().flatten()) {
            *entry = Entry {
                apic_id: block.apic_id,
                stack: block.stacks[0].top,
                block: *block,
            };
        }
        table.count = ids.len() as u64;
    }
    // SAFETY: `page` is a whole page of usable memory, mapped by the linear map, that nobody owns.
    unsafe {
        let start = &raw const ebb_trampoline;
        let at = paging::linear(page).cast::<u8>();
        copy_nonoverlapping(
            start,
            at,
            (&raw const ebb_trampoline_end).offset_from_unsigned(start),
        );
        let field = |symbol: *const u8| at.add(symbol.offset_from_unsigned(start)).cast::<u32>();
        let far = field(&raw const ebb_trampoline_far);
        far.write_unaligned(far.read_unaligned() + page as u32);
        let gdt = field(&raw const ebb_trampoline_gdt_ptr).byte_add(2);
        gdt.write_unaligned(gdt.read_unaligned() + page as u32);
        field(&raw const ebb_trampoline_cr3)
            .write_unaligned((&raw const ebb_boot_pml4 as u64 - crate::layout::BASE) as u32);
    }
    for &id in ids.iter().filter(|&&id| Some(id) != broken) {
        apic::send_init(id);
    }
    launch.send_startup();
    Ok(launch)
}

fn is_waiting(block: &CpuBlock) -> bool {
    block.state.load(Ordering::Acquire) == WAITING
}

impl Launch {
    fn blocks(&self) -> impl Iterator<Item = &'static CpuBlock> {
        self.blocks.iter().flatten().copied()
    }

    fn send_startup(&self) {
        for block in self
            .blocks()
            .filter(|b| is_waiting(b) && Some(b.apic_id) != self.broken)
        {
            apic::send_startup(block.apic_id, self.page);
        }
    }

    /// Waits for the cores and numbers those that came; calls `missing` with the APIC ID of each
    /// that did not. The clock runs.
    ///
    /// Processors since the Pentium 4 need no pause between INIT and the startup IPI, and no second
    /// startup IPI; but one to those that have not come after a while does no harm (Linux,
    /// `wakeup_secondary_cpu_via_init`).
    pub fn collect(self, mut missing: impl FnMut(u32)) {
        let begun_ns = clock::now_ns();
        let mut again = false;
        while self.blocks().any(is_waiting) {
            let now_ns = clock::now_ns();
            let elapsed_ns = now_ns.saturating_sub(begun_ns);
            if elapsed_ns > PATIENCE_NS {
                break;
            }
            if elapsed_ns > PATIENCE_NS / 20 && !again {
                again = true;
                self.send_startup();
            }
            // Asleep: where the host has fewer cores than the machine, the others need them to get
            // here. Each wakes us as it arrives.
            platform::sleep_until(cpu::this(), now_ns + PATIENCE_NS / 40);
        }
        let mut next = 1;
        for block in self.blocks() {
            let state = &block.state;
            match state.compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => missing(block.apic_id),
                Err(_) => {
                    cpu::publish(block, next);
                    next += 1;
                }
            }
        }
    }
}

/// Lets the cores that came up go on with `run`.
pub fn release(run: fn(&'static CpuBlock) -> !) {
    RUN.call_once(|| run);
    for block in (1..cpu::count()).filter_map(cpu::get) {
        apic::send(block.apic_id, vectors::WAKE);
    }
}

/// Where a core other than the first arrives, on its own stack and the kernel's page tables.
pub extern "C" fn ap_start(block: &'static CpuBlock) -> ! {
    // SAFETY: the trampoline found this block by our APIC ID, so it is ours alone.
    unsafe { cpu::enter(block, interrupts::load) };
    apic::init();
    if block
        .state
        .compare_exchange(WAITING, ARRIVED, Ordering::AcqRel, Ordering::Acquire)
        .is_err()
    {
        cpu::halt();
    }
    if let Some(first) = cpu::get(0) {
        apic::send(first.apic_id, vectors::WAKE);
    }
    // `release` sets RUN before it sends the interrupt that ends a sleep begun too early.
    loop {
        if let Some(run) = RUN.get() {
            run(block);
        }
        interrupts::wait();
    }
}
