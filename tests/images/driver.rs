//! A driver of a PCI device from nothing: QEMU's `edu` (docs/specs/edu.rst of QEMU), which computes factorials and says by an
//! interrupt that it is done. The book's chapter on drivers goes through it.
//!
//! Prints `N! = RESULT` for each argument. Boot it with `EBB_QEMU_ARGS="-device edu"`.

#![no_std]
#![no_main]

extern crate alloc;

use core::{
    future::poll_fn,
    ptr::NonNull,
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
};

use alloc::boxed::Box;

use atomic_waker::AtomicWaker;
use ebb::{
    EbbRef, current_core, ebb,
    platform::{Hardware, PciAddress, PciFunction},
    println,
    sync::Mutex,
};

// ANCHOR: registers
/// Registers, by their offset in the memory of BAR 0.
const FACTORIAL: usize = 0x08;
const STATUS: usize = 0x20;
const ACKNOWLEDGE: usize = 0x64;
/// Bits of `STATUS`.
const COMPUTING: u32 = 1;
const INTERRUPT_WHEN_DONE: u32 = 0x80;

/// The device's memory.
///
/// What must hold: `base` is a mapping of BAR 0, which lasts as long as the machine.
struct Registers {
    base: NonNull<u32>,
}

impl Registers {
    fn read(&self, offset: usize) -> u32 {
        // SAFETY: an aligned register within the mapping; the device owns it, so every access is volatile.
        unsafe { self.base.byte_add(offset).read_volatile() }
    }

    fn write(&self, offset: usize, value: u32) {
        // SAFETY: as for `read`.
        unsafe { self.base.byte_add(offset).write_volatile(value) }
    }
}
// ANCHOR_END: registers

// ANCHOR: interrupt
/// What the interrupt handler and the task share.
#[derive(Default)]
struct Done {
    came: AtomicBool,
    waker: AtomicWaker,
}

/// Runs on the core that the interrupt is bound to, with interrupts off: it records and wakes, and does nothing else.
fn on_interrupt(done: usize) {
    // SAFETY: the address that `Edu::find` gave, of a `Done` that lives for ever.
    let done = unsafe { &*(done as *const Done) };
    done.came.store(true, Ordering::Release);
    done.waker.wake();
}
// ANCHOR_END: interrupt

// ANCHOR: device
/// The device, on the core that found it.
#[ebb(per_core)]
struct Edu {
    registers: Option<Registers>,
    done: &'static Done,
    /// It computes one at a time.
    turn: Mutex<()>,
}

impl Default for Edu {
    fn default() -> Self {
        let done: &Done = Box::leak(Box::default());
        let hardware = EbbRef::<dyn Hardware>::get();
        let mut functions = hardware.pci_functions().iter();
        let function = functions.find(|f| (f.vendor, f.device) == (0x1234, 0x11e8));
        Self {
            registers: function.and_then(|f| set_up(f, done)),
            done,
            turn: Mutex::new(()),
        }
    }
}

/// Maps the device and binds its interrupt to this core. `None` when the machine has no room for one of them.
fn set_up(function: &PciFunction, done: &'static Done) -> Option<Registers> {
    let hardware = EbbRef::<dyn Hardware>::get();
    let at = function.address;
    let bar = u64::from(hardware.pci_read(at, 0x10) & !15);
    let base = hardware.map_device(bar, 4096)?.cast();
    // The command register: answer to memory accesses, and write to memory (a message interrupt is a write).
    hardware.pci_write(at, 4, hardware.pci_read(at, 4) & 0xffff | 6);
    let message =
        hardware.bind_interrupt(current_core(), on_interrupt, (&raw const *done).addr())?;
    let capability = msi_capability(at)?;
    let control = hardware.pci_read(at, capability);
    hardware.pci_write(at, capability + 4, message.address as u32);
    let data = if control & 1 << 23 != 0 {
        hardware.pci_write(at, capability + 8, (message.address >> 32) as u32);
        12
    } else {
        8
    };
    hardware.pci_write(at, capability + data, message.data);
    // One message, enabled.
    hardware.pci_write(at, capability, control & !(7 << 20) | 1 << 16);
    Some(Registers { base })
}

/// Where the capability for message interrupts is in the function's configuration space.
fn msi_capability(at: PciAddress) -> Option<u16> {
    let hardware = EbbRef::<dyn Hardware>::get();
    let mut capability = hardware.pci_read(at, 0x34) as u16 & 0xfc;
    while capability != 0 {
        let header = hardware.pci_read(at, capability);
        if header & 0xff == 5 {
            return Some(capability);
        }
        capability = (header >> 8) as u16 & 0xfc;
    }
    None
}
// ANCHOR_END: device

// ANCHOR: compute
impl Edu {
    /// `n!`, modulo 2^32. `None` without a device.
    async fn factorial(&self, n: u32) -> Option<u32> {
        let registers = self.registers.as_ref()?;
        let _turn = self.turn.lock().await;
        self.done.came.store(false, Ordering::Relaxed);
        registers.write(STATUS, INTERRUPT_WHEN_DONE);
        registers.write(FACTORIAL, n);
        // The waker first: the interrupt may come between the two.
        poll_fn(|context| {
            self.done.waker.register(context.waker());
            if self.done.came.load(Ordering::Acquire) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        registers.write(ACKNOWLEDGE, 1);
        (registers.read(STATUS) & COMPUTING == 0).then(|| registers.read(FACTORIAL))
    }
}
// ANCHOR_END: compute

#[ebb::main]
async fn main() -> u8 {
    for argument in ebb::args() {
        let Ok(n) = argument.parse() else {
            println!("{argument} is no number");
            return 2;
        };
        match EbbRef::<Edu>::get().factorial(n).await {
            Some(result) => println!("{n}! = {result}"),
            None => {
                println!("there is no edu device; boot with EBB_QEMU_ARGS=\"-device edu\"");
                return 1;
            }
        }
    }
    0
}
