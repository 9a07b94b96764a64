//! The binary protocol's grammar: a header of 24 bytes, then extras, key and value.

use crate::KEY_MAX;

/// Bytes of a header.
pub const HEADER: usize = 24;
/// First byte of a request, by which the protocol is known.
pub const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;

/// A request's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The command.
    pub opcode: u8,
    /// Bytes of the key.
    pub key: usize,
    /// Bytes of the extras.
    pub extras: usize,
    /// Bytes of the value: what is left of the body.
    pub value: usize,
    /// Goes back as it came.
    pub opaque: [u8; 4],
    /// The number of the item that is meant; 0 for any.
    pub cas: u64,
}

/// A header that cannot be followed by anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// When it is none, or its lengths do not add up: the place of the next request is unknown.
    #[inline]
    pub fn parse(bytes: &[u8; HEADER]) -> Result<Self, Malformed> {
        let [
            magic,
            opcode,
            k1,
            k0,
            extras,
            _,
            _,
            _,
            b3,
            b2,
            b1,
            b0,
            o3,
            o2,
            o1,
            o0,
            cas @ ..,
        ] = *bytes;
        let key = usize::from(u16::from_be_bytes([k1, k0]));
        let extras = usize::from(extras);
        let body = u32::from_be_bytes([b3, b2, b1, b0]) as usize;
        let value = body.checked_sub(key + extras).ok_or(Malformed)?;
        if magic != REQUEST {
            return Err(Malformed);
        }
        Ok(Self {
            opcode,
            key,
            extras,
            value,
            opaque: [o3, o2, o1, o0],
            cas: u64::from_be_bytes(cas),
        })
    }

    /// Bytes that follow the header.
    #[must_use]
    pub fn body(&self) -> usize {
        self.extras + self.key + self.value
    }

    /// Bytes of the header, the extras and the key: what has to be together.
    #[must_use]
    pub fn head(&self) -> usize {
        HEADER + self.extras + self.key
    }

    /// Whether key and extras are of lengths that some command has.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        self.key <= KEY_MAX && self.extras <= 20
    }

    /// The header of an answer.
    #[inline]
    #[must_use]
    pub fn answer(
        &self,
        status: Status,
        extras: u8,
        key: u16,
        value: u32,
        cas: u64,
    ) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = RESPONSE;
        bytes[1] = self.opcode;
        bytes[2..4].copy_from_slice(&key.to_be_bytes());
        bytes[4] = extras;
        bytes[6..8].copy_from_slice(&(status as u16).to_be_bytes());
        let body = u32::from(extras) + u32::from(key) + value;
        bytes[8..12].copy_from_slice(&body.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.opaque);
        bytes[16..24].copy_from_slice(&cas.to_be_bytes());
        bytes
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// There is no such key.
    NotFound = 1,
    /// There is such a key, or another item than was meant.
    Exists = 2,
    /// The value is too large.
    TooLarge = 3,
    /// The parts do not fit the command.
    Invalid = 4,
    /// There was nothing to add to.
    NotStored = 5,
    /// The value is no number.
    NotANumber = 6,
    /// No such command.
    Unknown = 0x81,
    /// There is no memory for it.
    OutOfMemory = 0x82,
}

impl Status {
    /// In memcached's words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Ok => "",
            Self::NotFound => "Not found",
            Self::Exists => "Data exists for key.",
            Self::TooLarge => "Too large.",
            Self::Invalid => "Invalid arguments",
            Self::NotStored => "Not stored.",
            Self::NotANumber => "Non-numeric server-side value for incr or decr",
            Self::Unknown => "Unknown command",
            Self::OutOfMemory => "Out of memory",
        }
    }
}

