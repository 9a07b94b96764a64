//! What is on the disk, byte by byte: superblocks and frames. Numbers are little-endian.
//!
//! ```text
//! 0          superblock A                 (one sector)
//! 64 KiB     superblock B                 (the same; the newer valid one counts)
//! 128 KiB    the log: a ring of frames, each of whole blocks, none of them across the ring's end
//!
//! superblock  magic 8, layout 4, checksum 4, store 16, generation 8, size 8,
//!             tail position 8, tail sequence 8, hint position 8, hint sequence 8;
//!             since layout 2: checkpoint position 8, checkpoint sequence 8, its frames 8 (0: none), generation 8, checksum 4
//! frame       magic 8, store 16, sequence 8, reserved 4, blocks 4, durable 8, table length 4, entries 4,
//!             table checksum 4, header checksum 4; the table; the values
//! entry       kind 1, mark 1 (since layout 3; 0 before), key length 2, value length 4, value checksum 4, references 2, reserved 2; key;
//!             references, 32 bytes each
//! ```
//!
//! What must hold: nothing here believes a byte before its checksum was right, and no length of the disk's reaches memory
//! unchecked. Checksums of superblocks and headers are CRC-32C, those of tables and values the lower half of XXH3's 64 bits; until
//! layout 3 all were CRC-32C. `durable` of a frame is the sequence number up to which frames were flushed when it
//! was made: a frame that cannot be read is damage if a later one calls it durable, and else the end of the log.

use alloc::vec::Vec;

use ebb_block::BLOCK;

pub use crate::{
    crc32c::checksum,
    digest::{digest, is_digest},
};

/// The layout that is written: tables and values have checksums that cost an emulated CPU little.
pub const LAYOUT: u32 = 4;
/// The oldest one that is read: it has no checkpoints either.
pub const OLDEST: u32 = 1;
/// Where the superblocks are.
pub const SUPERBLOCKS: [u64; 2] = [0, 64 << 10];
/// Where the log begins.
pub const LOG: u64 = 128 << 10;
/// Most bytes of a frame.
pub const FRAME: usize = 256 << 10;
/// Most bytes of blobs in one frame.
pub const CHUNK: usize = 192 << 10;
/// Most bytes of a key.
pub const KEY: usize = 1024;
/// Most bytes of a value that is no blob.
pub const VALUE: usize = 64 << 10;
/// Most blobs that a value refers to.
pub const REFERENCES: usize = 1024;

/// Sequence numbers and generations are below: no log comes so far, and all that is counted on from here fits.
const ENDLESS: u64 = 1 << 62;

pub const HEADER: usize = 64;
pub const ENTRY: usize = 16;

const STORE_MAGIC: u64 = u64::from_le_bytes(*b"ebbstore");
const FRAME_MAGIC: u64 = u64::from_le_bytes(*b"ebbframe");

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// A superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    pub store: [u8; 16],
    /// The higher one counts.
    pub generation: u64,
    /// Bytes of the disk in use.
    pub size: u64,
    /// The oldest frame that counts.
    pub tail: Place,
    /// Where the log went on when this was written: everything before is durable.
    pub hint: Place,
    /// The layout that it was read in.
    pub layout: u32,
    /// Where the last checkpoint is.
    pub checkpoint: Option<Checkpoint>,
}

/// Where a checkpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub first: Place,
    pub frames: u64,
}

/// A place in the log: where the frame with a sequence number is, or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub position: u64,
    pub sequence: u64,
}

/// What is where a superblock may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Zeros.
    Nothing,
    /// Something else's bytes.
    Foreign,
    /// A superblock of ours that is damaged, or was never whole.
    Damaged,
    /// One of another layout.
    Layout(u32),
    /// One that can be used.
    Valid(Superblock),
}

