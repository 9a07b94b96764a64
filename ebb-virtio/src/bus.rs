//! A virtio device, wherever the machine has it: on PCI, or at an address that the monitor told.

use core::fmt;

use ebb::{
    EbbRef, current_core,
    platform::{Hardware, PciAddress},
};

use crate::{
    memory::Addresses,
    mmio, pci,
    registers::{Doorbell, Fault},
};

/// Where a device is.
#[derive(Clone, Copy, Debug)]
pub struct Place(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Pci(PciAddress),
    Mmio(mmio::Found),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Pci(at) => write!(f, "PCI {:02x}:{:02x}.{}", at.bus, at.device, at.function),
            Kind::Mmio(found) => write!(f, "MMIO {:#x}", found.place.address),
        }
    }
}

/// The devices of a type, by virtio's number for it: those on PCI in the order of their functions, then the others as the
/// monitor named them. QEMU does both in the order in which it was given them.
pub fn find(kind: u16) -> impl Iterator<Item = Place> {
    let on_pci = pci::find(kind).map(|at| Place(Kind::Pci(at)));
    on_pci.chain(mmio::find(kind).map(|found| Place(Kind::Mmio(found))))
}

/// A device's registers and interrupts.
pub struct Transport(Bus);

enum Bus {
    Pci(pci::Transport),
    Mmio(mmio::Transport),
}

/// Calls the same of either.
macro_rules! either {
    ($self:ident, $it:ident => $call:expr) => {
        match &$self.0 {
            Bus::Pci($it) => $call,
            Bus::Mmio($it) => $call,
        }
    };
}

impl Transport {
    /// Maps a device's registers and resets it.
    ///
    /// # Errors
    /// When it lacks what it needs, or does not finish its reset.
    pub fn new(place: Place) -> Result<Self, Fault> {
        Ok(Self(match place.0 {
            Kind::Pci(at) => Bus::Pci(pci::Transport::new(at)?),
            Kind::Mmio(found) => Bus::Mmio(mmio::Transport::new(found)?),
        }))
    }

    /// The device's status.
    #[must_use]
    pub fn status(&self) -> u8 {
        either!(self, it => it.status())
    }

    /// Sets the status; 0 resets the device.
    pub fn set_status(&self, status: u8) {
        either!(self, it => it.set_status(status));
    }

    /// The features that the device offers.
    #[must_use]
    pub fn features(&self) -> u64 {
        either!(self, it => it.features())
    }

    /// Sets the features that are used.
    pub fn set_features(&self, features: u64) {
        either!(self, it => it.set_features(features));
    }

    /// A byte of the device's own configuration.
    #[must_use]
    pub fn config8(&self, offset: usize) -> Option<u8> {
        either!(self, it => it.config8(offset))
    }

    /// Two bytes of it.
    #[must_use]
    pub fn config16(&self, offset: usize) -> Option<u16> {
        Some(u16::from_le_bytes([
            self.config8(offset)?,
            self.config8(offset + 1)?,
        ]))
    }

    /// Changes whenever the configuration does.
    #[must_use]
    pub fn generation(&self) -> u32 {
        either!(self, it => it.generation())
    }

    /// The largest size of a queue; 0 when there is none.
    #[must_use]
    pub fn queue_size(&self, queue: u16) -> u16 {
        either!(self, it => it.queue_size(queue))
    }

    /// The register that tells the device of a queue.
    ///
    /// # Errors
    /// When the device says that it is where it has no registers.
    pub fn doorbell(&self, queue: u16) -> Result<Doorbell, Fault> {
        match &self.0 {
            Bus::Pci(it) => it.doorbell(queue),
            Bus::Mmio(it) => Ok(it.doorbell()),
        }
    }

    /// How many interrupts the device can tell apart; 0 where it has none, 1 where a line serves all of its queues.
    #[must_use]
    pub fn vectors(&self) -> u16 {
        match &self.0 {
            Bus::Pci(it) => it.vectors(),
            Bus::Mmio(_) => 1,
        }
    }

    /// Has an interrupt call `handler(argument)` on this core; what it may do says [`Hardware::bind_interrupt`]. False when
    /// the device or the core has no room for it.
    pub fn bind(&self, vector: u16, handler: fn(usize), argument: usize) -> bool {
        if vector >= self.vectors() {
            return false;
        }
        match &self.0 {
            Bus::Pci(it) => {
                let hardware = EbbRef::<dyn Hardware>::get();
                let message = hardware.bind_interrupt(current_core(), handler, argument);
                if let Some(message) = message {
                    it.set_vector(vector, message);
                }
                message.is_some()
            }
            Bus::Mmio(it) => it.bind(handler, argument),
        }
    }

    /// Gives the device a queue; `vector` is its interrupt.
    ///
    /// # Errors
    /// When it has no room for the vector, or uses the queue already.
    pub fn enable_queue(
        &self,
        queue: u16,
        size: u16,
        addresses: &Addresses,
        vector: Option<u16>,
    ) -> Result<(), Fault> {
        match &self.0 {
            Bus::Pci(it) => it.enable_queue(queue, size, addresses, vector),
            // Its line serves them all.
            Bus::Mmio(it) => it.enable_queue(queue, size, addresses),
        }
    }

    /// Configuration changes raise no interrupt, where that can be said.
    pub fn no_config_vector(&self) {
        if let Bus::Pci(it) = &self.0 {
            it.no_config_vector();
        }
    }
}
