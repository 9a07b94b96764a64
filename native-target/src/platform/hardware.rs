//! The machine's devices: PCI, what has an address of its own, device memory, interrupts.

use super::Native;
use crate::memory_map::{Kind, Region};
use crate::vectors::bind;
use crate::{acpi, cpu, io_apic, options, paging, pci, start};
use alloc::vec::Vec;
use core::ptr::NonNull;
use ebb_runtime::platform::{Hardware, MmioDevice, MsiMessage, PciAddress, PciFunction};
use ebb_runtime::{CoreId, provides};
use spin::Once;

#[provides(Hardware, instance = &Native)]
impl Hardware for Native {
    fn memory_bytes(&self) -> u64 {
        let map = start::handover().map();
        let usable = map.iter().filter(|r| r.kind == Kind::Usable);
        usable.map(|r| r.len).sum()
    }

    fn pci_functions(&self) -> &'static [PciFunction] {
        pci::functions()
    }

    fn pci_read(&self, function: PciAddress, offset: u16) -> u32 {
        pci::read(function, offset)
    }

    fn pci_write(&self, function: PciAddress, offset: u16, value: u32) {
        pci::write(function, offset, value);
    }

    fn map_device(&self, physical: u64, length: usize) -> Option<NonNull<u8>> {
        let end = physical.checked_add(length as u64).filter(|_| length > 0)?;
        let memory = |r: &Region| r.kind != Kind::Reserved && r.start < end && physical < r.end();
        if start::handover().map().iter().any(memory) {
            return None;
        }
        NonNull::new(paging::map_device(physical, length as u64).ok()?)
    }

    fn physical_address(&self, virtual_address: *const u8) -> u64 {
        paging::physical(virtual_address as u64)
            .unwrap_or_else(|| panic!("{virtual_address:p} is not mapped"))
    }

    fn virtual_address(&self, physical: u64) -> *mut u8 {
        paging::linear(physical).cast()
    }

    fn bind_interrupt(
        &self,
        core: CoreId,
        handler: fn(usize),
        argument: usize,
    ) -> Option<MsiMessage> {
        let block = cpu::get(core.number())?;
        // A message addresses 8 bits of APIC ID; more would need interrupt remapping.
        let target = u8::try_from(block.apic_id).ok()?;
        let vector = bind(block, handler, argument)?;
        Some(MsiMessage {
            address: 0xfee0_0000 | u64::from(target) << 12,
            data: u32::from(vector),
        })
    }

    fn virtio_mmio(&self) -> &'static [MmioDevice] {
        static DEVICES: Once<Vec<MmioDevice>> = Once::new();
        DEVICES.call_once(|| {
            let mut devices: Vec<_> = options::devices(start::handover().command_line()).collect();
            for named in acpi::virtio_mmio() {
                if devices.iter().all(|device| device.address != named.address) {
                    devices.push(MmioDevice {
                        address: named.address,
                        length: named.length,
                        line: named.line,
                    });
                }
            }
            devices
        })
    }

    fn bind_line(&self, line: u32, core: CoreId, handler: fn(usize), argument: usize) -> bool {
        cpu::get(core.number())
            .and_then(|block| io_apic::bind(line, block, handler, argument))
            .is_some()
    }
}
