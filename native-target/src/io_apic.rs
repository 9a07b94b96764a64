//! Interrupt lines, by the I/O APIC.
//!
//! What must hold: an I/O APIC's index and data registers are used under their lock, and a line has one handler.

use crate::cpu::CpuBlock;
use crate::vectors;
use crate::{acpi, paging};
use spin::mutex::SpinMutex as Mutex;

/// The global interrupts that are bound, a bit for each; those above have no handler.
static BOUND: Mutex<u128> = Mutex::new(0);

/// Index of the register whose bits 16 to 23 are the number of the last input.
const VERSION: u32 = 1;
/// Index of the first input's pair of registers.
const INPUTS: u32 = 0x10;

/// Routes an interrupt line to a core through its I/O APIC, once for each time that the line is raised: interrupts are
/// acknowledged before their handler runs, so a line that stays raised until then would interrupt without end if its level
/// counted. The handler must take away every reason that its device has to raise the line.
///
/// Lines below 16 are those of the ISA bus, which the firmware's tables may wire to any input; the others are global
/// interrupts. `None` when nothing has that input, or it is bound already.
pub fn bind(line: u32, block: &CpuBlock, handler: fn(usize), argument: usize) -> Option<()> {
    let machine = acpi::get();
    let isa = machine.isa.get(line as usize).copied();
    let (global, flags) = isa.unwrap_or((line, 0));
    let io_apic = machine
        .io_apics
        .iter()
        .filter(|a| a.address != 0 && a.first <= global)
        .max_by_key(|a| a.first)?;
    let target = u8::try_from(block.apic_id).ok()?;
    let registers = paging::map_device(io_apic.address, 0x20)
        .ok()?
        .cast::<u32>();
    let bit = 1u128.checked_shl(global)?;
    let mut bound = BOUND.lock();
    let input = global - io_apic.first;
    // SAFETY: the I/O APIC's index and data registers, mapped, under their lock.
    let last = unsafe {
        registers.write_volatile(VERSION);
        registers.byte_add(0x10).read_volatile() >> 16 & 0xff
    };
    if input > last || *bound & bit != 0 {
        return None;
    }
    let vector = vectors::bind(block, handler, argument)?;
    *bound |= bit;
    // MPS INTI flags: 3 is active low; ISA lines are else high.
    let polarity = u32::from(flags & 3 == 3) << 13;
    let register = INPUTS + 2 * input;
    // SAFETY: as above.
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
