//! The power button: whoever runs the machine presses it to ask the program to end (`virsh shutdown`, QEMU's
//! `system_powerdown`, Ctrl-C at the runner).
//!
//! The program is asked as Ctrl-C asks a hosted one: one that waits for it ([`ebb_runtime::shutdown`]) is told, any other
//! ends with status 130. Registers: ACPI 6.5, 4.8.3.1 "PM1 Event Registers".

use crate::{acpi, cpu::CpuBlock, io_apic, report};
use ebb_runtime::Machine;
use spin::Once;
use x86_64::instructions::port::Port;

/// Of the status and the enable register.
const POWER_BUTTON: u16 = 1 << 8;
/// Of the control register: the chipset raises the system control interrupt.
const SCI: u16 = 1;
/// What a program ended by Ctrl-C has: 128 + SIGINT.
const STATUS: i32 = 130;

/// What is asked to end.
static MACHINE: Once<&'static Machine> = Once::new();

/// Listens to the button on this core, and says so on the debug console.
pub fn listen(core: &'static CpuBlock, machine: &'static Machine) {
    MACHINE.call_once(|| machine);
    let Some(button) = acpi::get().power_button else {
        return;
    };
    // SAFETY: the ports are those of the ACPI tables; nobody else uses them, but for the power-off.
    let owned = unsafe {
        let mut control = Port::<u16>::new(button.control);
        if control.read() & SCI == 0
            && let Some((port, value)) = button.take
        {
            Port::<u8>::new(port).write(value);
        }
        Port::<u16>::new(button.status).write(POWER_BUTTON);
        control.read() & SCI != 0
    };
    if !owned || io_apic::bind(button.line as u32, core, |_| pressed(), 0).is_none() {
        return;
    }
    // SAFETY: as above.
    unsafe { Port::<u16>::new(button.enable).write(POWER_BUTTON) };
    report::line(format_args!("power-button"));
}

fn pressed() {
    let Some(button) = acpi::get().power_button else {
        return;
    };
    // SAFETY: as in `listen`; a status bit is cleared by writing it.
    let is_pressed = unsafe {
        let mut status = Port::<u16>::new(button.status);
        let is_pressed = status.read() & POWER_BUTTON != 0;
        status.write(POWER_BUTTON);
        is_pressed
    };
    if is_pressed && let Some(machine) = MACHINE.get() {
        report::line(format_args!("shutdown"));
        machine.request_shutdown(STATUS);
    }
}
