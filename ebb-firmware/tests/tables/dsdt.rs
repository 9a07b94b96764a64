//! What an image makes of ACPI's byte code: of tables like QEMU's and Cloud Hypervisor's, and of damaged ones.

use ebb_firmware::dsdt::DefinitionBlock;
use ebb_firmware::virtio_mmio::Device;

/// A package: its length counts the bytes that the length itself takes.
fn package(body: &[u8]) -> Vec<u8> {
    let bytes = match body.len() {
        0..=62 => return [&[body.len() as u8 + 1], body].concat(),
        63..=4093 => 2,
        _ => 3,
    };
    let length = body.len() + bytes;
    let mut lead = vec![((bytes - 1) << 6 | length & 0xf) as u8];
    lead.extend((1..bytes).map(|n| (length >> (8 * n - 4)) as u8));
    lead.extend(body);
    lead
}

fn buffer(resources: &[u8]) -> Vec<u8> {
    let size = u8::try_from(resources.len()).unwrap();
    [&[0x11], &*package(&[&[0x0a, size], resources].concat())].concat()
}

fn device(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = [name, &*parts.concat()].concat();
    [&[0x5b, 0x82], &*package(&body)].concat()
}

const VIRTIO: &[u8] = b"\x08_HID\x0dLNRO0005\0";
const END: [u8; 2] = [0x79, 0];

fn resources(parts: &[&[u8]]) -> Vec<u8> {
    [b"\x08_CRS", &*buffer(&[&parts.concat(), &END[..]].concat())].concat()
}

fn memory32(address: u32, length: u32) -> Vec<u8> {
    [
        &[0x86, 9, 0, 1][..],
        &address.to_le_bytes(),
        &length.to_le_bytes(),
    ]
    .concat()
}

fn interrupt(line: u32) -> Vec<u8> {
    [&[0x89, 6, 0, 1, 1][..], &line.to_le_bytes()].concat()
}

/// An address of this many bits, of memory or of ports.
fn address(bits: usize, kind: u8, address: u64, length: u64) -> Vec<u8> {
    let tag = if bits == 32 { 0x87 } else { 0x8a };
    let mut fields = vec![kind, 0, 0];
    for field in [0, address, address + length - 1, 0, length] {
        fields.extend(&field.to_le_bytes()[..bits / 8]);
    }
    let size = (fields.len() as u16).to_le_bytes();
    [&[tag], &size[..], &fields].concat()
}

fn table(signature: &[u8; 4], code: &[u8]) -> Vec<u8> {
    let mut table = signature.to_vec();
    table.extend((36 + code.len() as u32).to_le_bytes());
    table.resize(36, 0);
    table.extend(code);
    let sum = table.iter().fold(0u8, |sum, &b| sum.wrapping_add(b));
    table[9] = sum.wrapping_neg();
    table
}

fn devices(table: &[u8]) -> Vec<Device> {
    DefinitionBlock::new(table).map_or(Vec::new(), |block| block.virtio_mmio().collect())
}

fn at(address: u64, length: u64, line: u32) -> Device {
    Device {
        address,
        length,
        line,
    }
}

/// Two devices as QEMU's microvm has them, within a scope, among others.
fn usual() -> Vec<u8> {
    let parts = |n: u32| {
        let name = [b'V', b'R', b'0', b'0' + n as u8];
        let uid = [b"\x08_UID\x0a", &[n as u8][..]].concat();
        let found = resources(&[&memory32(0xfeb0_0000 + 512 * n, 512), &interrupt(24 + n)]);
        device(&name, &[VIRTIO, &uid, b"\x08_CCA\x01", &found])
    };
    let other = device(
        b"COM1",
        &[
            b"\x08_HID\x0dPNP0501\0",
            &resources(&[&memory32(0x1000, 512), &interrupt(4)]),
        ],
    );
    let off = [b"\x08_S5_\x12".to_vec(), package(&[4, 0x0a, 5, 0, 0, 0])].concat();
    let scope = [b"\\_SB_".to_vec(), other, parts(0), parts(1)].concat();
    let code = [&[0x10], &*package(&scope), &off].concat();
    table(b"DSDT", &code)
}

#[test]
fn devices_are_found_in_the_tables_order_with_what_switches_the_machine_off() {
    let table = usual();
    let found = [at(0xfeb0_0000, 512, 24), at(0xfeb0_0200, 512, 25)];
    assert_eq!(devices(&table), found);
    assert_eq!(DefinitionBlock::new(&table).unwrap().soft_off(), Some(5));
    // What follows the table is none of it.
    assert_eq!(devices(&[&*table, VIRTIO].concat()), found);
}

#[test]
fn a_device_in_a_device_has_its_own_resources() {
    let inner = device(
        b"VIO0",
        &[
            VIRTIO,
            &resources(&[&interrupt(7), &memory32(0xd000_0000, 4096)]),
        ],
    );
    let outer = device(
        b"BUS0",
        &[
            &resources(&[&memory32(0xe000_0000, 4096), &interrupt(9)]),
            &inner,
        ],
    );
    let large = device(b"BIG0", &[&[0xa3; 5000], &outer]);
    assert_eq!(devices(&table(b"SSDT", &large)), [at(0xd000_0000, 4096, 7)]);
}

#[test]
fn addresses_of_32_and_64_bits_are_read_and_those_of_ports_are_not() {
    for bits in [32, 64] {
        let high = if bits == 64 {
            0x40_0000_0000
        } else {
            0xd000_0000
        };
        let found = resources(&[
            &address(bits, 1, 0x3f8, 8),
            &address(bits, 0, high, 4096),
            // Line 5 by its mask.
            &[0x22, 1 << 5, 0],
        ]);
        let code = device(b"VIO0", &[VIRTIO, &found]);
        assert_eq!(devices(&table(b"DSDT", &code)), [at(high, 4096, 5)]);
    }
}

#[test]
fn what_is_no_device_is_left_out() {
    for found in [
        resources(&[&memory32(0, 512), &interrupt(5)]),
        resources(&[&memory32(0xd000_0000, 16), &interrupt(5)]),
        resources(&[&memory32(0xd000_0000, 512)]),
        resources(&[&interrupt(5)]),
        resources(&[]),
        // A method.
        [b"\x14".to_vec(), package(b"_CRS\x00\xa4\x00")].concat(),
    ] {
        let code = device(b"VIO0", &[VIRTIO, &found]);
        assert_eq!(devices(&table(b"DSDT", &code)), []);
    }
    let code = device(
        b"VIO0",
        &[
            VIRTIO,
            &resources(&[&memory32(0xd000_0000, 512), &interrupt(5)]),
        ],
    );
    assert_eq!(devices(&table(b"APIC", &code)), []);
    let mut wrong_sum = table(b"DSDT", &code);
    wrong_sum[20] ^= 1;
    assert_eq!(devices(&wrong_sum), []);
}

#[test]
fn damaged_tables_end_the_search() {
    let whole = usual();
    for cut in 0..whole.len() {
        assert_eq!(devices(&whole[..cut]), []);
    }
    for at in 36..whole.len() {
        for bit in 0..8 {
            let mut code = whole[36..].to_vec();
            code[at - 36] ^= 1 << bit;
            let damaged = table(b"DSDT", &code);
            assert!(devices(&damaged).len() <= 2);
            let _ = DefinitionBlock::new(&damaged).unwrap().soft_off();
        }
    }
}
