//! One key and its value.
//!
//! The bytes lie as a text GET answers them, `VALUE key flags length\r\nvalue\r\n`, in one shared buffer: such an answer
//! is the buffer itself, and a binary one a header and a slice of it. A buffer never changes; a write makes another.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;

use crate::time::Time;

/// Memory that an item takes beside its buffer: its own fields, the table's entry and link, its place in the order of
/// eviction, and what the heap adds to four blocks.
pub const OVERHEAD: usize = 192;

/// An item of at most so many bytes gets its memory at once, a longer one as its value arrives.
pub const SMALL: usize = 4096;

/// Bytes that are set aside for a long item when its value begins to arrive.
const FIRST: usize = 64 << 10;

const PREFIX: &[u8] = b"VALUE ";

/// An item whose value is still arriving. A long one has no memory but for its key until its owner lets it
/// [grow](Draft::grow), to at most twice what has come.
#[derive(Debug)]
pub struct Draft {
    buffer: Vec<u8>,
    key_len: usize,
    value: usize,
    total: usize,
    flags: u32,
    expires: u32,
}

impl Draft {
    /// An item for a value of `len` bytes; `None` when memory is exhausted. The caller has checked key and length against
    /// the limits.
    #[must_use]
    pub fn new(key: &[u8], flags: u32, expires: u32, len: usize) -> Option<Self> {
        Self::with_room(key, flags, expires, len, SMALL)
    }

    /// As [`new`](Self::new), with room for the whole value at once.
    #[must_use]
    pub fn whole(key: &[u8], flags: u32, expires: u32, len: usize) -> Option<Self> {
        Self::with_room(key, flags, expires, len, usize::MAX)
    }

    #[inline]
    fn with_room(key: &[u8], flags: u32, expires: u32, len: usize, most: usize) -> Option<Self> {
        let mut digits = [itoa::Buffer::new(), itoa::Buffer::new()];
        let [flags_text, len_text] = &mut digits;
        let flags_text = flags_text.format(flags).as_bytes();
        let len_text = len_text.format(len).as_bytes();
        let value = PREFIX.len() + key.len() + flags_text.len() + len_text.len() + 4;
        let total = value + len + 2;
        let mut buffer = Vec::new();
        let room = if total <= most { total } else { value };
        buffer.try_reserve_exact(room).ok()?;
        for part in [PREFIX, key, b" ", flags_text, b" ", len_text, b"\r\n"] {
            buffer.extend_from_slice(part);
        }
        Some(Self {
            buffer,
            key_len: key.len(),
            value,
            total,
            flags,
            expires,
        })
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.buffer[PREFIX.len()..][..self.key_len]
    }

    /// Takes what belongs to the value from the front of `input`, as far as there is room; returns how much.
    pub fn fill(&mut self, input: &[u8]) -> usize {
        self.take(input, self.total - 2)
    }

    /// As [`fill`](Self::fill), for a value that comes with its line end.
    pub fn fill_line(&mut self, input: &[u8]) -> usize {
        self.take(input, self.total)
    }

    fn take(&mut self, input: &[u8], until: usize) -> usize {
        let until = until.min(self.buffer.capacity());
        let count = input.len().min(until.saturating_sub(self.buffer.len()));
        self.buffer.extend_from_slice(&input[..count]);
        count
    }

    /// Bytes of memory that it needs next, in one piece, to take more of its value.
    #[must_use]
    pub fn next_room(&self) -> usize {
        // Doubled, but never beyond the whole, so that a finished buffer has no slack, and with the line end if the value fits.
        match (2 * self.buffer.len()).max(FIRST) {
            room if room < self.total - 2 => room,
            _ => self.total,
        }
    }

    /// Makes that room; false when memory is exhausted, and then it is as it was.
    #[must_use]
    pub fn grow(&mut self) -> bool {
        let more = self.next_room() - self.buffer.len();
        self.buffer.try_reserve_exact(more).is_ok()
    }

    /// Bytes of the value that have not arrived.
    #[must_use]
    pub fn left(&self) -> usize {
        (self.total - 2).saturating_sub(self.buffer.len())
    }

    /// Whether the value is whole.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.buffer.len() >= self.total - 2
    }

    /// Whether the value and its line end are there.
    #[must_use]
    pub fn is_line_filled(&self) -> bool {
        self.buffer.len() == self.total
    }

    /// Whether the value ended in a line end. One that came without is given it.
    pub fn end_line(&mut self) -> bool {
        if !self.is_line_filled() {
            self.take(b"\r\n", self.total);
        }
        self.buffer.ends_with(b"\r\n")
    }

    /// The value as far as it has arrived, without the line end.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.buffer[self.value..self.buffer.len().min(self.total - 2)]
    }

    /// Bytes of memory set aside so far.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.buffer.capacity()
    }

    /// The finished item, with its unique number.
    #[must_use]
    pub fn finish(mut self, cas: u64) -> Item {
        self.end_line();
        Item {
            value: self.value as u32,
            key_len: self.key_len as u8,
            visited: AtomicBool::new(false),
            flags: self.flags,
            cas,
            expires: AtomicU32::new(self.expires),
            slot: AtomicU32::new(u32::MAX),
            buffer: Bytes::from(self.buffer),
        }
    }
}

