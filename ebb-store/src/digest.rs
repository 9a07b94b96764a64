//! Checksums of values and of tables, which are most of what is written and read: the lower half of XXH3's 64 bits. To QEMU's
//! emulator that is a tenth of the work of a CRC-32C by tables, and it takes that by the CPU's instruction bit by bit.
//!
//! What must hold: what a disk has of layout 3 and before, under a CRC-32C, is still believed. Which of the two a checksum is
//! stands nowhere, so damage goes unnoticed once in 2^31 times.

use xxhash_rust::xxh3::xxh3_64;

use crate::crc32c;

/// The checksum that is written.
pub fn digest(bytes: &[u8]) -> u32 {
    xxh3_64(bytes) as u32
}

/// Whether it is the checksum of these bytes, in the present layout or in one of before.
pub fn is_digest(bytes: &[u8], sum: u32) -> bool {
    digest(bytes) == sum || crc32c::checksum(bytes) == sum
}