impl Superblock {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK);
        bytes.extend(STORE_MAGIC.to_le_bytes());
        bytes.extend(LAYOUT.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.store);
        for number in [
            self.generation,
            self.size,
            self.tail.position,
            self.tail.sequence,
            self.hint.position,
            self.hint.sequence,
        ] {
            bytes.extend(number.to_le_bytes());
        }
        let sum = checksum(&bytes);
        bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        let (first, frames) = match self.checkpoint {
            Some(checkpoint) => (checkpoint.first, checkpoint.frames),
            None => (self.tail, 0),
        };
        for number in [first.position, first.sequence, frames, self.generation] {
            bytes.extend(number.to_le_bytes());
        }
        let sum = checksum(&bytes[80..]);
        bytes.extend(sum.to_le_bytes());
        bytes.resize(BLOCK, 0);
        bytes
    }

    /// What a superblock says of its checkpoint. One that is damaged is none: nothing is lost without.
    fn parse_checkpoint(block: &[u8], generation: u64) -> Option<Checkpoint> {
        let bytes = block.get(80..112)?;
        let sound = u32_at(block, 112)? == checksum(bytes)
            && u64_at(bytes, 24)? == generation
            && u64_at(bytes, 16)? > 0;
        sound.then_some(Checkpoint {
            first: Place {
                position: u64_at(bytes, 0)?,
                sequence: u64_at(bytes, 8)?,
            },
            frames: u64_at(bytes, 16)?,
        })
    }

    /// What a block is.
    pub fn decode(block: &[u8]) -> Found {
        if block.iter().all(|b| *b == 0) {
            return Found::Nothing;
        }
        Self::parse(block).unwrap_or(Found::Foreign)
    }

    fn parse(block: &[u8]) -> Option<Found> {
        if u64_at(block, 0)? != STORE_MAGIC {
            return None;
        }
        // Every layout has its checksum there, over the bytes that it says.
        let mut head: [u8; 80] = block.get(..80)?.try_into().ok()?;
        let sum = u32_at(&head, 12)?;
        head[12..16].fill(0);
        if checksum(&head) != sum {
            return Some(Found::Damaged);
        }
        let layout = u32_at(&head, 8)?;
        if !(OLDEST..=LAYOUT).contains(&layout) {
            return Some(Found::Layout(layout));
        }
        let place = |at| {
            Some(Place {
                position: u64_at(&head, at)?,
                sequence: u64_at(&head, at + 8)?,
            })
        };
        let this = Self {
            store: head[16..32].try_into().ok()?,
            generation: u64_at(&head, 32)?,
            size: u64_at(&head, 40)?,
            tail: place(48)?,
            hint: place(64)?,
            layout,
            checkpoint: None,
        };
        let inside = |p: Place| {
            (LOG..this.size).contains(&p.position)
                && p.position.is_multiple_of(BLOCK as u64)
                && p.sequence < ENDLESS
        };
        let sound = this.size.is_multiple_of(BLOCK as u64)
            && this.generation < ENDLESS
            && inside(this.tail)
            && inside(this.hint);
        Some(if sound {
            let checkpoint = Self::parse_checkpoint(block, this.generation)
                .filter(|c| layout >= 2 && inside(c.first));
            Found::Valid(Self { checkpoint, ..this })
        } else {
            Found::Damaged
        })
    }
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The key has this value.
    Put,
    /// The key has none.
    Delete,
    /// A piece of a blob; the key says which.
    Chunk,
    /// The key's value was damaged.
    Lost,
    /// Of a checkpoint: where a key's value is.
    Item,
    /// Of a checkpoint: where a piece of a blob is.
    Piece,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Put,
            2 => Self::Delete,
            3 => Self::Chunk,
            4 => Self::Lost,
            5 => Self::Item,
            6 => Self::Piece,
            _ => return None,
        })
    }

    fn byte(self) -> u8 {
        match self {
            Self::Put => 1,
            Self::Delete => 2,
            Self::Chunk => 3,
            Self::Lost => 4,
            Self::Item => 5,
            Self::Piece => 6,
        }
    }
}

/// The SHA-256 of a blob.
pub type Hash = [u8; 32];

/// Which piece of which blob a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkKey {
    pub hash: Hash,
    pub index: u32,
    /// Bytes of the whole blob.
    pub total: u64,
}

impl ChunkKey {
    pub fn encode(&self) -> [u8; 44] {
        let mut key = [0; 44];
        key[..32].copy_from_slice(&self.hash);
        key[32..36].copy_from_slice(&self.index.to_le_bytes());
        key[36..].copy_from_slice(&self.total.to_le_bytes());
        key
    }

