//! Interrupt lines of the ISA bus, by the I/O APIC.

use crate::cpu::CpuBlock;
use crate::vectors::bind;
use crate::{acpi, paging};

/// Routes an ISA interrupt line to a core through its I/O APIC, once for each time that the line is raised: interrupts are
/// acknowledged before their handler runs, so a line that stays raised until then would interrupt without end if its level
/// counted. The handler must take away every reason that its device has to raise the line.
pub fn bind_isa(line: usize, block: &CpuBlock, handler: fn(usize)) -> Option<()> {
    let machine = acpi::get();
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
