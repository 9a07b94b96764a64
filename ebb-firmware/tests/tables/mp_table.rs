//! What an image makes of MultiProcessor tables: of one like Firecracker's, and of damaged ones.

use ebb_firmware::mp_table::{Entry, Firmware, LOW_END, ROM, ROM_END};

struct Memory {
    low: Vec<u8>,
    rom: Vec<u8>,
}

impl Memory {
    fn empty() -> Self {
        Self {
            low: vec![0; LOW_END],
            rom: vec![0; ROM_END - ROM],
        }
    }

    fn read(&self) -> Option<Vec<Entry>> {
        let mut entries = Vec::new();
        let firmware = Firmware {
            low: &self.low,
            rom: &self.rom,
        };
        firmware.read(|entry| entries.push(entry))?;
        Some(entries)
    }
}

fn balance(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    let sum = bytes.iter().fold(0u8, |sum, &b| sum.wrapping_add(b));
    bytes[at] = sum.wrapping_neg();
}

/// A floating pointer, and behind it the table that it names.
fn with_table(at: u32, entries: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"_MP_".to_vec();
    bytes.extend((at + 16).to_le_bytes());
    bytes.extend([1, 4, 0, 0, 0, 0, 0, 0]);
    balance(&mut bytes, 10);
    let mut table = b"PCMP".to_vec();
    table.extend([0, 0, 4, 0]);
    table.extend(b"FC      000000000000");
    table.extend([0; 6]);
    table.extend((entries.len() as u16).to_le_bytes());
    table.extend(0xfee0_0000u32.to_le_bytes());
    table.extend([0; 4]);
    table.extend(entries.concat());
    let length = (table.len() as u16).to_le_bytes();
    table[4..6].copy_from_slice(&length);
    balance(&mut table, 7);
    bytes.extend(table);
    bytes
}

fn core(id: u8, flags: u8) -> [u8; 20] {
    let mut entry = [0; 20];
    (entry[1], entry[3]) = (id, flags);
    entry
}

/// Two cores that may be used and one that may not, an ISA bus, an I/O APIC, and lines 0 and 9 of it.
fn like_firecrackers() -> Vec<u8> {
    with_table(
        0x9_fc00,
        &[
            &core(0, 3),
            &core(1, 1),
            &core(2, 0),
            &[1, 0, b'I', b'S', b'A', b' ', b' ', b' '],
            &[2, 3, 0x11, 1, 0, 0, 0xc0, 0xfe],
            &[3, 0, 0, 0, 0, 0, 3, 2],
            &[3, 0, 0xf, 0, 0, 9, 3, 9],
            // A non-maskable interrupt, another bus's line, and a local one.
            &[3, 1, 0, 0, 0, 1, 3, 1],
            &[3, 0, 0, 0, 7, 1, 3, 1],
            &[4, 3, 0, 0, 0, 0, 0, 0],
        ],
    )
}

#[test]
fn the_table_names_cores_and_wires() {
    let said = [
        Entry::Core(0),
        Entry::Core(1),
        Entry::IoApic(0xfec0_0000),
        Entry::Isa {
            line: 0,
            input: 2,
            flags: 0,
        },
        Entry::Isa {
            line: 9,
            input: 9,
            flags: 0xf,
        },
    ];
    let table = like_firecrackers();
    let mut memory = Memory::empty();
    memory.low[0x9_fc00..][..table.len()].copy_from_slice(&table);
    assert_eq!(memory.read().as_deref(), Some(&said[..]));

    // As a BIOS leaves it: in its own area.
    let mut memory = Memory::empty();
    let table = with_table(0xf_5a00, &[&core(0, 3), &core(4, 1)]);
    memory.rom[0xf_5a00 - ROM..][..table.len()].copy_from_slice(&table);
    assert_eq!(memory.read(), Some(vec![Entry::Core(0), Entry::Core(4)]));

    // Where the BIOS says that its extended data area is.
    let mut memory = Memory::empty();
    memory.low[0x40e..0x410].copy_from_slice(&0x9000u16.to_le_bytes());
    let table = with_table(0x9_0010, &[&core(7, 3)]);
    memory.low[0x9_0010..][..table.len()].copy_from_slice(&table);
    assert_eq!(memory.read(), Some(vec![Entry::Core(7)]));
}

#[test]
fn without_a_table_there_is_none() {
    assert_eq!(Memory::empty().read(), None);
    let unmapped = Firmware { low: &[], rom: &[] };
    assert_eq!(unmapped.read(|_| unreachable!()), None);
}

#[test]
fn a_damaged_table_is_refused_and_never_read_beyond_its_end() {
    let table = like_firecrackers();
    let mut memory = Memory::empty();
    for at in 0..table.len() {
        for bit in 0..8 {
            let mut damaged = table.clone();
            damaged[at] ^= 1 << bit;
            memory.low[0x9_fc00..][..table.len()].copy_from_slice(&damaged);
            assert_eq!(memory.read(), None, "bit {bit} of byte {at}");
            // As somebody would write it who means it: with sums that are right.
            balance(&mut damaged[..16], 10);
            balance(&mut damaged[16..], 7);
            memory.low[0x9_fc00..][..table.len()].copy_from_slice(&damaged);
            let _ = memory.read();
        }
    }
    // Its last entry ends behind the table.
    let mut memory = Memory::empty();
    let cut = with_table(0x9_ffb0, &[&core(0, 3)[..19]]);
    memory.low[0x9_ffb0..][..cut.len()].copy_from_slice(&cut);
    assert_eq!(memory.read(), None);
    // The table ends behind the memory.
    let mut memory = Memory::empty();
    let long = with_table(0x9_ffb0, &[&core(0, 3), &core(1, 1)]);
    memory.low[0x9_ffb0..].copy_from_slice(&long[..80]);
    assert_eq!(memory.read(), None);
}

#[test]
fn the_length_counts_where_the_number_of_entries_is_0() {
    let mut table = with_table(0x9_fc00, &[&core(0, 3), &core(1, 1)]);
    table[16 + 34] = 0;
    balance(&mut table[16..], 7);
    let mut memory = Memory::empty();
    memory.low[0x9_fc00..][..table.len()].copy_from_slice(&table);
    assert_eq!(memory.read(), Some(vec![Entry::Core(0), Entry::Core(1)]));
}
