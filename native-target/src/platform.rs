//! The components of the platform seam (`ebb_runtime::platform`), provided by the machine.
//!
//! What must hold: interrupts are off except inside `park` and `poll`; handlers run here, after the
//! window has closed, on the core's own stack.

use crate::cpu::{self, CpuBlock, Handler};
use crate::interrupts::{self, FIRST_DEVICE, LAST_DEVICE};
use crate::{apic, clock, console, options, paging, pci, report, start, tables};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::arch::x86_64::{__cpuid, _rdrand64_step};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use ebb_runtime::platform::{
    Clock, Console, Cores, Entropy, Environment, Hardware, MsiMessage, PciAddress, PciFunction,
    Power, Unwind,
};
use ebb_runtime::{CoreId, provides};
use spin::Once;

/// The machine, as the provider of every component.
struct Native;

/// The runtime's token for a core: its block.
pub fn token(block: &'static CpuBlock) -> usize {
    core::ptr::from_ref(block) as usize
}

fn block_of(token: usize) -> &'static CpuBlock {
    // SAFETY: tokens are made by `token` from blocks, which live for ever.
    unsafe { &*(token as *const CpuBlock) }
}

#[provides(Cores, instance = &Native)]
impl Cores for Native {
    #[inline]
    fn wake(&self, token: usize) {
        let block = block_of(token);
        if block.notified.swap(1, Ordering::AcqRel) == 0 && !core::ptr::eq(block, cpu::this()) {
            // Pending until the target's next window, if it has none now.
            apic::send(block.apic_id, interrupts::WAKE);
        }
    }

    #[inline]
    fn park(&self, token: usize, deadline: Option<u64>) {
        let block = block_of(token);
        if block.id.load(Ordering::Relaxed) == 0 {
            clock::refine();
        }
        if block.notified.load(Ordering::Acquire) != 0 || !arm(block, deadline) {
            interrupts::poll();
        } else {
            ebb_mem::flush_remote();
            interrupts::wait();
        }
        block.notified.store(0, Ordering::Release);
        handle(block);
    }

    #[inline]
    fn poll(&self, token: usize) {
        interrupts::poll();
        handle(block_of(token));
    }
}

/// Sleeps until an interrupt comes or the clock reaches `deadline`; for the time before the core's loop runs.
pub fn sleep_until(block: &CpuBlock, deadline: u64) {
    if arm(block, Some(deadline)) {
        interrupts::wait();
    }
    handle(block);
}

/// Sets this core's timer; false if the deadline has passed.
fn arm(block: &CpuBlock, deadline: Option<u64>) -> bool {
    let armed = block.armed.load(Ordering::Relaxed);
    let Some(deadline) = deadline else {
        if armed != 0 {
            disarm(block);
        }
        return true;
    };
    if armed == deadline {
        return true;
    }
    if apic::has_deadline_timer() {
        let at = clock::tsc_at(deadline);
        if at <= clock::tsc() {
            return false;
        }
        apic::set_deadline(at);
    } else {
        let now = clock::now();
        if deadline <= now {
            return false;
        }
        // A countdown longer than the register holds is cut: the core wakes and comes back here.
        apic::set_countdown(clock::apic_ticks(deadline - now));
    }
    block.armed.store(deadline, Ordering::Relaxed);
    true
}

/// Sets this core's timer to `deadline` unless it fires earlier anyway. A deadline that has passed fires at once: whoever
/// enters a guest has nothing else that brings it back, so no amount of time lost on the way here may leave the timer off.
pub fn arm_earlier(block: &CpuBlock, deadline: u64) {
    let armed = block.armed.load(Ordering::Relaxed);
    if armed != 0 && armed <= deadline {
        return;
    }
    if apic::has_deadline_timer() {
        // One in the past fires at once (SDM volume 3, 11.5.4.1); 0 would disarm.
        apic::set_deadline(clock::tsc_at(deadline).max(1));
    } else {
        let left = deadline.saturating_sub(clock::now());
        apic::set_countdown(clock::apic_ticks(left));
    }
    block.armed.store(deadline, Ordering::Relaxed);
}