    pub fn decode(key: &[u8]) -> Option<Self> {
        if key.len() != 44 {
            return None;
        }
        Some(Self {
            hash: key[..32].try_into().ok()?,
            index: u32_at(key, 32)?,
            total: u64_at(key, 36)?,
        })
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub sequence: u64,
    pub durable: u64,
    /// Bytes of the whole frame.
    pub length: usize,
    table: usize,
    entries: u32,
    table_sum: u32,
}

impl Header {
    /// The header at the beginning of `bytes`, if there is one of this store.
    pub fn decode(bytes: &[u8], store: &[u8; 16]) -> Option<Self> {
        let mut head: [u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
        let sum = u32_at(&head, 60)?;
        if u64_at(&head, 0)? != FRAME_MAGIC || head[8..24] != store[..] {
            return None;
        }
        head[60..].fill(0);
        if checksum(&head) != sum {
            return None;
        }
        let this = Self {
            sequence: u64_at(&head, 24)?,
            durable: u64_at(&head, 40)?,
            length: (u32_at(&head, 36)? as usize).checked_mul(BLOCK)?,
            table: u32_at(&head, 48)? as usize,
            entries: u32_at(&head, 52)?,
            table_sum: u32_at(&head, 56)?,
        };
        let sound = (BLOCK..=FRAME).contains(&this.length)
            && this.table <= this.length - HEADER
            && this.durable < this.sequence
            && this.sequence < ENDLESS;
        sound.then_some(this)
    }

    /// The entries of a frame whose bytes these are; `None` when the table is damaged.
    pub fn entries<'a>(&self, frame: &'a [u8]) -> Option<Vec<Entry<'a>>> {
        let table = frame.get(HEADER..HEADER + self.table)?;
        if !is_digest(table, self.table_sum) {
            return None;
        }
        let mut entries = Vec::new();
        let (mut at, mut value) = (0, HEADER + self.table);
        for _ in 0..self.entries {
            let fixed = table.get(at..at + ENTRY)?;
            let key = usize::from(u16::from_le_bytes([fixed[2], fixed[3]]));
            let length = u32_at(fixed, 4)? as usize;
            let references = usize::from(u16::from_le_bytes([fixed[12], fixed[13]]));
            let key_at = at + ENTRY;
            let references_at = key_at + key;
            at = references_at + 32 * references;
            let end = value
                .checked_add(length)
                .filter(|end| *end <= self.length)?;
            entries.push(Entry {
                kind: Kind::from_byte(fixed[0])?,
                mark: fixed[1],
                key: table.get(key_at..references_at)?,
                references: table.get(references_at..at)?.as_chunks().0,
                value: frame.get(value..end)?,
                value_at: value,
                value_sum: u32_at(fixed, 8)?,
            });
            value = end;
        }
        (at == table.len()).then_some(entries)
    }
}

/// An entry of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub kind: Kind,
    /// What its writer has marked the value with.
    pub mark: u8,
    pub key: &'a [u8],
    pub references: &'a [Hash],
    /// Not yet checked against `value_sum`.
    pub value: &'a [u8],
    /// Where in the frame the value is.
    pub value_at: usize,
    pub value_sum: u32,
}

impl Entry<'_> {
    pub fn is_whole(&self) -> bool {
        is_digest(self.value, self.value_sum)
    }
}

/// A frame in the making.
#[derive(Default)]
pub struct Builder {
    table: Vec<u8>,
    values: Vec<u8>,
    entries: u32,
    /// Of each entry: where its value begins among the values, and its checksum.
    pub places: Vec<(usize, u32)>,
}

impl Builder {
    /// Bytes that an entry takes.
    pub fn cost(key: usize, references: usize, value: usize) -> usize {
        ENTRY + key + 32 * references + value
    }

    /// Whether that many more bytes fit.
    pub fn fits(&self, cost: usize) -> bool {
        HEADER + self.table.len() + self.values.len() + cost <= FRAME
    }

    pub fn bytes(&self) -> usize {
        HEADER + self.table.len() + self.values.len()
    }

    /// Bytes of the frame.
    pub fn length(&self) -> usize {
        self.bytes().next_multiple_of(BLOCK)
    }