/// A key and its value. Immutable but for its expiry time and what eviction notes.
#[derive(Debug)]
pub struct Item {
    buffer: Bytes,
    cas: u64,
    flags: u32,
    value: u32,
    /// Written under the shard's lock.
    pub(crate) expires: AtomicU32,
    /// Place in the order of eviction; written under the shard's lock.
    pub(crate) slot: AtomicU32,
    visited: AtomicBool,
    key_len: u8,
}

impl Item {
    /// The key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.buffer[PREFIX.len()..PREFIX.len() + usize::from(self.key_len)]
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.buffer[self.value as usize..self.buffer.len() - 2]
    }

    /// The value, shared.
    #[must_use]
    pub fn shared_value(&self) -> Bytes {
        self.buffer
            .slice(self.value as usize..self.buffer.len() - 2)
    }

    /// `VALUE key flags length\r\nvalue\r\n`.
    #[inline]
    #[must_use]
    pub fn answer(&self) -> &Bytes {
        &self.buffer
    }

    /// Where in [`answer`](Self::answer) the value begins.
    #[inline]
    #[must_use]
    pub fn value_offset(&self) -> usize {
        self.value as usize
    }

    /// What the client keeps with the value.
    #[inline]
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// The number of the write that made it: unique, and greater than that of all earlier ones.
    #[inline]
    #[must_use]
    pub fn cas(&self) -> u64 {
        self.cas
    }

    /// Whether it has expired.
    #[inline]
    #[must_use]
    pub fn has_expired(&self, time: Time) -> bool {
        time.is_past(self.expires.load(Ordering::Relaxed))
    }

    /// When it expires.
    #[must_use]
    pub fn expires(&self) -> u32 {
        self.expires.load(Ordering::Relaxed)
    }

    /// Notes a hit. Only the first one since eviction last looked writes, so that a popular item's line stays shared.
    #[inline]
    pub fn visit(&self) {
        if !self.visited.load(Ordering::Relaxed) {
            self.visited.store(true, Ordering::Relaxed);
        }
    }

    /// Whether there was a hit since the last call.
    pub fn take_visited(&self) -> bool {
        let visited = self.visited.load(Ordering::Relaxed);
        if visited {
            self.visited.store(false, Ordering::Relaxed);
        }
        visited
    }

    /// Bytes of memory that it stands for.
    #[must_use]
    pub fn size(&self) -> usize {
        self.buffer.len() + OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_lies_as_the_text_protocol_answers_it() {
        let mut draft = Draft::new(b"key", 7, 0, 5).expect("memory");
        assert_eq!(draft.fill_line(b"he"), 2);
        assert!(!draft.is_filled());
        assert_eq!(draft.fill_line(b"llo\r\nget"), 5);
        assert!(draft.is_line_filled() && draft.end_line());
        let item = draft.finish(1);
        assert_eq!(item.answer(), &b"VALUE key 7 5\r\nhello\r\n"[..]);
        assert_eq!((item.key(), item.value()), (&b"key"[..], &b"hello"[..]));
    }

    #[test]
    fn a_draft_takes_memory_as_the_value_arrives() {
        let mut draft = Draft::new(b"key", 0, 0, 1 << 20).expect("memory");
        assert!(draft.memory() < 100);
        assert_eq!((draft.fill(&[0]), draft.left()), (0, 1 << 20));
        for _ in 0..1024 {
            let mut piece = &[0; 1024][..];
            while !piece.is_empty() {
                piece = &piece[draft.fill(piece)..];
                assert!(piece.is_empty() || draft.grow());
            }
            assert!(draft.buffer.capacity() <= 2 * draft.buffer.len().max(FIRST));
        }
        assert!(draft.is_filled() && draft.end_line());
        assert_eq!(draft.buffer.capacity(), draft.buffer.len());
    }

    #[test]
    fn a_value_of_any_length_has_room_for_its_line_end() {
        for len in (FIRST - 40..FIRST + 4).chain(2 * FIRST - 40..2 * FIRST + 4) {
            let mut draft = Draft::new(b"key", 0, 0, len).expect("memory");
            while !draft.is_filled() {
                let left = draft.left();
                assert!(draft.fill(&b"v".repeat(left)) > 0 || draft.grow());
            }
            assert!(draft.end_line() && draft.is_line_filled());
            assert_eq!(draft.finish(1).value().len(), len);
        }
    }
}