fn disarm(block: &CpuBlock) {
    if apic::has_deadline_timer() {
        apic::set_deadline(0);
    } else {
        apic::set_countdown(0);
    }
    block.armed.store(0, Ordering::Relaxed);
}

/// Runs the handlers of what came in during a window.
#[inline]
fn handle(block: &CpuBlock) {
    interrupts::drain(|vector| match vector {
        interrupts::TIMER => block.armed.store(0, Ordering::Relaxed),
        FIRST_DEVICE..=LAST_DEVICE => {
            let slot = &block.handlers[usize::from(vector - FIRST_DEVICE)];
            if let Some(handler) = slot.handler.get() {
                handler.0(handler.1);
            }
        }
        _ => {}
    });
}

#[provides(Clock, default, instance = &Native)]
impl Clock for Native {
    #[inline]
    fn now(&self) -> u64 {
        clock::now()
    }

    fn unix_time(&self) -> u64 {
        clock::wall()
    }
}

#[provides(Console, default, instance = &Native)]
impl Console for Native {
    fn write(&self, bytes: &[u8]) {
        console::write(bytes);
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        console::read(buffer)
    }

    fn note(&self, line: &str) {
        for line in line.lines() {
            report::line(format_args!("note {line}"));
        }
    }
}

#[provides(Power, default, instance = &Native)]
impl Power for Native {
    fn exit(&self, status: i32) -> ! {
        report::exit(exit_status(status))
    }
}

/// A status as eight bits; failure stays failure.
pub fn exit_status(status: i32) -> u8 {
    u8::try_from(status).unwrap_or(255)
}

#[provides(Entropy, default, instance = &Native)]
impl Entropy for Native {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = random().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

fn random() -> u64 {
    static HAS_RDRAND: Once<bool> = Once::new();
    let has = *HAS_RDRAND.call_once(|| {
        let has = __cpuid(1).ecx & 1 << 30 != 0;
        if !has {
            crate::say!("ebb: this CPU has no RDRAND; random numbers come from timing and are not fit for keys");
        }
        has
    });
    if has {
        let mut word = 0;
        // Ten tries: Intel's "Digital Random Number Generator Software Implementation Guide", 5.2.1.
        for _ in 0..10 {
            // SAFETY: the CPU has the instruction.
            if unsafe { rdrand(&mut word) } {
                return word;
            }
        }
    }
    jitter()
}

#[target_feature(enable = "rdrand")]
fn rdrand(word: &mut u64) -> bool {
    _rdrand64_step(word) == 1
}

/// Timing noise, mixed (SplitMix64's finalizer). A stopgap, see the message above.
fn jitter() -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);
    let mut x = STATE.load(Ordering::Relaxed);
    for _ in 0..64 {
        x = x.rotate_left(7) ^ clock::tsc();
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
    }
    STATE.store(x, Ordering::Relaxed);
    x
}

#[provides(Environment, default, instance = &Native)]
impl Environment for Native {
    fn arguments(&self) -> &'static [&'static str] {
        static ARGUMENTS: Once<Vec<&'static str>> = Once::new();
        ARGUMENTS.call_once(|| options::arguments(start::handover().command_line()))
    }

    fn option(&self, name: &str) -> Option<&'static str> {
        options::value(start::handover().command_line(), name)
    }

    fn archive(&self) -> &'static [u8] {
        let Some(&(start, len)) = start::handover().modules.first() else {
            return &[];
        };
        // A module outside memory is not in the linear map.
        let reachable = start.checked_add(len).is_some_and(|end| {
            let holds = |r: &crate::memory::Region| {
                r.kind == crate::memory::Kind::Usable && r.start <= start && end <= r.end()
            };
            start::handover().map().iter().any(holds)
        });
        if len == 0 || !start.is_multiple_of(crate::memory::FRAME) || !reachable {
            return &[];
        }
        // SAFETY: the loader filled this memory, the linear map has it, and the heap was not given it.
        unsafe { core::slice::from_raw_parts(paging::linear(start).cast(), len as usize) }
    }
}

