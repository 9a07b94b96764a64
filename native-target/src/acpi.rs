//! What the firmware's tables say of the machine: cores, interrupt routing, timers, PCI. A machine without ACPI tables has a
//! MultiProcessor table (`mp_table`), or is taken for one of a single core.
//!
//! What must hold: [`read`] runs once, before any other core; afterwards [`get`] returns the same
//! facts for ever.

use crate::cpu::MAX_CORES;
use crate::paging::{self, linear};
use ::acpi::address::AddressSpace;
use ::acpi::sdt::fadt::Fadt;
use ::acpi::sdt::hpet::HpetInfo;
use ::acpi::sdt::madt::{Madt, MadtEntry};
use ::acpi::sdt::mcfg::Mcfg;
use ::acpi::{AcpiTables, Handler, PciAddress, RawPhysicalMapping, rsdp::Rsdp};
use core::ptr::NonNull;
use ebb_firmware::dsdt::DefinitionBlock;
use ebb_firmware::mp_table::{self, Entry, Firmware};
use ebb_firmware::virtio_mmio::Device;
use spin::Once;
use spin::mutex::SpinMutex as Mutex;
use x86_64::instructions::port::Port;

/// An I/O APIC.
#[derive(Clone, Copy, Debug, Default)]
pub struct IoApic {
    /// Physical address of its registers.
    pub address: u64,
    /// The first global interrupt it serves.
    pub first: u32,
}

/// Configuration space of one PCI segment's buses, mapped in memory.
#[derive(Clone, Copy, Debug)]
pub struct Ecam {
    /// Physical address of bus 0's space.
    pub address: u64,
    /// First bus.
    pub first: u8,
    /// Last bus.
    pub last: u8,
}

/// Where the power button is: ACPI 6.5, 4.8.3.
#[derive(Clone, Copy, Debug)]
pub struct PowerButton {
    /// Port of the PM1a status register.
    pub status: u16,
    /// Port of the PM1a enable register.
    pub enable: u16,
    /// Port of the PM1a control register.
    pub control: u16,
    /// ISA line of the system control interrupt.
    pub line: usize,
    /// Port and value that make the chipset raise that interrupt instead of the firmware's.
    pub take: Option<(u16, u8)>,
}

/// A register of one byte, mapped for ever.
#[derive(Clone, Copy, Debug)]
pub struct MappedRegister(pub NonNull<u8>);

// SAFETY: an address that is valid on every core.
unsafe impl Send for MappedRegister {}
// SAFETY: as above.
unsafe impl Sync for MappedRegister {}

/// What the tables say.
#[derive(Debug)]
pub struct Machine {
    /// APIC IDs of the cores that may be used, the boot core first.
    pub cores: [u32; MAX_CORES],
    /// How many of `cores` are valid.
    pub count: usize,
    /// Cores the tables name beyond [`MAX_CORES`].
    pub ignored: usize,
    /// I/O APICs.
    pub io_apics: [IoApic; 4],
    /// Global interrupt of each ISA line, and its flags (MPS INTI).
    pub isa: [(u32, u16); 16],
    /// Port of the ACPI power-management timer.
    pub pm_timer: Option<u16>,
    /// Whether that timer has 32 bits rather than 24.
    pub pm_timer_32: bool,
    /// PM1a control port: power-off.
    pub pm1a_control: Option<u16>,
    /// Where a machine with reduced hardware is switched off: its sleep control register, mapped.
    pub sleep_control: Option<MappedRegister>,
    /// The sleep type that switches the machine off.
    pub soft_off: u8,
    /// Physical address and bytes of the tables that describe devices in byte code.
    pub definition_blocks: [(u64, u64); 4],
    /// The power button, if it is a fixed one.
    pub power_button: Option<PowerButton>,
    /// Physical address of the HPET.
    pub hpet: Option<u64>,
    /// PCI configuration space of segment 0.
    pub ecam: Option<Ecam>,
}

static MACHINE: Once<Machine> = Once::new();

/// The facts; only after [`read`].
pub fn get() -> &'static Machine {
    MACHINE.get().expect("the ACPI tables have been read")
}

