//! A virtio device on PCI (VIRTIO 1.2, 4.1, the modern interface): finding it, its registers, its interrupts.
//!
//! virtio-drivers' own transport keeps its registers to itself and does not give each queue an interrupt of its own, which
//! the queues of several cores need.

use ebb::{
    EbbRef,
    platform::{Hardware, MsiMessage, PciAddress},
};

use crate::{
    memory::Addresses,
    registers::{Doorbell, Fault, Registers, await_reset},
};

const VENDOR: u16 = 0x1af4;
const CAPABILITY_VENDOR: u8 = 0x09;
const CAPABILITY_MSIX: u8 = 0x11;
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const DEVICE: u8 = 4;

/// No interrupt.
const NO_VECTOR: u16 = 0xffff;

/// A device of one type.
pub(crate) struct Transport {
    common: Registers,
    notify: Registers,
    notify_multiplier: usize,
    config: Option<Registers>,
    msix: Option<(Registers, u16)>,
}

fn hardware() -> impl Hardware {
    *EbbRef::<dyn Hardware>::get()
}

fn read8(at: PciAddress, offset: u16) -> u8 {
    (hardware().pci_read(at, offset & !3) >> (8 * (offset & 3))) as u8
}

/// The physical address of a memory BAR.
fn bar(at: PciAddress, number: u8) -> Option<u64> {
    if number > 5 {
        return None;
    }
    let offset = 0x10 + 4 * u16::from(number);
    let low = hardware().pci_read(at, offset);
    if low & 1 == 1 {
        return None;
    }
    let mut base = u64::from(low & !15);
    if low & 0b110 == 0b100 {
        base |= u64::from(hardware().pci_read(at, offset + 4)) << 32;
    }
    (base != 0).then_some(base)
}

/// The functions that are virtio devices of a type.
pub(crate) fn find(kind: u16) -> impl Iterator<Item = PciAddress> {
    // Transitional devices have numbers of their own.
    let transitional = match kind {
        1 => 0x1000,
        2 => 0x1001,
        4 => 0x1005,
        _ => 0,
    };
    hardware()
        .pci_functions()
        .iter()
        .filter(move |f| {
            f.vendor == VENDOR
                && (f.device == 0x1040 + kind || transitional != 0 && f.device == transitional)
        })
        .map(|f| f.address)
}

impl Transport {
    /// Maps a device's registers and resets it.
    ///
    /// # Errors
    /// When it lacks what it needs, or does not finish its reset.
    pub(crate) fn new(at: PciAddress) -> Result<Self, Fault> {
        let hardware = hardware();
        let (mut common, mut notify, mut config, mut msix) = (None, None, None, None);
        let mut notify_multiplier = 0;
        // Memory space, bus master; no legacy interrupt line.
        let command = hardware.pci_read(at, 4) & 0xffff;
        hardware.pci_write(at, 4, command | 0x406);
        let mut pointer = u16::from(read8(at, 0x34) & !3);
        for _ in 0..48 {
            if pointer < 0x40 {
                break;
            }
            let header = hardware.pci_read(at, pointer);
            let (id, next) = (header as u8, (header >> 8) as u8 & !3);
            if id == CAPABILITY_VENDOR {
                let kind = (header >> 24) as u8;
                let number = read8(at, pointer + 4);
                let offset = hardware.pci_read(at, pointer + 8);
                let length = hardware.pci_read(at, pointer + 12) as usize;
                let place = match kind {
                    COMMON => Some((&mut common, 56)),
                    NOTIFY => {
                        notify_multiplier = hardware.pci_read(at, pointer + 16) as usize;
                        Some((&mut notify, 2))
                    }
                    DEVICE => Some((&mut config, 8)),
                    _ => None,
                };
                if let Some((place, least)) = place
                    && place.is_none()
                    && (least..=1 << 24).contains(&length)
                    && let Some(base) = bar(at, number)
                    && let Some(base) = hardware.map_device(base + u64::from(offset), length)
                {
                    // SAFETY: they were just mapped, for ever and not over memory.
                    *place = unsafe {
                        match kind {
                            // All of it is doorbells of two bytes, and aligned as such (VIRTIO 1.2, 4.1.4.4).
                            NOTIFY => Registers::new::<u16>(base, length),
                            _ => Registers::new::<u32>(base, length),
                        }
                    };
                }
            } else if id == CAPABILITY_MSIX && msix.is_none() {
                let entries = (header >> 16 & 0x7ff) as u16 + 1;
                let table = hardware.pci_read(at, pointer + 4);
                let length = usize::from(entries) * 16;
                if let Some(base) = bar(at, (table & 7) as u8)
                    && let Some(base) = hardware.map_device(base + u64::from(table & !7), length)
                {
                    // SAFETY: as above.
                    let table = unsafe { Registers::new::<u32>(base, length) };
                    msix = table.map(|table| (table, entries));
                    // Enabled, not masked as a whole.
                    hardware.pci_write(at, pointer, header & !(1 << 30) | 1 << 31);
                }
            }
            pointer = u16::from(next);
        }
        let this = Self {
            common: common.ok_or("it has no modern registers (VIRTIO 1.0)")?,
            notify: notify.ok_or("it has no doorbells")?,
            notify_multiplier,
            config,
            msix,
        };
        this.set_status(0);
        await_reset(|| this.status())?;
        Ok(this)
    }