/// Which answers a quiet request leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// None.
    No,
    /// That the key is not there.
    Misses,
    /// That it is done.
    Success,
}

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Answers a value.
    Get {
        /// With its key.
        key: bool,
        /// After changing its expiry time.
        touch: bool,
    },
    /// Changes an expiry time.
    Touch,
    /// Stores a value.
    Store(StoreKind),
    /// Deletes.
    Delete,
    /// Adds to a number.
    Add {
        /// Or subtracts.
        decrement: bool,
    },
    /// Ends the connection.
    Quit,
    /// Deletes everything.
    Flush,
    /// Nothing.
    Noop,
    /// Says which server this is.
    Version,
    /// Answers figures.
    Stats,
    /// Changes the log level.
    Verbosity,
}

/// How to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// Whatever is there.
    Set,
    /// If there is nothing.
    Add,
    /// If there is something.
    Replace,
    /// After what is there.
    Append,
    /// Before what is there.
    Prepend,
}

/// The table of commands; `None` for one that does not exist.
#[inline]
#[must_use]
pub fn operation(opcode: u8) -> Option<(Operation, Quiet)> {
    use Operation::{Add, Delete, Flush, Get, Noop, Quit, Stats, Store, Touch, Verbosity, Version};
    let get = |key, touch| Get { key, touch };
    Some(match opcode {
        0x00 => (get(false, false), Quiet::No),
        0x01 => (Store(StoreKind::Set), Quiet::No),
        0x02 => (Store(StoreKind::Add), Quiet::No),
        0x03 => (Store(StoreKind::Replace), Quiet::No),
        0x04 => (Delete, Quiet::No),
        0x05 => (Add { decrement: false }, Quiet::No),
        0x06 => (Add { decrement: true }, Quiet::No),
        0x07 => (Quit, Quiet::No),
        0x08 => (Flush, Quiet::No),
        0x09 => (get(false, false), Quiet::Misses),
        0x0a => (Noop, Quiet::No),
        0x0b => (Version, Quiet::No),
        0x0c => (get(true, false), Quiet::No),
        0x0d => (get(true, false), Quiet::Misses),
        0x0e => (Store(StoreKind::Append), Quiet::No),
        0x0f => (Store(StoreKind::Prepend), Quiet::No),
        0x10 => (Stats, Quiet::No),
        0x11 => (Store(StoreKind::Set), Quiet::Success),
        0x12 => (Store(StoreKind::Add), Quiet::Success),
        0x13 => (Store(StoreKind::Replace), Quiet::Success),
        0x14 => (Delete, Quiet::Success),
        0x15 => (Add { decrement: false }, Quiet::Success),
        0x16 => (Add { decrement: true }, Quiet::Success),
        0x17 => (Quit, Quiet::Success),
        0x18 => (Flush, Quiet::Success),
        0x19 => (Store(StoreKind::Append), Quiet::Success),
        0x1a => (Store(StoreKind::Prepend), Quiet::Success),
        0x1b => (Verbosity, Quiet::No),
        0x1c => (Touch, Quiet::No),
        0x1d => (get(false, true), Quiet::No),
        0x1e => (get(false, true), Quiet::Misses),
        0x23 => (get(true, true), Quiet::No),
        0x24 => (get(true, true), Quiet::Misses),
        _ => return None,
    })
}

impl Operation {
    /// Whether extras, key and value are of the lengths that this command has.
    #[inline]
    #[must_use]
    pub fn fits(self, header: &Header) -> bool {
        let Header {
            key, extras, value, ..
        } = *header;
        match self {
            Self::Get { touch, .. } => key > 0 && value == 0 && extras == if touch { 4 } else { 0 },
            Self::Touch => key > 0 && value == 0 && extras == 4,
            Self::Store(StoreKind::Append | StoreKind::Prepend) => key > 0 && extras == 0,
            Self::Store(_) => key > 0 && extras == 8,
            Self::Delete => key > 0 && value == 0 && extras == 0,
            Self::Add { .. } => key > 0 && value == 0 && extras == 20,
            Self::Flush => key == 0 && value == 0 && (extras == 0 || extras == 4),
            Self::Verbosity => key == 0 && value == 0 && extras == 4,
            Self::Stats => value == 0 && extras == 0,
            Self::Quit | Self::Noop | Self::Version => key == 0 && value == 0 && extras == 0,
        }
    }
}