/// Switches the machine off, as far as it is known yet how.
pub fn power_off() {
    /// "Sleep", beside the type of it: ACPI 6.5, 4.8.3.2.1 and 4.8.3.7.
    const ENABLE: (u16, u8) = (1 << 13, 1 << 5);
    let Some(machine) = MACHINE.get() else {
        return;
    };
    // SAFETY: registers that the tables name for this; the machine is not needed any more.
    unsafe {
        if let Some(port) = machine.pm1a_control {
            Port::<u16>::new(port).write(ENABLE.0 | u16::from(machine.soft_off) << 10);
            crate::cpu::halt();
        }
        if let Some(register) = machine.sleep_control {
            register.0.write_volatile(ENABLE.1 | machine.soft_off << 2);
            crate::cpu::halt();
        }
    }
}

/// The virtio devices without a bus that the tables name.
pub fn virtio_mmio() -> impl Iterator<Item = Device> {
    let blocks = get().definition_blocks.iter();
    blocks
        .filter_map(|&(at, length)| definition_block(at, length))
        .flat_map(DefinitionBlock::virtio_mmio)
}

fn definition_block(at: u64, length: u64) -> Option<DefinitionBlock<'static>> {
    /// What is read is mapped for ever.
    const MOST: u64 = 1 << 20;
    if at == 0 || length > MOST {
        return None;
    }
    let bytes = reach(at, length);
    // SAFETY: firmware's memory, mapped for ever, which nobody writes to.
    DefinitionBlock::new(unsafe { core::slice::from_raw_parts(bytes, length as usize) })
}

/// Whose word [`get`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The ACPI tables'.
    Acpi,
    /// The MultiProcessor table's.
    MpTable,
    /// Nobody's: one core, and interrupts of it alone.
    Nothing,
}

/// Where tables outside the linear map are mapped: physical start, end, address.
static MAPPED: Mutex<[(u64, u64, u64); 8]> = Mutex::new([(0, 0, 0); 8]);

/// The address of firmware's tables. Firmware keeps them in a reserved region at the end of memory,
/// close together.
fn reach(at: u64, size: u64) -> *mut u8 {
    const AROUND: u64 = 64 << 10;
    let direct = linear(at).cast::<u8>();
    let mut mapped = MAPPED.lock();
    if let Some(m) = mapped.iter().find(|m| m.0 <= at && at + size <= m.1) {
        return (m.2 + (at - m.0)) as *mut u8;
    }
    if paging::is_mapped(direct as u64, size) {
        return direct;
    }
    let (start, end) = (at & !(AROUND - 1), (at + size).next_multiple_of(AROUND));
    let Ok(address) = paging::map_device(start, end - start) else {
        return direct;
    };
    if let Some(free) = mapped.iter_mut().find(|m| m.1 == 0) {
        *free = (start, end, address as u64);
    }
    address.wrapping_add((at - start) as usize)
}

#[derive(Clone)]
struct Access;

impl Handler for Access {
    unsafe fn map_physical_region<T>(&self, at: usize, size: usize) -> RawPhysicalMapping<T> {
        let address = reach(at as u64, size as u64);
        let address = NonNull::new(address.cast::<T>()).expect("no mapping begins at 0");
        // SAFETY: the mapping holds `size` bytes and is never removed.
        unsafe { RawPhysicalMapping::new(at, address, size, size) }
    }

    unsafe fn unmap_physical_region<T>(&self, _region: RawPhysicalMapping<T>) {}

