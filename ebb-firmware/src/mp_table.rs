//! The MultiProcessor table (Intel, MultiProcessor Specification 1.4, chapter 4): what a machine without ACPI says of its cores
//! and of its interrupt lines. qboot makes one for QEMU's microvm, and Firecracker makes one itself.
//!
//! What must hold: the table is firmware's and may say anything, so that every length is checked against the memory it lies in.

/// The memory below 1 MiB that may hold the table.
pub struct Firmware<'a> {
    /// From address 0: conventional memory and the extended BIOS data area.
    pub low: &'a [u8],
    /// From [`ROM`].
    pub rom: &'a [u8],
}

/// Where conventional memory ends.
pub const LOW_END: usize = 0xa_0000;
/// Where the firmware's area begins.
pub const ROM: usize = 0xe_0000;
/// Where it ends.
pub const ROM_END: usize = 0x10_0000;

/// Where the floating pointer may be, beside the extended BIOS data area: the last KiB of 640 and of 512 KiB of conventional
/// memory, and the upper half of the firmware's area (4, "Multiprocessor Configuration Table").
const PLACES: [(usize, usize); 3] = [(0x9_fc00, 0x400), (0x7_fc00, 0x400), (0xf_0000, 0x1_0000)];
/// The BIOS's word with the segment of its extended data area.
const EBDA_SEGMENT: usize = 0x40e;

const HEADER: usize = 44;

/// What an entry of the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A core that may be used, by its APIC ID.
    Core(u32),
    /// The I/O APIC's physical address; the first of the table, for the table does not say which global interrupts another serves.
    IoApic(u64),
    /// An ISA line is wired to an input of that I/O APIC.
    Isa {
        /// The line.
        line: usize,
        /// The I/O APIC's input.
        input: u32,
        /// Polarity and trigger mode (table 4-10, as in ACPI's MPS INTI flags).
        flags: u16,
    },
}

fn sum_is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, &b| sum.wrapping_add(b)) == 0
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

impl<'a> Firmware<'a> {
    fn bytes(&self, at: usize, length: usize) -> Option<&'a [u8]> {
        let (area, from) = if at < ROM {
            (self.low, at)
        } else {
            (self.rom, at - ROM)
        };
        area.get(from..from.checked_add(length)?)
    }

    /// The table that the floating pointer at `at` names.
    fn named_at(&self, at: usize) -> Option<&'a [u8]> {
        let pointer = self.bytes(at, 16)?;
        if !pointer.starts_with(b"_MP_") || pointer[8] != 1 || !sum_is_zero(pointer) {
            return None;
        }
        // 0 stands for a default configuration of 1994, which no virtual machine has.
        let table_at = usize::try_from(u32_at(pointer, 4)?).ok()?;
        let header = self.bytes(table_at, HEADER)?;
        let length = usize::from(u16_at(header, 4)?);
        let table = self.bytes(table_at, length)?;
        (length >= HEADER && table.starts_with(b"PCMP") && sum_is_zero(table)).then_some(table)
    }

    fn table(&self) -> Option<&'a [u8]> {
        let segment = u16_at(self.low, EBDA_SEGMENT).unwrap_or(0);
        let ebda = (segment != 0).then_some((usize::from(segment) << 4, 0x400));
        ebda.into_iter().chain(PLACES).find_map(|(start, length)| {
            (start..start + length)
                .step_by(16)
                .find_map(|at| self.named_at(at))
        })
    }

    /// Calls `each` for what the table says, in its order, which has buses and I/O APICs before what is wired to them. `None`
    /// when there is no table, or a damaged one.
    pub fn read(&self, mut each: impl FnMut(Entry)) -> Option<()> {
        let table = self.table()?;
        // By its length: the count of entries is 0 in qboot's.
        let mut rest = &table[HEADER..];
        let mut isa_bus = None;
        let mut io_apic = None;
        while let Some(kind) = rest.first() {
            let length = match kind {
                0 => 20,
                1..=4 => 8,
                // Of a later version, and of unknown length.
                _ => break,
            };
            let (entry, after) = rest.split_at_checked(length)?;
            rest = after;
            match entry[0] {
                0 if entry[3] & 1 == 1 => each(Entry::Core(u32::from(entry[1]))),
                1 if &entry[2..8] == b"ISA   " => isa_bus = Some(entry[1]),
                2 if entry[3] & 1 == 1 && io_apic.is_none() => {
                    io_apic = Some(entry[1]);
                    each(Entry::IoApic(u64::from(u32_at(entry, 4)?)));
                }
                // Vectored interrupts; 0xff is every I/O APIC.
                3 if entry[1] == 0
                    && Some(entry[4]) == isa_bus
                    && entry[5] < 16
                    && (Some(entry[6]) == io_apic || entry[6] == 0xff) =>
                {
                    each(Entry::Isa {
                        line: usize::from(entry[5]),
                        input: u32::from(entry[7]),
                        flags: u16_at(entry, 2)?,
                    });
                }
                _ => {}
            }
        }
        Some(())
    }
}
