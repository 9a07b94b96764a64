//! Answers on their way out, in order: small ones are copied together into one buffer, large values are shared.
//!
//! Where the two meet is [`SHARE`], unless said otherwise. Below it, a copy is cheaper than what a buffer of its own costs: two updates of a
//! count that all cores share, and a piece more in every layer underneath.

use alloc::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Values of at least so many bytes are sent from where they lie.
pub const SHARE: usize = 2048;

/// Values of more bytes are shared whatever is said: a copy takes memory until its client has read it.
pub const COPIED_MOST: usize = 64 << 10;

/// Room that is made for small answers at once.
const CHUNK: usize = 4096;

/// A queue of answers.
#[derive(Debug)]
pub struct Output {
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    len: usize,
    share_from: usize,
}

impl Default for Output {
    fn default() -> Self {
        Self::sharing_from(SHARE)
    }
}

impl Output {
    /// A queue that sends values of at least so many bytes, or of [`COPIED_MOST`], from where they lie.
    #[must_use]
    pub fn sharing_from(bytes: usize) -> Self {
        Self {
            pieces: VecDeque::new(),
            tail: BytesMut::new(),
            len: 0,
            share_from: bytes.min(COPIED_MOST),
        }
    }

    /// Bytes that wait.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies bytes in.
    #[inline]
    pub fn copy(&mut self, bytes: &[u8]) {
        if self.tail.capacity() - self.tail.len() < bytes.len() {
            self.tail.reserve(bytes.len().max(CHUNK));
        }
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Adds a part of a buffer: `buffer[from..]` less the last `cut` bytes. Copied if small, shared if large.
    #[inline]
    pub fn share(&mut self, buffer: &Bytes, from: usize, cut: usize) {
        let to = buffer.len() - cut;
        if to - from < self.share_from {
            self.copy(&buffer[from..to]);
        } else {
            self.push(buffer.slice(from..to));
        }
    }

    fn push(&mut self, buffer: Bytes) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
        self.len += buffer.len();
        self.pieces.push_back(buffer);
    }

    /// A decimal number.
    pub fn number(&mut self, number: u64) {
        self.copy(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Takes what waits, in order.
    pub fn take(&mut self) -> VecDeque<Bytes> {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
        self.len = 0;
        core::mem::take(&mut self.pieces)
    }
}

impl core::fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.copy(text.as_bytes());
        Ok(())
    }
}
