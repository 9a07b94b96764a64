//! A virtio device without a bus (VIRTIO 1.2, 4.2): its registers, and its one interrupt line.
//!
//! virtio-drivers' own transport keeps its registers to itself, as that for PCI does.
//!
//! What must hold: a line is raised while the device has a reason, and its interrupt comes when that begins; so a
//! handler has to take every reason away, or the line stays raised and interrupts no more.

use alloc::{boxed::Box, vec::Vec};

use ebb::{
    EbbRef, current_core,
    platform::{Hardware, MmioDevice},
};
use spin::Once;

use crate::{
    memory::Addresses,
    registers::{Doorbell, Fault, Registers, await_reset},
};

/// "virt", in the first register of each.
const MAGIC: u32 = 0x7472_6976;
/// The version of VIRTIO 1.0 and later.
const MODERN: u32 = 2;
/// That of the interface before.
const LEGACY: u32 = 1;

/// Offsets of registers, all of 32 bits (table 4.1).
mod at {
    pub const MAGIC: usize = 0x00;
    pub const VERSION: usize = 0x04;
    pub const KIND: usize = 0x08;
    pub const FEATURES: usize = 0x10;
    pub const FEATURES_HALF: usize = 0x14;
    pub const DRIVER_FEATURES: usize = 0x20;
    pub const DRIVER_FEATURES_HALF: usize = 0x24;
    pub const QUEUE: usize = 0x30;
    pub const QUEUE_MOST: usize = 0x34;
    pub const QUEUE_SIZE: usize = 0x38;
    pub const QUEUE_READY: usize = 0x44;
    pub const NOTIFY: usize = 0x50;
    pub const REASONS: usize = 0x60;
    pub const ACKNOWLEDGE: usize = 0x64;
    pub const STATUS: usize = 0x70;
    pub const DESCRIPTORS: usize = 0x80;
    pub const DRIVER: usize = 0x90;
    pub const DEVICE: usize = 0xa0;
    pub const GENERATION: usize = 0xfc;
    pub const CONFIG: usize = 0x100;
}

/// A device that can be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) place: MmioDevice,
    /// virtio's number for its type.
    kind: u32,
    registers: Registers,
}

/// `Ok(None)` where the monitor has nothing plugged in.
fn look_at(place: MmioDevice) -> Result<Option<Found>, Fault> {
    let length = place.length as usize;
    let base = EbbRef::<dyn Hardware>::get().map_device(place.address, length);
    let base = base.ok_or("its registers would lie in memory")?;
    // SAFETY: they were just mapped, for ever and not over memory.
    let registers = unsafe { Registers::new::<u32>(base, length) };
    let registers = registers.ok_or("its registers are not aligned")?;
    if length < at::CONFIG || registers.read::<u32>(at::MAGIC) != MAGIC {
        return Err("there is no virtio device");
    }
    let kind = registers.read::<u32>(at::KIND);
    match registers.read::<u32>(at::VERSION) {
        _ if kind == 0 => Ok(None),
        MODERN => Ok(Some(Found {
            place,
            kind,
            registers,
        })),
        LEGACY => Err(
            "it has the interface from before VIRTIO 1.0 (QEMU: -global virtio-mmio.force-legacy=false)",
        ),
        _ => Err("its interface is of a version that nobody knows"),
    }
}

/// The devices of a type, in the order in which the monitor named them.
pub(crate) fn find(kind: u16) -> impl Iterator<Item = Found> {
    static FOUND: Once<Vec<Found>> = Once::new();
    let all = FOUND.call_once(|| {
        let mut found = Vec::new();
        for place in EbbRef::<dyn Hardware>::get().virtio_mmio() {
            match look_at(*place) {
                Ok(device) => found.extend(device),
                Err(fault) => ebb::inform!(
                    "ebb: the device at MMIO {:#x} is not used: {fault}",
                    place.address
                ),
            }
        }
        found
    });
    all.iter()
        .filter(move |found| found.kind == u32::from(kind))
        .copied()
}

/// What an interrupt does.
struct Line {
    registers: Registers,
    handler: fn(usize),
    argument: usize,
}