    /// Adds an entry.
    pub fn add(&mut self, kind: Kind, mark: u8, key: &[u8], references: &[Hash], value: &[u8]) {
        let sum = digest(value);
        self.table.extend([kind.byte(), mark]);
        self.table.extend((key.len() as u16).to_le_bytes());
        self.table.extend((value.len() as u32).to_le_bytes());
        self.table.extend(sum.to_le_bytes());
        self.table.extend((references.len() as u16).to_le_bytes());
        self.table.extend([0; 2]);
        self.table.extend(key);
        self.table.extend(references.iter().flatten());
        self.places.push((self.values.len(), sum));
        self.values.extend(value);
        self.entries += 1;
    }

    /// The frame's bytes, and where in it the values begin.
    pub fn finish(self, store: &[u8; 16], sequence: u64, durable: u64) -> (Vec<u8>, usize) {
        let length = self.length();
        let mut frame = Vec::with_capacity(length);
        frame.extend(FRAME_MAGIC.to_le_bytes());
        frame.extend(store);
        frame.extend(sequence.to_le_bytes());
        frame.extend([0; 4]);
        frame.extend(((length / BLOCK) as u32).to_le_bytes());
        frame.extend(durable.to_le_bytes());
        frame.extend((self.table.len() as u32).to_le_bytes());
        frame.extend(self.entries.to_le_bytes());
        frame.extend(digest(&self.table).to_le_bytes());
        frame.extend([0; 4]);
        let sum = checksum(&frame);
        frame[60..].copy_from_slice(&sum.to_le_bytes());
        frame.extend(&self.table);
        let values = frame.len();
        frame.extend(&self.values);
        frame.resize(length, 0);
        (frame, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_frame_is_read_as_it_was_made_and_any_flipped_bit_of_it_is_noticed() {
        let store = [7; 16];
        let mut builder = Builder::default();
        builder.add(Kind::Put, 8, b"key", &[[9; 32]], b"value");
        builder.add(Kind::Delete, 0, b"gone", &[], b"");
        let used = builder.bytes();
        let (frame, _) = builder.finish(&store, 5, 4);
        type Seen = (Kind, u8, Vec<u8>, usize, Vec<u8>);
        let read = |frame: &[u8]| -> Option<Vec<Seen>> {
            let header = Header::decode(frame, &store)?;
            let entries = header.entries(frame)?;
            let whole = entries.iter().all(Entry::is_whole);
            whole.then(|| {
                let own = |e: &Entry| {
                    let (key, value) = (e.key.to_vec(), e.value.to_vec());
                    (e.kind, e.mark, key, e.references.len(), value)
                };
                entries.iter().map(own).collect()
            })
        };
        assert_eq!(
            read(&frame),
            Some(vec![
                (Kind::Put, 8, b"key".to_vec(), 1, b"value".to_vec()),
                (Kind::Delete, 0, b"gone".to_vec(), 0, vec![])
            ])
        );
        for bit in 0..used * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_superblock_says_whether_it_is_ours_damaged_or_of_another_layout() {
        let place = |sequence| Place {
            position: LOG,
            sequence,
        };
        let superblock = Superblock {
            store: [1; 16],
            generation: 3,
            size: 8 << 20,
            tail: place(1),
            hint: place(2),
            layout: LAYOUT,
            checkpoint: None,
        };
        let bytes = superblock.encode();
        assert_eq!(Superblock::decode(&bytes), Found::Valid(superblock));
        let checkpoint = Some(Checkpoint {
            first: place(2),
            frames: 7,
        });
        let with = Superblock {
            checkpoint,
            ..superblock
        };
        let mut bytes_with = with.encode();
        assert_eq!(Superblock::decode(&bytes_with), Found::Valid(with));
        bytes_with[100] ^= 1;
        assert_eq!(Superblock::decode(&bytes_with), Found::Valid(superblock));
        assert_eq!(Superblock::decode(&[0; BLOCK]), Found::Nothing);
        assert_eq!(Superblock::decode(b"MBR"), Found::Foreign);
        let mut damaged = bytes.clone();
        damaged[40] ^= 1;
        assert_eq!(Superblock::decode(&damaged), Found::Damaged);
        let mut other = bytes[..80].to_vec();
        other[8] = 9;
        other[12..16].fill(0);
        let sum = checksum(&other);
        other[12..16].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Superblock::decode(&other), Found::Layout(9));
    }
}