#[provides(Unwind, instance = &Native)]
impl Unwind for Native {
    fn catch(&self, f: &mut dyn FnMut()) -> Result<(), Box<dyn Any + Send>> {
        // A panic ends the image before it could come back.
        f();
        Ok(())
    }
}

#[provides(Hardware, instance = &Native)]
impl Hardware for Native {
    fn memory(&self) -> u64 {
        let map = start::handover().map();
        let usable = map.iter().filter(|r| r.kind == crate::memory::Kind::Usable);
        usable.map(|r| r.len).sum()
    }

    fn pci_functions(&self) -> &'static [PciFunction] {
        pci::functions()
    }

    fn pci_read(&self, function: PciAddress, offset: u16) -> u32 {
        pci::read(function, offset)
    }

    fn pci_write(&self, function: PciAddress, offset: u16, value: u32) {
        pci::write(function, offset, value);
    }

    fn map_device(&self, physical: u64, length: usize) -> Option<NonNull<u8>> {
        let end = physical.checked_add(length as u64).filter(|_| length > 0)?;
        let memory = |r: &crate::memory::Region| {
            r.kind != crate::memory::Kind::Reserved && r.start < end && physical < r.end()
        };
        if start::handover().map().iter().any(memory) {
            return None;
        }
        NonNull::new(paging::map_device(physical, length as u64).ok()?)
    }

    fn physical_address(&self, virtual_address: *const u8) -> u64 {
        paging::physical(virtual_address as u64)
            .unwrap_or_else(|| panic!("{virtual_address:p} is not mapped"))
    }

    fn virtual_address(&self, physical: u64) -> *mut u8 {
        paging::linear(physical).cast()
    }

    fn bind_interrupt(
        &self,
        core: CoreId,
        handler: fn(usize),
        argument: usize,
    ) -> Option<MsiMessage> {
        let block = cpu::get(core.number())?;
        // A message addresses 8 bits of APIC ID; more would need interrupt remapping.
        let target = u8::try_from(block.apic_id).ok()?;
        let vector = bind(block, handler, argument)?;
        Some(MsiMessage {
            address: 0xfee0_0000 | u64::from(target) << 12,
            data: u32::from(vector),
        })
    }
}

/// Allocates a vector on a core.
pub fn bind(block: &CpuBlock, handler: fn(usize), argument: usize) -> Option<u8> {
    let mut handler = Some(Handler(handler, argument));
    for (slot, vector) in block.handlers.iter().zip(FIRST_DEVICE..=LAST_DEVICE) {
        let mut ours = false;
        slot.handler.call_once(|| {
            ours = true;
            handler.take().expect("taken once")
        });
        if ours {
            return Some(vector);
        }
    }
    None
}

/// Routes an ISA interrupt line to a core through its I/O APIC, once for each time that the line is raised: interrupts are
/// acknowledged before their handler runs, so a line that stays raised until then would interrupt without end if its level
/// counted. The handler must take away every reason that its device has to raise the line.
pub fn bind_isa(line: usize, block: &CpuBlock, handler: fn(usize)) -> Option<()> {
    let machine = tables::get();
    let (global, flags) = machine.isa[line];
    let io_apic = machine
        .io_apics
        .iter()
        .filter(|a| a.address != 0 && a.first <= global)
        .max_by_key(|a| a.first)?;
    let target = u8::try_from(block.apic_id).ok()?;
    let registers = paging::map_device(io_apic.address, 0x20)
        .ok()?
        .cast::<u32>();
    let vector = bind(block, handler, 0)?;
    // MPS INTI flags: 3 is active low; ISA lines are else high.
    let polarity = u32::from(flags & 3 == 3) << 13;
    let register = 0x10 + 2 * (global - io_apic.first);
    // SAFETY: the I/O APIC's index and data registers, mapped; only the boot core uses them.
    unsafe {
        let write = |index: u32, value: u32| {
            registers.write_volatile(index);
            registers.byte_add(0x10).write_volatile(value);
        };
        write(register + 1, u32::from(target) << 24);
        write(register, u32::from(vector) | polarity);
    }
    Some(())
}
