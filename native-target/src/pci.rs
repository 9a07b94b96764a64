//! PCI: finding functions and reaching their configuration space, by memory (ECAM) where ACPI names
//! it, else by ports 0xcf8 and 0xcfc.
//!
//! What must hold: the port pair is used under its lock; a bus's window is mapped once.

use crate::{acpi, paging};
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
    let ecam = acpi::get()
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

/// Whether there is a host bridge behind the ports: its address register gives back what is written to it. What a port without a
/// device reads as is the monitor's choice (QEMU gives ones, others may give zeros), and no proof that there is a function.
fn has_ports() -> bool {
    const ENABLE: u32 = 1 << 31;
    let _guard = PORTS.lock();
    // SAFETY: the configuration ports, under their lock; each access selects anew.
    unsafe {
        let mut address = Port::<u32>::new(0xcf8);
        address.write(ENABLE);
        address.read() == ENABLE
    }
}

/// Every function; found at the first question.
pub fn functions() -> &'static [PciFunction] {
    FUNCTIONS.call_once(|| {
        let mut found = Vec::new();
        if acpi::get().ecam.is_none() && !has_ports() {
            return found;
        }
        scan(0, &mut found, 0);
        assign(&found);
        found
    })
}

/// Where memory BARs go that the firmware left at 0 (qboot does): above the most memory that QEMU's
/// machines put below 4 GiB, below the I/O APIC.
const WINDOW: (u64, u64) = (0xe000_0000, 0xfec0_0000);

/// Gives addresses to memory BARs without one. The image's note says that it does this.
fn assign(found: &[PciFunction]) {
    let mut used = [(0u64, 0u64); 64];
    let mut count = 0;
    // What has an address keeps it.
    for each in found {
        bars(each, |bar| {
            if bar.base != 0 && count < used.len() {
                used[count] = (bar.base, bar.base + bar.size);
                count += 1;
            }
        });
    }
    let mut next = WINDOW.0;
    for each in found {
        let at = each.address;
        let mut changed = false;
        bars(each, |bar| {
            if bar.base != 0 {
                return;
            }
            let mut base = next.next_multiple_of(bar.size.max(4096));
            while let Some(taken) = used[..count]
                .iter()
                .find(|u| base < u.1 && u.0 < base + bar.size)
            {
                base = taken.1.next_multiple_of(bar.size.max(4096));
            }
            if base + bar.size > WINDOW.1 {
                crate::inform!(
                    "ebb: no address is left for a BAR of {} bytes of PCI function {at:?}",
                    bar.size
                );
                return;
            }
            write(at, bar.register, base as u32);
            if bar.wide {
                write(at, bar.register + 4, 0);
            }
            next = base + bar.size;
            changed = true;
        });
        if changed {
            // Decode memory.
            write(at, 4, read(at, 4) & 0xffff | 2);
        }
    }
}

struct Bar {
    register: u16,
    base: u64,
    size: u64,
    wide: bool,
}

/// Calls `each` for every memory BAR of an ordinary function.
fn bars(function: &PciFunction, mut each: impl FnMut(Bar)) {
    let at = function.address;
    if read(at, 0x0c) >> 16 & 0x7f != 0 {
        return; // a bridge
    }
    let command = read(at, 4) & 0xffff;
    let mut register = 0x10;
    while register < 0x28 {
        let low = read(at, register);
        let wide = low & 0b111 == 0b100;
        if low & 1 == 0 {
            // Its size shows in the bits that stay 0; nothing may decode meanwhile.
            write(at, 4, command & !3);
            write(at, register, u32::MAX);
            let mut mask = u64::from(read(at, register) & !15) | 0xffff_ffff_0000_0000;
            write(at, register, low);
            let mut base = u64::from(low & !15);
            if wide {
                let high = read(at, register + 4);
                write(at, register + 4, u32::MAX);
                mask = mask & 0xffff_ffff | u64::from(read(at, register + 4)) << 32;
                write(at, register + 4, high);
                base |= u64::from(high) << 32;
            }
            write(at, 4, command);
            if mask & 0xffff_fff0 != 0 || wide && mask != 0 {
                each(Bar {
                    register,
                    base,
                    size: (!mask).wrapping_add(1),
                    wide,
                });
            }
        }
        register += if wide { 8 } else { 4 };
    }
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