    // Registers and locks are the AML interpreter's business, which is not compiled in.
    fn read_u8(&self, _: usize) -> u8 {
        unreachable!("no AML")
    }
    fn read_u16(&self, _: usize) -> u16 {
        unreachable!("no AML")
    }
    fn read_u32(&self, _: usize) -> u32 {
        unreachable!("no AML")
    }
    fn read_u64(&self, _: usize) -> u64 {
        unreachable!("no AML")
    }
    fn write_u8(&self, _: usize, _: u8) {
        unreachable!("no AML")
    }
    fn write_u16(&self, _: usize, _: u16) {
        unreachable!("no AML")
    }
    fn write_u32(&self, _: usize, _: u32) {
        unreachable!("no AML")
    }
    fn write_u64(&self, _: usize, _: u64) {
        unreachable!("no AML")
    }
    fn read_io_u8(&self, _: u16) -> u8 {
        unreachable!("no AML")
    }
    fn read_io_u16(&self, _: u16) -> u16 {
        unreachable!("no AML")
    }
    fn read_io_u32(&self, _: u16) -> u32 {
        unreachable!("no AML")
    }
    fn write_io_u8(&self, _: u16, _: u8) {
        unreachable!("no AML")
    }
    fn write_io_u16(&self, _: u16, _: u16) {
        unreachable!("no AML")
    }
    fn write_io_u32(&self, _: u16, _: u32) {
        unreachable!("no AML")
    }
    fn read_pci_u8(&self, _: PciAddress, _: u16) -> u8 {
        unreachable!("no AML")
    }
    fn read_pci_u16(&self, _: PciAddress, _: u16) -> u16 {
        unreachable!("no AML")
    }
    fn read_pci_u32(&self, _: PciAddress, _: u16) -> u32 {
        unreachable!("no AML")
    }
    fn write_pci_u8(&self, _: PciAddress, _: u16, _: u8) {
        unreachable!("no AML")
    }
    fn write_pci_u16(&self, _: PciAddress, _: u16, _: u16) {
        unreachable!("no AML")
    }
    fn write_pci_u32(&self, _: PciAddress, _: u16, _: u32) {
        unreachable!("no AML")
    }
    fn nanos_since_boot(&self) -> u64 {
        unreachable!("no AML")
    }
    fn stall(&self, _: u64) {
        unreachable!("no AML")
    }
    fn sleep(&self, _: u64) {
        unreachable!("no AML")
    }
}

/// Reads the tables; `root` is where the loader says the root pointer is (0: it does not), `boot_core` the
/// APIC ID of the core this runs on.
pub fn read(root: u64, boot_core: u32) -> Source {
    let (machine, source) = if let Some(machine) = read_acpi(root, boot_core) {
        (machine, Source::Acpi)
    } else if let Some(machine) = read_mp_table(boot_core) {
        (machine, Source::MpTable)
    } else {
        (Machine::of_one_core(boot_core), Source::Nothing)
    };
    MACHINE.call_once(|| machine);
    source
}

/// The bytes of physical memory from `start` to `end`, none of them where they are not mapped.
fn firmware_bytes(start: usize, end: usize) -> &'static [u8] {
    let at = linear(start as u64).cast::<u8>();
    if !paging::is_mapped(at as u64, (end - start) as u64) {
        return &[];
    }
    // SAFETY: mapped for ever, just checked; while the tables are read nobody writes below 1 MiB, for other cores are not
    // started yet and the heap does not exist.
    unsafe { core::slice::from_raw_parts(at, end - start) }
}

fn read_mp_table(boot_core: u32) -> Option<Machine> {
    let firmware = Firmware {
        low: firmware_bytes(0, mp_table::LOW_END),
        rom: firmware_bytes(mp_table::ROM, mp_table::ROM_END),
    };
    let mut machine = Machine::of_one_core(boot_core);
    firmware.read(|entry| match entry {
        Entry::Core(id) => machine.add_core(id, 1),
        Entry::IoApic(address) => machine.io_apics[0] = IoApic { address, first: 0 },
        Entry::Isa { line, input, flags } => machine.isa[line] = (input, flags),
    })?;
    Some(machine)
}

