//! Names for addresses: an ELF file with the image's symbol table, which the runner offers through
//! QEMU's firmware-configuration device as `opt/ebb/image`.
//!
//! So names cost nothing before they are needed: no bytes in the image, none in memory. The runner has undone their mangling; the
//! image's own file is as good, for whoever reads mangled names. Where the device or the file is missing, addresses are printed
//! for `addr2line -e IMAGE`.
//! Source: QEMU `docs/specs/fw_cfg.rst`.

use crate::paging;
use crate::say;
use x86_64::instructions::port::Port;

/// Most addresses that are looked up at once: the frames of a backtrace.
pub const MAX_FRAMES: usize = 40;

const FILE: &[u8] = b"opt/ebb/image";

const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const DMA: u16 = 0x514;
const SIGNATURE: u16 = 0;
const ID: u16 = 1;
const DIRECTORY: u16 = 0x19;

/// A file on the device.
struct File {
    selector: u16,
    size: u32,
}

#[repr(C, align(16))]
struct Request {
    control: u32,
    length: u32,
    address: u64,
}

fn select(item: u16) {
    // SAFETY: the device's selector port.
    unsafe { Port::new(SELECTOR).write(item) };
}

fn bytes<const N: usize>() -> [u8; N] {
    // SAFETY: the device's data port.
    core::array::from_fn(|_| unsafe { Port::<u8>::new(DATA).read() })
}

fn physical(at: *const u8) -> Option<u64> {
    // The buffers are on a stack, of which only the page tables know the frames.
    paging::physical(at as u64)
}

impl File {
    fn find() -> Option<Self> {
        select(SIGNATURE);
        if &bytes::<4>() != b"QEMU" {
            return None;
        }
        select(ID);
        if bytes::<1>()[0] & 2 == 0 {
            return None; // no DMA, so no skipping
        }
        select(DIRECTORY);
        let count = u32::from_be_bytes(bytes());
        for _ in 0..count.min(1024) {
            let size = u32::from_be_bytes(bytes());
            let selector = u16::from_be_bytes(bytes());
            let _ = bytes::<2>();
            let name: [u8; 56] = bytes();
            if name.starts_with(FILE) && name[FILE.len()] == 0 {
                return Some(Self { selector, size });
            }
        }
        None
    }

    /// Reads `out.len()` bytes at `offset`.
    fn read(&self, offset: u64, out: &mut [u8]) -> Option<()> {
        if offset.checked_add(out.len() as u64)? > u64::from(self.size) {
            return None;
        }
        select(self.selector);
        transfer(1 << 2, offset as u32, 0)?;
        // One transfer a page: a stack's frames need not adjoin.
        let mut done = 0;
        while done < out.len() {
            let at = &raw mut out[done];
            let n = (4096 - at as usize % 4096).min(out.len() - done);
            transfer(1 << 1, n as u32, physical(at)?)?;
            done += n;
        }
        Some(())
    }

    fn word<const N: usize>(&self, offset: u64) -> Option<u64> {
        let mut b = [0; 8];
        self.read(offset, &mut b[..N])?;
        Some(u64::from_le_bytes(b))
    }
}

fn transfer(command: u32, length: u32, address: u64) -> Option<()> {
    if length == 0 {
        return Some(());
    }
    let mut request = Request {
        control: command.to_be(),
        length: length.to_be(),
        address: address.to_be(),
    };
    let at = physical((&raw mut request).cast())?;
    // SAFETY: the device reads the request and fills the buffer that it names, both ours.
    unsafe {
        Port::<u32>::new(DMA).write(((at >> 32) as u32).to_be());
        Port::<u32>::new(DMA + 4).write((at as u32).to_be());
    }
    for _ in 0..1_000_000 {
        // SAFETY: the field is ours; the device writes it.
        let control = u32::from_be(unsafe { (&raw const request.control).read_volatile() });
        if control & 1 != 0 {
            return None;
        }
        if control == 0 {
            return Some(());
        }
    }
    None
}

struct Table {
    file: File,
    symbols: u64,
    count: u64,
    names: u64,
}

impl Table {
    /// Finds `.symtab` in the section headers of the ELF file.
    fn find() -> Option<Self> {
        let file = File::find()?;
        let sections = file.word::<8>(0x28)?;
        let size = file.word::<2>(0x3a)?;
        let count = file.word::<2>(0x3c)?;
        for i in 0..count {
            let at = sections + i * size;
            if file.word::<4>(at + 4)? == 2 {
                let link = sections + file.word::<4>(at + 40)? * size;
                let symbols = file.word::<8>(at + 24)?;
                let bytes = file.word::<8>(at + 32)?;
                let names = file.word::<8>(link + 24)?;
                return Some(Self {
                    file,
                    symbols,
                    count: bytes / 24,
                    names,
                });
            }
        }
        None
    }

    /// For each address the nearest function at or below it: its name's offset and its start.
    fn resolve(&self, addresses: &[u64], out: &mut [(u32, u64)]) -> Option<()> {
        const BATCH: u64 = 64;
        let mut buffer = [0u8; 24 * BATCH as usize];
        let mut at = 0;
        while at < self.count {
            let n = BATCH.min(self.count - at);
            let chunk = &mut buffer[..24 * n as usize];
            self.file.read(self.symbols + at * 24, chunk)?;
            for symbol in chunk.chunks_exact(24) {
                let name = u32::from_le_bytes(symbol[..4].try_into().ok()?);
                // Functions, and untyped ones of assembly.
                let kind = symbol[4] & 15;
                let value = u64::from_le_bytes(symbol[8..16].try_into().ok()?);
                let size = u64::from_le_bytes(symbol[16..24].try_into().ok()?);
                if (kind != 2 && kind != 0) || name == 0 || !paging::is_text(value) {
                    continue;
                }
                for (address, best) in addresses.iter().zip(out.iter_mut()) {
                    let inside = *address >= value && (size == 0 || *address < value + size);
                    if inside && value >= best.1 {
                        *best = (name, value);
                    }
                }
            }
            at += n;
        }
        Some(())
    }
}

/// The name that a buffer begins with.
fn name(buffer: &[u8]) -> &str {
    let end = buffer.iter().position(|&b| b == 0).unwrap_or(buffer.len());
    core::str::from_utf8(&buffer[..end]).unwrap_or("?")
}

/// Prints one line for each address, innermost first.
pub fn print(addresses: &[u64]) {
    let mut found = [(0u32, 0u64); MAX_FRAMES];
    let table = Table::find();
    let resolved = table
        .as_ref()
        .and_then(|t| t.resolve(addresses, &mut found[..addresses.len()]))
        .is_some();
    for (i, (&address, &(name, start))) in addresses.iter().zip(&found).enumerate() {
        let mut buffer = [0; 512];
        let named = match &table {
            Some(t) if resolved && name != 0 => {
                let at = t.names + u64::from(name);
                let n =
                    (u64::from(t.file.size).saturating_sub(at)).min(buffer.len() as u64) as usize;
                t.file.read(at, &mut buffer[..n]).is_some()
            }
            _ => false,
        };
        if named {
            say!(
                "  {i:2}: {address:#018x} {}+{:#x}",
                self::name(&buffer),
                address - start
            );
        } else {
            say!("  {i:2}: {address:#018x}");
        }
    }
    if !resolved {
        say!("  for names: addr2line -Cfpe IMAGE ADDRESS...");
    }
}
