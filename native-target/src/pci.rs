//! PCI: finding functions and reaching their configuration space, by memory (ECAM) where ACPI names
//! it, else by ports 0xcf8 and 0xcfc.
//!
//! What must hold: the port pair is used under its lock; a bus's window is mapped once.

use crate::{paging, tables};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use ebb_runtime::platform::{PciAddress, PciFunction};
use spin::Once;
use spin::mutex::SpinMutex as Mutex;
use x86_64::instructions::port::Port;

static PORTS: Mutex<()> = Mutex::new(());
static BUSES: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];
static FUNCTIONS: Once<Vec<PciFunction>> = Once::new();

/// The window of a bus, if configuration space is mapped in memory.
fn window(bus: u8) -> Option<u64> {
    let ecam = tables::get()
        .ecam
        .filter(|e| (e.first..=e.last).contains(&bus))?;
    let slot = &BUSES[usize::from(bus)];
    let known = slot.load(Ordering::Acquire);
    if known != 0 {
        return Some(known);
    }
    // Two cores may map it twice; either mapping is right.
    let at = paging::map_device(ecam.address + (u64::from(bus) << 20), 1 << 20).ok()? as u64;
    slot.store(at, Ordering::Release);
    Some(at)
}

fn select(at: PciAddress, offset: u16) -> u32 {
    1 << 31
        | u32::from(at.bus) << 16
        | u32::from(at.device & 31) << 11
        | u32::from(at.function & 7) << 8
        | u32::from(offset & 0xfc)
}

fn in_window(base: u64, at: PciAddress, offset: u16) -> *mut u32 {
    (base
        + (u64::from(at.device & 31) << 15)
        + (u64::from(at.function & 7) << 12)
        + u64::from(offset & 0xffc)) as *mut u32
}

/// Reads a 32-bit register; all ones where there is none.
pub fn read(at: PciAddress, offset: u16) -> u32 {
    if let Some(base) = window(at.bus) {
        // SAFETY: the address lies in the bus's mapped window.
        return unsafe { in_window(base, at, offset).read_volatile() };
    }
    if offset >= 256 {
        return u32::MAX;
    }
    let _guard = PORTS.lock();
    // SAFETY: the configuration ports, under their lock.
    unsafe {
        Port::<u32>::new(0xcf8).write(select(at, offset));
        Port::<u32>::new(0xcfc).read()
    }
}

/// Writes a 32-bit register.
pub fn write(at: PciAddress, offset: u16, value: u32) {
    if let Some(base) = window(at.bus) {
        // SAFETY: the address lies in the bus's mapped window.
        unsafe { in_window(base, at, offset).write_volatile(value) };
        return;
    }
    if offset >= 256 {
        return;
    }
    let _guard = PORTS.lock();
    // SAFETY: the configuration ports, under their lock.
    unsafe {
        Port::<u32>::new(0xcf8).write(select(at, offset));
        Port::<u32>::new(0xcfc).write(value);
    }
}

/// Every function; found at the first question.
pub fn functions() -> &'static [PciFunction] {
    FUNCTIONS.call_once(|| {
        let mut found = Vec::new();
        scan(0, &mut found, 0);
        found
    })
}

fn scan(bus: u8, found: &mut Vec<PciFunction>, depth: u32) {
    for device in 0..32 {
        let first = PciAddress {
            bus,
            device,
            function: 0,
        };
        if read(first, 0) & 0xffff == 0xffff {
            continue;
        }
        let several = read(first, 0x0c) >> 16 & 0x80 != 0;
        for function in 0..if several { 8 } else { 1 } {
            let address = PciAddress {
                bus,
                device,
                function,
            };
            let id = read(address, 0);
            if id & 0xffff == 0xffff {
                continue;
            }
            let class = read(address, 8);
            found.push(PciFunction {
                address,
                vendor: id as u16,
                device: (id >> 16) as u16,
                class,
            });
            // A bridge to another bus; firmware has numbered it. Deeper than any machine is a loop.
            if class >> 16 == 0x0604 && depth < 16 {
                let secondary = (read(address, 0x18) >> 8) as u8;
                if secondary > bus {
                    scan(secondary, found, depth + 1);
                }
            }
        }
    }
}