/// A device that raises its line again and again in vain is broken; nobody waits for it here.
const MOST_REASONS: usize = 16;

fn interrupt(argument: usize) {
    // SAFETY: `argument` is a `Line` that `bind` leaked.
    let line: &Line = unsafe { &*core::ptr::with_exposed_provenance(argument) };
    for _ in 0..MOST_REASONS {
        let reasons = line.registers.read::<u32>(at::REASONS);
        if reasons == 0 {
            break;
        }
        line.registers.write(at::ACKNOWLEDGE, reasons);
    }
    // After that, so that it sees what the reasons were about.
    (line.handler)(line.argument);
}

/// A device of one type.
#[derive(Clone, Copy)]
pub(crate) struct Transport {
    registers: Registers,
    line: u32,
}

impl Transport {
    /// Resets a device.
    pub(crate) fn new(found: Found) -> Result<Self, Fault> {
        let this = Self {
            registers: found.registers,
            line: found.place.line,
        };
        this.set_status(0);
        await_reset(|| this.status())?;
        Ok(this)
    }

    pub(crate) fn status(&self) -> u8 {
        self.registers.read::<u32>(at::STATUS) as u8
    }

    pub(crate) fn set_status(&self, status: u8) {
        self.registers.write(at::STATUS, u32::from(status));
    }

    pub(crate) fn features(&self) -> u64 {
        let mut features = 0;
        for half in 0..2u32 {
            self.registers.write(at::FEATURES_HALF, half);
            features |= u64::from(self.registers.read::<u32>(at::FEATURES)) << (32 * half);
        }
        features
    }

    pub(crate) fn set_features(&self, features: u64) {
        for half in 0..2u32 {
            self.registers.write(at::DRIVER_FEATURES_HALF, half);
            let bits = (features >> (32 * half)) as u32;
            self.registers.write(at::DRIVER_FEATURES, bits);
        }
    }

    pub(crate) fn config8(&self, offset: usize) -> Option<u8> {
        let offset = offset.checked_add(at::CONFIG)?;
        (offset < self.registers.length()).then(|| self.registers.read(offset))
    }

    pub(crate) fn generation(&self) -> u32 {
        self.registers.read(at::GENERATION)
    }

    pub(crate) fn queue_size(&self, queue: u16) -> u16 {
        self.registers.write(at::QUEUE, u32::from(queue));
        let most = self.registers.read::<u32>(at::QUEUE_MOST);
        // VIRTIO 1.2, 2.7: at most 32768.
        most.min(1 << 15) as u16
    }

    pub(crate) fn doorbell(&self) -> Doorbell {
        // SAFETY: a register of the device's, mapped for ever (`Registers::new`).
        unsafe { Doorbell::of_four_bytes(self.registers.at(at::NOTIFY)) }
    }

    pub(crate) fn enable_queue(
        &self,
        queue: u16,
        size: u16,
        addresses: &Addresses,
    ) -> Result<(), Fault> {
        self.registers.write(at::QUEUE, u32::from(queue));
        if self.registers.read::<u32>(at::QUEUE_READY) != 0 {
            return Err("a queue is in use after its reset");
        }
        self.registers.write(at::QUEUE_SIZE, u32::from(size));
        for (offset, address) in [
            (at::DESCRIPTORS, addresses.descriptors),
            (at::DRIVER, addresses.driver),
            (at::DEVICE, addresses.device),
        ] {
            self.registers.write(offset, address as u32);
            self.registers.write(offset + 4, (address >> 32) as u32);
        }
        self.registers.write(at::QUEUE_READY, 1u32);
        Ok(())
    }

    /// Has the device's line call `handler(argument)` on this core. False when there is no such line.
    pub(crate) fn bind(&self, handler: fn(usize), argument: usize) -> bool {
        let line: &'static Line = Box::leak(Box::new(Line {
            registers: self.registers,
            handler,
            argument,
        }));
        let argument = core::ptr::from_ref(line).expose_provenance();
        let hardware = EbbRef::<dyn Hardware>::get();
        hardware.bind_line(self.line, current_core(), interrupt, argument)
    }
}
