//! Reading an item: the table, the head, then the body chunk by chunk, several requests ahead.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use ebb_block::{BLOCK, BlockDevice, Pending};

use crate::directory::blocks;
use crate::{CHUNK, Error, Item, Shelf, checksum};

/// Requests that are under way at once.
const AHEAD: usize = 8;

/// An item whose body is being read.
pub struct Reading {
    device: Arc<dyn BlockDevice>,
    /// The head.
    pub head: Vec<u8>,
    /// Checksums of the body's chunks.
    sums: Vec<u128>,
    /// Where the body begins, and how many bytes it has.
    body: (u64, u64),
    /// Requests under way, those of the chunks from `next - len` on.
    under_way: VecDeque<Pending<Vec<u8>>>,
    next: u64,
    given: usize,
}

impl Shelf {
    /// Begins to read an item.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Device`].
    pub async fn read(&self, item: &Item) -> Result<Reading, Error> {
        let (body, head, all) = item.places().ok_or(Error::Damaged)?;
        // All that can be asked for is under way before the first answer is looked at.
        let table = self.device.read(item.offset, item.table as usize);
        let head_bytes = all.end - head;
        let first = (head_bytes > 0).then(|| self.device.read(head, head_bytes as usize));
        let mut reading = Reading {
            device: Arc::clone(&self.device),
            head: Vec::new(),
            sums: Vec::new(),
            body: (body, item.body),
            under_way: VecDeque::new(),
            next: 0,
            given: 0,
        };
        reading.fill();
        let table = damaged(table.await)?;
        let chunks = item.body.div_ceil(CHUNK as u64) + item.head.div_ceil(CHUNK as u64);
        let table = table.get(..chunks as usize * 16).ok_or(Error::Damaged)?;
        if checksum(table) != item.sum {
            return Err(Error::Damaged);
        }
        let (sums, _) = table.as_chunks::<16>();
        let mut sums: Vec<u128> = sums.iter().map(|sum| u128::from_le_bytes(*sum)).collect();
        let of_head = sums.split_off(item.body.div_ceil(CHUNK as u64) as usize);
        if let Some(first) = first {
            reading.head = damaged(first.await)?;
            reading.head.truncate(item.head as usize);
        }
        let chunks = reading.head.chunks(CHUNK).map(checksum);
        if !chunks.eq(of_head) {
            return Err(Error::Damaged);
        }
        reading.sums = sums;
        Ok(reading)
    }
}

/// A block that cannot be read is damage like another one.
fn damaged(read: Result<Vec<u8>, ebb_block::Error>) -> Result<Vec<u8>, Error> {
    read.map_err(|error| match error {
        ebb_block::Error::Io => Error::Damaged,
        error => error.into(),
    })
}

impl Reading {
    fn fill(&mut self) {
        let (offset, size) = self.body;
        while self.under_way.len() < AHEAD && self.next < size {
            let bytes = (size - self.next).min(CHUNK as u64);
            let whole = blocks(bytes).unwrap_or(bytes) as usize;
            let at = offset + self.next;
            self.under_way.push_back(self.device.read(at, whole));
            self.next += bytes;
        }
    }

    /// The next chunk of the body, of [`CHUNK`] bytes but for the last one; `None` after that.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Device`]; nothing more comes then.
    pub async fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Some(first) = self.under_way.pop_front() else {
            return Ok(None);
        };
        let mut chunk = damaged(first.await)?;
        self.fill();
        let left = self.body.1 - self.given as u64 * CHUNK as u64;
        chunk.truncate(left.min(CHUNK as u64) as usize);
        if self.sums.get(self.given) != Some(&checksum(&chunk)) {
            self.under_way.clear();
            self.next = self.body.1;
            return Err(Error::Damaged);
        }
        self.given += 1;
        Ok(Some(chunk))
    }
}

// Requests are for whole blocks.
const _: () = assert!(CHUNK.is_multiple_of(BLOCK));
