//! The registers of a device ([`bus`](crate::bus)) as virtio-drivers' queue wants them, and memory for it.

use alloc::{vec, vec::Vec};
use core::ptr::NonNull;

use virtio_drivers::{
    BufferDirection, Error, Hal, PAGE_SIZE, PhysAddr, Result,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    bus,
    memory::{Addresses, Dma, device_memory},
    registers::Doorbell,
};

/// A device's registers; its queues share an interrupt.
pub struct Queues {
    registers: bus::Transport,
    kind: DeviceType,
    /// Of the queues' interrupt.
    vector: Option<u16>,
    /// By queue.
    doorbells: Vec<Option<Doorbell>>,
    /// The device has taken each queue that it was given.
    has_queues: bool,
}

impl Queues {
    /// The queues' interrupt is vector 0.
    pub fn new(registers: bus::Transport, kind: DeviceType) -> Self {
        Self {
            vector: Some(0),
            ..Self::without_interrupt(registers, kind)
        }
    }

    /// The device has to be looked at.
    pub fn without_interrupt(registers: bus::Transport, kind: DeviceType) -> Self {
        Self {
            registers,
            kind,
            vector: None,
            doorbells: Vec::new(),
            has_queues: true,
        }
    }
}

impl Transport for Queues {
    fn device_type(&self) -> DeviceType {
        self.kind
    }

    fn read_device_features(&mut self) -> u64 {
        self.registers.features()
    }

    fn write_driver_features(&mut self, features: u64) {
        self.registers.set_features(features);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.registers.queue_size(queue).into()
    }

    fn notify(&mut self, queue: u16) {
        if let Some(Some(doorbell)) = self.doorbells.get(usize::from(queue)) {
            doorbell.ring(queue);
        }
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.registers.status().into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.registers.set_status(status.bits() as u8);
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver: PhysAddr,
        device: PhysAddr,
    ) {
        let addresses = Addresses {
            descriptors,
            driver,
            device,
        };
        // Without a doorbell the driver refuses the device, see `has_queues`.
        let doorbell = self.registers.doorbell(queue).ok();
        let enabled = self
            .registers
            .enable_queue(queue, size as u16, &addresses, self.vector);
        let doorbell = doorbell.filter(|_| enabled.is_ok());
        self.has_queues &= doorbell.is_some();
        let place = usize::from(queue);
        if self.doorbells.len() <= place {
            self.doorbells.resize_with(place + 1, || None);
        }
        self.doorbells[place] = doorbell;
    }

    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, _: u16) -> bool {
        // Just reset.
        false
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        // MSI-X has nothing to acknowledge, and a line's handler has done it.
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        self.registers.generation()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let mut bytes = vec![0; size_of::<T>()];
        for (n, byte) in bytes.iter_mut().enumerate() {
            let read = self.registers.config8(offset + n);
            *byte = read.ok_or(Error::ConfigSpaceTooSmall)?;
        }
        T::read_from_bytes(&bytes).map_err(|_| Error::ConfigSpaceTooSmall)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, _: usize, _: T) -> Result<()> {
        Err(Error::Unsupported)
    }
}

impl Queues {
    /// Whether the device has taken its queues.
    pub fn has_queues(&self) -> bool {
        self.has_queues && !self.doorbells.is_empty()
    }
}

/// The machine's memory.
pub struct Machine;

// SAFETY: `device_memory` gives pages of its own, zeroed, and they are never freed; `share` gives the address that the device
// reaches the same bytes at.
unsafe impl Hal for Machine {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let memory = device_memory(pages * PAGE_SIZE);
        let physical = memory.and_then(|m| Dma::of_machine().physical(m.as_ptr()));
        // Address 0 says that there is none.
        (
            physical.unwrap_or(0),
            memory.unwrap_or(NonNull::<u64>::dangling().cast()),
        )
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        unreachable!("only virtio-drivers' own transports map registers")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        let physical = Dma::of_machine().physical(buffer.cast::<u8>().as_ptr());
        physical.expect("a device's buffers are on the heap, which is in the linear map")
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
