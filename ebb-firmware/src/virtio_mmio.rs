//! virtio devices without a bus: a monitor names them on the kernel's command line, in Linux' words
//! (`virtio_mmio.device=SIZE@ADDRESS:LINE[:ID]`, Linux `drivers/virtio/virtio_mmio.c`), each in one of its own.
//!
//! What must hold: their order is that of the line, in which monitors put them as they were given.
//! Firecracker puts them before `--`. QEMU appends them to the whole line, so that they follow the application's arguments,
//! of which they are no part.

/// The option's name.
pub const NAME: &str = "virtio_mmio.device";
/// The form of its value.
pub const FORM: &str = "SIZE@ADDRESS:LINE[:ID], as in 512@0xfeb00e00:12 or 4K@0xd0000000:5";

/// Bytes of the registers that every device has (VIRTIO 1.2, 4.2.2).
const REGISTERS: u64 = 0x100;
/// The largest that is believed: what is mapped costs memory.
const MOST: u64 = 1 << 20;
/// Physical addresses have at most 52 bits.
const END: u64 = 1 << 52;

/// Where a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Physical address of its registers.
    pub address: u64,
    /// Bytes of its registers.
    pub length: u64,
    /// Its interrupt line.
    pub line: u32,
}

/// A number as C writes it: decimal, or hexadecimal after `0x`.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        // To Linux this is octal; no monitor writes it.
        None if text.len() > 1 && text.starts_with('0') => return None,
        None => (text, 10),
    };
    // `from_str_radix` takes a sign too.
    let all = |is: fn(&u8) -> bool| digits.as_bytes().iter().all(is);
    if !all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// A number with one of the suffixes K, M and G.
fn size(text: &str) -> Option<u64> {
    let shift = match text.as_bytes().last()? {
        b'k' | b'K' => 10,
        b'm' | b'M' => 20,
        b'g' | b'G' => 30,
        _ => return number(text),
    };
    number(&text[..text.len() - 1])?.checked_mul(1 << shift)
}

impl Device {
    /// Reads the option's value. `None` when it is malformed or names what cannot be a device.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (length, rest) = value.split_once('@')?;
        let mut fields = rest.split(':');
        let address = number(fields.next()?)?;
        let line = u32::try_from(number(fields.next()?)?).ok()?;
        // Linux' number of the device, of no use here.
        if let Some(id) = fields.next() {
            u32::try_from(number(id)?).ok()?;
        }
        let length = size(length)?;
        Self::new(address, length, line).filter(|_| fields.next().is_none())
    }

    /// `None` for what cannot be a device.
    pub(crate) fn new(address: u64, length: u64, line: u32) -> Option<Self> {
        let is_place = (REGISTERS..=MOST).contains(&length)
            && address != 0
            && address.is_multiple_of(4)
            && address.checked_add(length)? <= END;
        (is_place && line != 0).then_some(Self {
            address,
            length,
            line,
        })
    }

    /// The device that a word of the line names.
    fn of_word(word: &str) -> Option<Self> {
        let (name, value) = word.split_once('=')?;
        Self::parse(value).filter(|_| name == NAME)
    }
}

/// Parts a command line into what its user wrote, and the devices that a monitor appended.
#[must_use]
pub fn split_appended(line: &str) -> (&str, &str) {
    let mut end = line.len();
    for word in line.rsplit(|c: char| c.is_ascii_whitespace()) {
        if !word.is_empty() && Device::of_word(word).is_none() {
            break;
        }
        end = word.as_ptr() as usize - line.as_ptr() as usize;
    }
    line.split_at(end)
}

/// The devices that a command line names, in its order. Words that name none are left out.
pub fn devices(line: &str) -> impl Iterator<Item = Device> {
    let (own, appended) = split_appended(line);
    let options = own
        .split_ascii_whitespace()
        .take_while(|word| *word != "--");
    options
        .chain(appended.split_ascii_whitespace())
        .filter_map(Device::of_word)
}
