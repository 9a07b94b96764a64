//! The core file of a machine, as QEMU writes it: ELF, with a `PT_LOAD` for each range of virtual addresses and a `NT_PRSTATUS` note
//! for each core.
//!
//! A core that has reported its own fault stands in the report. So that a debugger begins where the fault was, its registers in the
//! note become those that it had there, as the image has told. What must hold: nothing but those registers is changed.

use std::{fs::OpenOptions, io, os::unix::fs::FileExt, path::Path};

/// The registers of a core at its fault, in the order of `struct user_regs_struct` (Linux, `sys/user.h`): r15, r14, r13, r12, rbp,
/// rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, rflags, rsp, ss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    core: usize,
    registers: [u64; 21],
}

/// Where registers are in the descriptor of `NT_PRSTATUS`.
const REGISTERS: u64 = 112;
const NT_PRSTATUS: u32 = 1;
const PT_NOTE: u32 = 4;
/// Notes of 64 cores are some 50 KiB.
const MOST_NOTES: u64 = 16 << 20;

impl Fault {
    /// Reads `CORE REGISTER...`: a decimal number, and hexadecimal ones.
    pub fn parse(text: &str) -> Option<Self> {
        let (core, rest) = text.split_once(' ')?;
        let registers: Option<Vec<u64>> = rest
            .split(' ')
            .map(|word| u64::from_str_radix(word, 16).ok())
            .collect();
        Some(Self {
            core: core.parse().ok()?,
            registers: registers?.try_into().ok()?,
        })
    }

    /// Puts the registers into a core file.
    ///
    /// # Errors
    /// When it is none, or has no such core.
    pub fn put_into(&self, path: &Path) -> io::Result<()> {
        let none = || io::Error::new(io::ErrorKind::InvalidData, "no core file of such a machine");
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut header = [0; 64];
        file.read_exact_at(&mut header, 0)?;
        let (at, size) = (long(&header, 32), u64::from(half(&header, 54)));
        for n in 0..u64::from(half(&header, 56)) {
            let mut segment = [0; 56];
            file.read_exact_at(&mut segment, at + n * size)?;
            let (offset, length) = (long(&segment, 8), long(&segment, 32));
            if word(&segment, 0) != PT_NOTE || length > MOST_NOTES {
                continue;
            }
            let mut notes = vec![0; length as usize];
            file.read_exact_at(&mut notes, offset)?;
            let place = status_of(&notes, self.core).ok_or_else(none)?;
            let bytes: Vec<u8> = self
                .registers
                .iter()
                .flat_map(|r| r.to_le_bytes())
                .collect();
            return file.write_all_at(&bytes, offset + place + REGISTERS);
        }
        Err(none())
    }
}

/// Where the descriptor of a core's `NT_PRSTATUS` is among the notes.
fn status_of(notes: &[u8], core: usize) -> Option<u64> {
    let (mut at, mut seen) = (0, 0);
    while at + 12 <= notes.len() {
        let [name, length] = [0, 4].map(|i| word(notes, at + i) as usize);
        let start = at + 12 + name.next_multiple_of(4);
        if word(notes, at + 8) == NT_PRSTATUS && notes[at + 12..].starts_with(b"CORE\0") {
            if seen == core {
                let has_room = length as u64 >= REGISTERS + 21 * 8 && start + length <= notes.len();
                return has_room.then_some(start as u64);
            }
            seen += 1;
        }
        at = start + length.next_multiple_of(4);
    }
    None
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&from[at..at + N]);
    bytes
}

fn half(from: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes(from, at))
}

fn word(from: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes(from, at))
}

fn long(from: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes(from, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_read_whole_or_not_at_all() {
        let words = (0..21)
            .map(|n| format!("{:x}", n * 17))
            .collect::<Vec<_>>()
            .join(" ");
        let fault = Fault::parse(&format!("3 {words}")).unwrap();
        assert_eq!((fault.core, fault.registers[20]), (3, 340));
        for text in [
            "",
            "3",
            "x 1",
            "3 1 2",
            &format!("3 {words} 1"),
            &format!("3 {words}g"),
        ] {
            assert_eq!(Fault::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_note_of_each_core_is_found() {
        let mut notes = Vec::new();
        for (name, kind) in [
            (&b"CORE\0\0\0\0"[..], 1_u32),
            (b"QEMU\0\0\0\0", 0),
            (b"CORE\0\0\0\0", 1),
        ] {
            for word in [5, 336, kind] {
                notes.extend(word.to_le_bytes());
            }
            notes.extend(name);
            notes.extend([0; 336]);
        }
        let one = 12 + 8 + 336;
        assert_eq!(status_of(&notes, 0), Some(20));
        assert_eq!(status_of(&notes, 1), Some(2 * one + 20));
        assert_eq!(status_of(&notes, 2), None);
        assert_eq!(status_of(&notes[..notes.len() - 1], 1), None);
        assert_eq!(status_of(&[0xff; 40], 0), None);
    }
}
