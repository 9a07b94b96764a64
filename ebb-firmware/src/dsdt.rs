//! Devices that ACPI's byte code names: virtio devices without a bus in a definition block (DSDT or SSDT), as QEMU's microvm and Cloud
//! Hypervisor write them.
//!
//! What must hold: nothing is executed. A device is found by its identification and must have its resources in a constant, which
//! is how the monitors that have such devices write them (ACPI 6.5: 20.2 the encoding, 6.4 the resources).

use core::ops::Range;

use crate::virtio_mmio::Device;

/// Bytes of the header that every table has.
const HEADER: usize = 36;
/// `DefDevice` begins so.
const DEVICE: [u8; 2] = [0x5b, 0x82];
/// `Name(_HID, "LNRO0005")`: Linux' name of a virtio device without a bus.
const IDENTIFICATION: &[u8] = b"\x08_HID\x0dLNRO0005\0";
/// `Name(_CRS, Buffer ...`: what follows is the length of the package, its size, and the resources.
const RESOURCES: &[u8] = b"\x08_CRS\x11";
/// How many devices are looked for.
const MOST: usize = 64;
/// `Name(_S5_, Package ...`: what to write to switch the machine off.
const SOFT_OFF: &[u8] = b"\x08_S5_\x12";

/// A table that is whole.
#[derive(Clone, Copy, Debug)]
pub struct DefinitionBlock<'a>(&'a [u8]);

impl<'a> DefinitionBlock<'a> {
    /// Checks what the table's header says of it: its kind, its length and its sum.
    #[must_use]
    pub fn new(table: &'a [u8]) -> Option<Self> {
        let length = u32::from_le_bytes(table.get(4..8)?.try_into().ok()?);
        let table = table.get(..usize::try_from(length).ok()?)?;
        let is_one = matches!(&table[..4], b"DSDT" | b"SSDT");
        let sum = table.iter().fold(0u8, |sum, &b| sum.wrapping_add(b));
        (is_one && sum == 0).then(|| table.get(HEADER..))?.map(Self)
    }

    /// The virtio devices without a bus, in the table's order. Those whose resources are no constant, or none that a device can have, are
    /// left out.
    pub fn virtio_mmio(self) -> impl Iterator<Item = Device> + 'a {
        let code = self.0;
        places(code, IDENTIFICATION)
            .take(MOST)
            .filter_map(move |at| {
                let device = enclosing(code, at)?;
                let found = places(device, RESOURCES).next()? + RESOURCES.len();
                resources(buffer(&device[package(device, found)?])?)
            })
    }

    /// The sleep type that switches the machine off (`_S5`).
    #[must_use]
    pub fn soft_off(self) -> Option<u8> {
        let at = places(self.0, SOFT_OFF).next()? + SOFT_OFF.len();
        let elements = package(self.0, at)?;
        // The number of elements comes first.
        let (value, _) = integer(self.0[elements].get(1..)?)?;
        u8::try_from(value).ok().filter(|value| *value < 8)
    }
}

/// Where this pattern is.
fn places<'a>(code: &'a [u8], pattern: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let windows = code.windows(pattern.len()).enumerate();
    windows.filter_map(move |(at, bytes)| (bytes == pattern).then_some(at))
}

/// The innermost device around a place: the last that begins before it and ends behind it.
fn enclosing(code: &[u8], at: usize) -> Option<&[u8]> {
    let mut begins = (0..at)
        .rev()
        .filter(|&begin| code[begin..].starts_with(&DEVICE));
    let bodies = begins
        .find_map(|begin| package(code, begin + DEVICE.len()).filter(|body| body.contains(&at)));
    bodies.map(|body| &code[body])
}

/// What a package holds whose length is at that place; the length (20.2.4) counts its own bytes.
fn package(code: &[u8], at: usize) -> Option<Range<usize>> {
    let first = *code.get(at)?;
    let more = usize::from(first >> 6);
    let behind = code.get(at + 1..=at + more)?;
    let length = match more {
        0 => usize::from(first & 0x3f),
        _ => (little_endian(behind) as usize) << 4 | usize::from(first & 0xf),
    };
    let body = at + 1 + more..at + length;
    code.get(body.clone()).map(|_| body)
}

/// A constant, and what follows it.
fn integer(code: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = code.split_first()?;
    let bytes = match first {
        0 | 1 => return Some((first.into(), rest)),
        0x0a => 1,
        0x0b => 2,
        0x0c => 4,
        0x0e => 8,
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(bytes)?;
    Some((little_endian(value), rest))
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

/// The bytes of a buffer: its size comes first.
fn buffer(package: &[u8]) -> Option<&[u8]> {
    let (size, bytes) = integer(package)?;
    bytes.get(..usize::try_from(size).ok()?)
}

/// The first range of memory and the first interrupt of a resource template.
fn resources(mut template: &[u8]) -> Option<Device> {
    let (mut memory, mut line) = (None, None);
    while let Some((&tag, rest)) = template.split_first() {
        let (name, length, rest) = if tag & 0x80 == 0 {
            (tag >> 3, usize::from(tag & 7), rest)
        } else {
            let (length, rest) = rest.split_at_checked(2)?;
            (tag, little_endian(length) as usize, rest)
        };
        let (body, rest) = rest.split_at_checked(length)?;
        let field = |at: usize, bytes: usize| Some(little_endian(body.get(at..at + bytes)?));
        match name {
            // Memory of 32 bits, fixed.
            0x86 => memory = memory.or(Some((field(1, 4)?, field(5, 4)?))),
            // An address of 32 or 64 bits, if it is one of memory.
            0x87 if field(0, 1)? == 0 => memory = memory.or(Some((field(7, 4)?, field(19, 4)?))),
            0x8a if field(0, 1)? == 0 => memory = memory.or(Some((field(11, 8)?, field(35, 8)?))),
            0x89 if field(1, 1)? > 0 => line = line.or(Some(field(2, 4)?)),
            // A mask of ISA lines.
            4 => line = line.or(Some(field(0, 2)?.trailing_zeros().into())),
            // The end.
            15 => break,
            _ => {}
        }
        template = rest;
    }
    let (address, length) = memory?;
    Device::new(address, length, u32::try_from(line?).ok()?)
}
