//! CRC-32C of what is on the disk: by the CPU's own instruction (SSE4.2) where it has one, which is about a tenth of the work of
//! tables; but by tables where the CPU is QEMU's emulator, which takes the instruction bit by bit.

use core::arch::x86_64::{__cpuid, _mm_crc32_u8, _mm_crc32_u64};
use core::sync::atomic::{AtomicU8, Ordering};

use crc::{CRC_32_ISCSI, Crc, Table};

/// Much of what is kept is written once and read never: the tables for sixteen bytes at a time are worth their 16 KiB.
static TABLES: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Bit 20 of ECX of leaf 1 (Intel SDM volume 2, CPUID).
const SSE4_2: u32 = 1 << 20;
/// Bit 31 of the same: there is a hypervisor, which says in leaf 0x40000000 who it is.
const HYPERVISOR: u32 = 1 << 31;

/// CRC-32C.
pub fn checksum(bytes: &[u8]) -> u32 {
    if uses_instruction() {
        // SAFETY: the CPU has SSE4.2.
        unsafe { by_instruction(bytes) }
    } else {
        TABLES.checksum(bytes)
    }
}

/// Whether the CPU has the instruction, and is fast at it. It is asked once: under a hypervisor CPUID takes microseconds.
fn uses_instruction() -> bool {
    const UNKNOWN: u8 = 2;
    static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
    let known = KNOWN.load(Ordering::Relaxed);
    if known != UNKNOWN {
        return known == 1;
    }
    let features = __cpuid(1).ecx;
    let uses = features & SSE4_2 != 0 && !(features & HYPERVISOR != 0 && is_emulator());
    KNOWN.store(u8::from(uses), Ordering::Relaxed);
    uses
}

/// Whether the hypervisor is QEMU's emulator ("TCGTCGTCGTCG").
fn is_emulator() -> bool {
    __cpuid(0x4000_0000).ebx == u32::from_le_bytes(*b"TCGT")
}

/// The same by the instruction.
#[target_feature(enable = "sse4.2")]
fn by_instruction(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(u64::from(u32::MAX), |sum, word| {
        _mm_crc32_u64(sum, u64::from_le_bytes(*word))
    });
    let sum = rest
        .iter()
        .fold(sum as u32, |sum, byte| _mm_crc32_u8(sum, *byte));
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn the_instruction_and_the_tables_agree() {
        let bytes: Vec<u8> = (0..300u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        for from in 0..9 {
            for to in from..bytes.len() {
                let part = &bytes[from..to];
                assert_eq!(checksum(part), TABLES.checksum(part), "{from}..{to}");
            }
        }
        // RFC 3720, B.4: 32 bytes of zeroes.
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
    }
}