/// `None` without a root pointer, neither from the loader nor in the BIOS area, and without a table of cores and interrupt
/// controllers (MADT).
fn read_acpi(root: u64, boot_core: u32) -> Option<Machine> {
    let at = if root != 0 {
        root as usize
    } else {
        // SAFETY: the BIOS area is mapped (the first MiB is).
        let found = unsafe { Rsdp::search_for_on_bios(Access) }.ok()?;
        found.raw().physical_start()
    };
    // SAFETY: the address comes from the loader or the search; the crate checks the signature.
    let tables = unsafe { AcpiTables::from_rsdp(Access, at) }.ok()?;
    let mut machine = Machine::of_one_core(boot_core);

    let madt = tables.find_table::<Madt>()?;
    let mut io_apics = 0;
    // A table with an entry of length 0 would never end.
    for entry in madt.get().entries().take(4096) {
        match entry {
            MadtEntry::LocalApic(e) => machine.add_core(u32::from(e.apic_id), e.flags),
            MadtEntry::LocalX2Apic(e) => machine.add_core(e.x2apic_id, e.flags),
            MadtEntry::IoApic(e) if io_apics < machine.io_apics.len() => {
                machine.io_apics[io_apics] = IoApic {
                    address: u64::from(e.io_apic_address),
                    first: e.global_system_interrupt_base,
                };
                io_apics += 1;
            }
            MadtEntry::InterruptSourceOverride(e) if e.bus == 0 && e.irq < 16 => {
                machine.isa[usize::from(e.irq)] = (e.global_system_interrupt, e.flags);
            }
            _ => {}
        }
    }
    if let Some(fadt) = tables.find_table::<Fadt>() {
        let fadt = fadt.get();
        if fadt.pm_timer_length == 4 {
            machine.pm_timer = u16::try_from(fadt.pm_timer_block).ok().filter(|&p| p != 0);
        }
        let flags = fadt.flags;
        machine.pm_timer_32 = flags.pm_timer_is_32_bit();
        machine.pm1a_control = u16::try_from(fadt.pm1a_control_block)
            .ok()
            .filter(|&p| p != 0);
        if machine.pm1a_control.is_none()
            && let Ok(Some(register)) = fadt.sleep_control_register()
            && register.address_space == AddressSpace::SystemMemory
            && let Ok(at) = paging::map_device(register.address, 1)
        {
            machine.sleep_control = NonNull::new(at).map(MappedRegister);
        }
        let port = |p: u32| u16::try_from(p).ok().filter(|&p| p != 0);
        let line = usize::from(fadt.sci_interrupt);
        let length = u16::from(fadt.pm1_event_length);
        if let (Some(status), Some(control)) = (port(fadt.pm1a_event_block), machine.pm1a_control)
            && !flags.power_button_is_control_method()
            && length >= 4
            && line < machine.isa.len()
        {
            machine.power_button = Some(PowerButton {
                status,
                enable: status + length / 2,
                control,
                line,
                take: port(fadt.smi_cmd_port)
                    .filter(|_| fadt.acpi_enable != 0)
                    .map(|port| (port, fadt.acpi_enable)),
            });
        }
    }
    let blocks = tables.dsdt().into_iter().chain(tables.ssdts());
    for (slot, table) in machine.definition_blocks.iter_mut().zip(blocks) {
        *slot = (table.phys_address as u64, u64::from(table.length));
    }
    let mut blocks = machine.definition_blocks.iter();
    machine.soft_off = blocks
        .find_map(|&(at, length)| definition_block(at, length)?.soft_off())
        .unwrap_or(0);
    machine.hpet = HpetInfo::new(&tables)
        .ok()
        .map(|hpet| hpet.base_address as u64);
    machine.ecam = tables.find_table::<Mcfg>().and_then(|mcfg| {
        let mcfg = mcfg.get();
        let entry = mcfg.entries().iter().find(|e| e.pci_segment_group == 0)?;
        Some(Ecam {
            address: entry.base_address,
            first: entry.bus_number_start,
            last: entry.bus_number_end,
        })
    });
    Some(machine)
}

impl Machine {
    fn of_one_core(boot_core: u32) -> Self {
        let mut machine = Self {
            cores: [0; MAX_CORES],
            count: 1,
            ignored: 0,
            io_apics: [IoApic::default(); 4],
            isa: core::array::from_fn(|i| (i as u32, 0)),
            pm_timer: None,
            pm_timer_32: false,
            pm1a_control: None,
            sleep_control: None,
            soft_off: 0,
            definition_blocks: [(0, 0); 4],
            power_button: None,
            hpet: None,
            ecam: None,
        };
        machine.cores[0] = boot_core;
        machine
    }

    fn add_core(&mut self, id: u32, flags: u32) {
        // Bit 0: enabled. A core that could be plugged in later is not one.
        if flags & 1 == 0 || self.cores[..self.count].contains(&id) {
            return;
        }
        match self.cores.get_mut(self.count) {
            Some(slot) => {
                *slot = id;
                self.count += 1;
            }
            None => self.ignored += 1,
        }
    }
}
