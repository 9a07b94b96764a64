//! Ranges of a guest's memory as source and sink of bytes.
//!
//! What must hold: memory is borrowed for each piece only, because /proc looks at it too.

use crate::object::io::{Sink, Source};
use crate::state::process::Memory;

/// Ranges of a guest's memory, one after another.
pub struct UserBytes<'a> {
    memory: &'a Memory,
    parts: &'a [(u64, usize)],
    /// Bytes used up of the first part.
    used: usize,
    /// The most bytes that are moved.
    most: usize,
}

impl<'a> UserBytes<'a> {
    /// The ranges, without their first `skip` bytes.
    pub fn new(memory: &'a Memory, parts: &'a [(u64, usize)], skip: usize) -> Self {
        let mut bytes = Self {
            memory,
            parts,
            used: 0,
            most: usize::MAX,
        };
        if skip > 0 {
            bytes.advance(skip);
        }
        bytes
    }

    /// The first `most` bytes of them.
    pub fn first(self, most: usize) -> Self {
        Self { most, ..self }
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(&(_, len)) = self.parts.first() {
            let step = n.min(len - self.used);
            self.used += step;
            n -= step;
            if self.used < len {
                break;
            }
            self.parts = &self.parts[1..];
            self.used = 0;
        }
    }

    fn left(&self) -> usize {
        if let [(_, len)] = self.parts {
            return (len - self.used).min(self.most);
        }
        let all = self.parts.iter().fold(0usize, |n, p| n.saturating_add(p.1));
        (all - self.used).min(self.most)
    }

    /// Calls `f` with address, length and how much was done before, for each piece of up to `len` bytes.
    #[inline]
    fn each(&mut self, len: usize, mut f: impl FnMut(u64, usize, usize) -> usize) -> usize {
        let len = len.min(self.most);
        if let [(address, size)] = *self.parts
            && len <= size - self.used
        {
            // The usual case: no further part to look at.
            let Some(at) = address.checked_add(self.used as u64) else {
                return 0;
            };
            let moved = f(at, len, 0);
            self.used += moved;
            self.most -= moved;
            return moved;
        }
        self.each_part(len, f)
    }

    fn each_part(&mut self, len: usize, mut f: impl FnMut(u64, usize, usize) -> usize) -> usize {
        let mut done = 0;
        while done < len {
            let Some(&(address, size)) = self.parts.first() else {
                break;
            };
            let n = (size - self.used).min(len - done);
            let moved = match address.checked_add(self.used as u64) {
                Some(at) => f(at, n, done),
                None => 0,
            };
            done += moved;
            self.most -= moved;
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
        self.left()
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
        self.left()
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
