//! What is on a shelf, and where: the block that says so, and room for more.
//!
//! What must hold: items do not overlap, nor does one reach beyond the disk. A block that says otherwise is damaged, whatever
//! its checksum says.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use borsh::{BorshDeserialize, BorshSerialize};
use ebb_block::BLOCK;

use crate::{CHUNK, Error, checksum};

/// How a directory begins.
const MAGIC: &[u8; 8] = b"EBBSHLF1";
/// Where what the checksum covers begins, and where the items do.
const COVERED: usize = 24;
const ITEMS: usize = 28;

/// An item of a shelf.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub name: u128,
    /// What it was made for, in the order of whoever made it.
    pub marks: Vec<u128>,
    /// Where its table begins.
    pub(crate) offset: u64,
    /// Bytes of the table: whole blocks.
    pub(crate) table: u64,
    /// Bytes of the body.
    pub(crate) body: u64,
    /// Bytes of the head.
    pub(crate) head: u64,
    /// The checksum of the table, which has those of all chunks: it names the content.
    pub(crate) sum: u128,
}

/// Bytes in whole blocks.
pub(crate) fn blocks(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(BLOCK as u64)
}

/// Bytes of a table for parts of these sizes.
pub(crate) fn table_bytes(body: u64, head: u64) -> Option<u64> {
    let chunks = body.div_ceil(CHUNK as u64) + head.div_ceil(CHUNK as u64);
    blocks(chunks.checked_mul(16)?.max(1))
}

impl Item {
    /// Names its content: that of another item is different.
    #[must_use]
    pub fn content(&self) -> u128 {
        self.sum
    }

    /// Bytes of the body.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.body
    }

    /// Where its body and its head begin, and what all of it takes.
    pub(crate) fn places(&self) -> Option<(u64, u64, Range<u64>)> {
        let body = self.offset.checked_add(self.table)?;
        let head = body.checked_add(blocks(self.body)?)?;
        let end = head.checked_add(blocks(self.head)?)?;
        Some((body, head, self.offset..end))
    }

    fn is_sound(&self, size: u64) -> bool {
        let fits = self
            .places()
            .is_some_and(|(.., all)| all.start >= BLOCK as u64 && all.end <= size);
        let sums = table_bytes(self.body, self.head).is_some_and(|needed| needed <= self.table);
        fits && sums
            && self.offset.is_multiple_of(BLOCK as u64)
            && self.table.is_multiple_of(BLOCK as u64)
    }
}

/// All items.
#[derive(Default)]
pub(crate) struct Directory {
    pub(crate) items: Vec<Item>,
}

impl Directory {
    pub(crate) fn find(&self, name: u128) -> Option<&Item> {
        self.items.iter().find(|item| item.name == name)
    }

    pub(crate) fn from_block(block: &[u8], size: u64) -> Result<Self, Error> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(Self::default());
        }
        if !block.starts_with(MAGIC) {
            return Err(Error::NotOurs);
        }
        let directory = Self::covered(block).ok_or(Error::Damaged)?;
        let ranges = || directory.items.iter().filter_map(|i| Some(i.places()?.2));
        let overlap = |(n, a): (usize, Range<u64>)| {
            ranges()
                .skip(n + 1)
                .any(|b| a.start < b.end && b.start < a.end)
        };
        let sound = directory.items.iter().all(|item| item.is_sound(size));
        if !sound || ranges().enumerate().any(overlap) {
            return Err(Error::Damaged);
        }
        Ok(directory)
    }

    fn covered(block: &[u8]) -> Option<Self> {
        let sum = u128::from_le_bytes(*block.get(MAGIC.len()..)?.first_chunk()?);
        if checksum(block.get(COVERED..)?) != sum {
            return None;
        }
        let length = u32::from_le_bytes(*block.get(COVERED..)?.first_chunk()?);
        let bytes = block.get(ITEMS..)?.get(..length as usize)?;
        let items = borsh::from_slice(bytes).ok()?;
        Some(Self { items })
    }

    /// The block that says this. The oldest item goes while there is no room for all.
    pub(crate) fn block(&mut self) -> Vec<u8> {
        let bytes = loop {
            let bytes = borsh::to_vec(&self.items).unwrap_or_default();
            if bytes.len() <= BLOCK - ITEMS {
                break bytes;
            }
            self.items.remove(0);
        };
        let mut block = vec![0; BLOCK];
        block[..MAGIC.len()].copy_from_slice(MAGIC);
        block[COVERED..ITEMS].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        block[ITEMS..ITEMS + bytes.len()].copy_from_slice(&bytes);
        let sum = checksum(&block[COVERED..]);
        block[MAGIC.len()..COVERED].copy_from_slice(&sum.to_le_bytes());
        block
    }

    /// Where there are so many free bytes on a disk of this size.
    pub(crate) fn room(&self, bytes: u64, size: u64) -> Option<u64> {
        let mut taken: Vec<Range<u64>> = self
            .items
            .iter()
            .filter_map(|item| Some(item.places()?.2))
            .collect();
        taken.sort_by_key(|range| range.start);
        let mut free = BLOCK as u64;
        for range in taken {
            if range.start.saturating_sub(free) >= bytes {
                return Some(free);
            }
            free = free.max(range.end);
        }
        (size.saturating_sub(free) >= bytes).then_some(free)
    }
}
