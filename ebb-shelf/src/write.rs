//! Writing an item: room for it, the body as it comes, the head, the table; then the directory has it.

use alloc::vec::Vec;
use core::{
    mem,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use ebb_block::BLOCK;

use crate::directory::{Item, blocks, table_bytes};
use crate::{CHUNK, Error, Shelf, checksum};

/// How long a writer waits for another one before it looks again.
const PATIENCE: Duration = Duration::from_millis(5);

/// The only writer of a shelf, which alone decides where an item goes and writes the directory.
pub(crate) struct Turn<'a>(&'a AtomicBool);

impl Shelf {
    /// Waits until nobody else writes.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        while self.writing.swap(true, Ordering::Acquire) {
            ebb_runtime::time::sleep(PATIENCE).await;
        }
        Turn(&self.writing)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// An item that is being written. Dropped, it was never there.
pub struct Writing<'a> {
    shelf: &'a Shelf,
    _turn: Turn<'a>,
    item: Item,
    /// One past what it may take.
    end: u64,
    /// What does not make a chunk yet.
    rest: Vec<u8>,
    sums: Vec<u128>,
}

impl Shelf {
    /// Begins to write an item of at most `most` bytes. One of its name goes at once, and all others if there is no room else.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Device`].
    pub async fn write(
        &self,
        name: u128,
        marks: Vec<u128>,
        most: u64,
    ) -> Result<Writing<'_>, Error> {
        let table = table_bytes(most, CHUNK as u64).ok_or(Error::Full)?;
        // The two parts end with blocks of their own.
        let bytes = blocks(most).and_then(|b| b.checked_add(table + 2 * BLOCK as u64));
        let bytes = bytes.ok_or(Error::Full)?;
        let size = self.device.size();
        let turn = self.turn().await;
        let (offset, block) = {
            let mut directory = self.directory.lock();
            let before = directory.items.len();
            directory.items.retain(|item| item.name != name);
            let offset = directory.room(bytes, size).or_else(|| {
                directory.items.clear();
                directory.room(bytes, size)
            });
            let changed = directory.items.len() < before;
            (offset, changed.then(|| directory.block()))
        };
        // What is written from now on must not be in a directory.
        if let Some(block) = block {
            self.device.write(0, block).await?;
            self.device.flush().await?;
        }
        let offset = offset.ok_or(Error::Full)?;
        Ok(Writing {
            shelf: self,
            _turn: turn,
            item: Item {
                name,
                marks,
                offset,
                table,
                body: 0,
                head: 0,
                sum: 0,
            },
            end: offset + bytes,
            rest: Vec::new(),
            sums: Vec::new(),
        })
    }
}

impl Writing<'_> {
    /// Adds to the body; takes the bytes out of `bytes`.
    ///
    /// # Errors
    /// [`Error::Full`] when it is more than was said, [`Error::Device`].
    pub async fn add(&mut self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        self.rest.append(bytes);
        while self.rest.len() >= CHUNK {
            let later = self.rest.split_off(CHUNK);
            let chunk = mem::replace(&mut self.rest, later);
            self.item.body += CHUNK as u64;
            self.put(chunk, self.item.body - CHUNK as u64).await?;
        }
        Ok(())
    }

    /// Writes a chunk of the body or the head, `at` bytes behind the table.
    async fn put(&mut self, mut chunk: Vec<u8>, at: u64) -> Result<(), Error> {
        self.sums.push(checksum(&chunk));
        chunk.resize(chunk.len().next_multiple_of(BLOCK), 0);
        let at = self.item.offset + self.item.table + at;
        if at + chunk.len() as u64 > self.end {
            return Err(Error::Full);
        }
        self.shelf.device.write(at, chunk).await?;
        Ok(())
    }

    /// Ends the body, writes the head, and puts the item on the shelf, where it is durable.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Device`].
    pub async fn finish(mut self, head: &[u8]) -> Result<Item, Error> {
        let rest = mem::take(&mut self.rest);
        if !rest.is_empty() {
            let at = self.item.body;
            self.item.body += rest.len() as u64;
            self.put(rest, at).await?;
        }
        let mut at = blocks(self.item.body).ok_or(Error::Full)?;
        self.item.head = head.len() as u64;
        for chunk in head.chunks(CHUNK) {
            self.put(chunk.to_vec(), at).await?;
            at += chunk.len() as u64;
        }
        let mut table: Vec<u8> = self.sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        self.item.sum = checksum(&table);
        if table.len() as u64 > self.item.table {
            return Err(Error::Full);
        }
        table.resize(self.item.table as usize, 0);
        let Self {
            shelf, item, _turn, ..
        } = self;
        shelf.device.write(item.offset, table).await?;
        shelf.device.flush().await?;
        let block = {
            let mut directory = shelf.directory.lock();
            directory.items.push(item.clone());
            directory.block()
        };
        shelf.device.write(0, block).await?;
        shelf.device.flush().await?;
        Ok(item)
    }
}