    /// The device's status.
    pub(crate) fn status(&self) -> u8 {
        self.common.read(20)
    }

    /// Sets the status; 0 resets the device.
    pub(crate) fn set_status(&self, status: u8) {
        self.common.write(20, status);
    }

    /// The features that the device offers.
    pub(crate) fn features(&self) -> u64 {
        let mut features = 0;
        for half in 0..2u32 {
            self.common.write(0, half);
            features |= u64::from(self.common.read::<u32>(4)) << (32 * half);
        }
        features
    }

    /// Sets the features that are used.
    pub(crate) fn set_features(&self, features: u64) {
        for half in 0..2u32 {
            self.common.write(8, half);
            self.common.write(12, (features >> (32 * half)) as u32);
        }
    }

    /// A byte of the device's own configuration.
    pub(crate) fn config8(&self, offset: usize) -> Option<u8> {
        let config = self.config.filter(|c| offset < c.length())?;
        Some(config.read(offset))
    }

    /// Changes whenever the configuration does.
    pub(crate) fn generation(&self) -> u32 {
        u32::from(self.common.read::<u8>(21))
    }

    /// The largest size of a queue; 0 when there is none.
    pub(crate) fn queue_size(&self, queue: u16) -> u16 {
        self.common.write(22, queue);
        self.common.read(24)
    }

    /// The register that tells the device of a queue.
    ///
    /// # Errors
    /// When the device says that it is where it has no registers.
    pub(crate) fn doorbell(&self, queue: u16) -> Result<Doorbell, Fault> {
        self.common.write(22, queue);
        let offset = usize::from(self.common.read::<u16>(30)) * self.notify_multiplier;
        if offset + 2 > self.notify.length() || !offset.is_multiple_of(2) {
            return Err("a doorbell lies outside of its registers");
        }
        // SAFETY: a register of the device's, mapped for ever (`Registers::new`).
        Ok(unsafe { Doorbell::of_two_bytes(self.notify.at(offset)) })
    }

    /// Whether interrupts can be told apart.
    pub(crate) fn vectors(&self) -> u16 {
        self.msix.map_or(0, |(_, entries)| entries)
    }

    /// Sets what an interrupt writes.
    pub(crate) fn set_vector(&self, vector: u16, message: MsiMessage) {
        if let Some((table, entries)) = self.msix
            && vector < entries
        {
            let at = usize::from(vector) * 16;
            table.write(at, message.address as u32);
            table.write(at + 4, (message.address >> 32) as u32);
            table.write(at + 8, message.data);
            table.write(at + 12, 0u32);
        }
    }

    /// Gives the device a queue; `vector` is its interrupt.
    ///
    /// # Errors
    /// When it has no room for the vector.
    pub(crate) fn enable_queue(
        &self,
        queue: u16,
        size: u16,
        addresses: &Addresses,
        vector: Option<u16>,
    ) -> Result<(), Fault> {
        self.common.write(22, queue);
        self.common.write(24, size);
        let vector = vector.unwrap_or(NO_VECTOR);
        self.common.write(26, vector);
        if self.common.read::<u16>(26) != vector {
            return Err("it has no room for an interrupt vector");
        }
        for (offset, address) in [
            (32, addresses.descriptors),
            (40, addresses.driver),
            (48, addresses.device),
        ] {
            self.common.write(offset, address as u32);
            self.common.write(offset + 4, (address >> 32) as u32);
        }
        self.common.write(28, 1u16);
        Ok(())
    }

    /// Configuration changes raise no interrupt.
    pub(crate) fn no_config_vector(&self) {
        self.common.write(16, NO_VECTOR);
    }
}
