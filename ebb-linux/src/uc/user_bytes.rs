//! Ranges of a guest's memory as source and sink of bytes.
//!
//! What must hold: memory is borrowed for each piece only, because /proc looks at it too.

use crate::object::io::{Sink, Source};
use crate::state::process::Memory;

/// Ranges of a guest's memory, one after another.
pub struct UserBytes<'a> {
    memory: &'a Memory,
    /// Where the next byte is, and how many lie there in a row.
    at: u64,
    here: usize,
    /// The ranges behind these.
    rest: &'a [(u64, usize)],
    /// How many bytes are still to be moved at most.
    left: usize,
}

impl<'a> UserBytes<'a> {
    /// One range.
    #[inline]
    pub const fn one(memory: &'a Memory, at: u64, len: usize) -> Self {
        Self {
            memory,
            at,
            here: len,
            rest: &[],
            left: len,
        }
    }

    /// The ranges, without their first `skip` bytes.
    pub fn new(memory: &'a Memory, parts: &'a [(u64, usize)], skip: usize) -> Self {
        let mut bytes = Self::one(memory, 0, 0);
        bytes.rest = parts;
        bytes.left = parts.iter().fold(0usize, |n, p| n.saturating_add(p.1));
        bytes.advance(skip);
        bytes
    }

    /// The first `most` bytes of them.
    #[inline]
    pub fn first(self, most: usize) -> Self {
        Self {
            left: self.left.min(most),
            ..self
        }
    }

    fn advance(&mut self, mut n: usize) {
        self.left -= n.min(self.left);
        loop {
            let step = n.min(self.here);
            self.at = self.at.saturating_add(step as u64);
            self.here -= step;
            n -= step;
            if self.here > 0 {
                break;
            }
            let Some((&(at, len), rest)) = self.rest.split_first() else {
                break;
            };
            (self.at, self.here, self.rest) = (at, len, rest);
        }
    }

    /// Calls `f` with address, length and how much was done before, for each piece of up to `len` bytes.
    #[inline]
    fn each(&mut self, len: usize, mut f: impl FnMut(u64, usize, usize) -> usize) -> usize {
        let len = len.min(self.left);
        if len < self.here || len == self.here && self.rest.is_empty() {
            // The usual case: no further range to look at. What was moved has addresses, so none wraps.
            let moved = f(self.at, len, 0);
            self.at += moved as u64;
            self.here -= moved;
            self.left -= moved;
            return moved;
        }
        self.each_part(len, f)
    }

    fn each_part(&mut self, len: usize, mut f: impl FnMut(u64, usize, usize) -> usize) -> usize {
        let mut done = 0;
        while done < len && self.here > 0 {
            let n = self.here.min(len - done);
            let moved = f(self.at, n, done);
            done += moved;
            self.advance(moved);
            if moved < n {
                break;
            }
        }
        done
    }
}

impl Sink for UserBytes<'_> {
    fn remaining(&self) -> usize {
        self.left
    }

    fn put(&mut self, from: &[u8]) -> usize {
        let memory = self.memory;
        self.each(from.len(), |at, n, done| {
            memory
                .space
                .borrow_mut()
                .write_part(at, &from[done..done + n])
        })
    }
}

impl Source for UserBytes<'_> {
    fn remaining(&self) -> usize {
        self.left
    }

    fn take(&mut self, to: &mut [u8]) -> usize {
        let memory = self.memory;
        self.each(to.len(), |at, n, done| {
            memory
                .space
                .borrow_mut()
                .read_part(at, &mut to[done..done + n])
        })
    }
}
