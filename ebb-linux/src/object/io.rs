//! Where bytes of a transfer come from and go to.
//!
//! A system call moves bytes between a kernel object and the guest's memory, which may be
//! scattered (an iovec) and may end early (a bad pointer). Objects see only these two traits, so
//! bytes are copied once and no object knows about address spaces. A short [`Source::take`] or
//! [`Sink::put`] means that the memory ended: the operation stops there, and is `EFAULT` if it
//! had moved nothing.

use alloc::vec::Vec;

use super::errno::{Errno, Result};

/// Bytes on their way into an object.
pub trait Source {
    /// How many bytes the caller offers from here on.
    fn remaining(&self) -> usize;
    /// Fills `to` with the next bytes and moves past them; fewer than `to.len()` only where
    /// fewer remain or the memory ends.
    fn take(&mut self, to: &mut [u8]) -> usize;
}

/// Bytes on their way out of an object.
pub trait Sink {
    /// How many bytes the caller has room for from here on.
    fn remaining(&self) -> usize;
    /// Stores `from` and moves past it; fewer than `from.len()` only where there is less room or
    /// the memory ends.
    fn put(&mut self, from: &[u8]) -> usize;
}

/// A sink for this many bytes that nobody wants.
pub struct Discard(pub usize);

impl Sink for Discard {
    fn remaining(&self) -> usize {
        self.0
    }
    fn put(&mut self, from: &[u8]) -> usize {
        let n = from.len().min(self.0);
        self.0 -= n;
        n
    }
}

impl Source for &[u8] {
    fn remaining(&self) -> usize {
        self.len()
    }
    fn take(&mut self, to: &mut [u8]) -> usize {
        let n = to.len().min(self.len());
        let (now, later) = self.split_at(n);
        to[..n].copy_from_slice(now);
        *self = later;
        n
    }
}

impl Sink for &mut [u8] {
    fn remaining(&self) -> usize {
        self.len()
    }
    fn put(&mut self, from: &[u8]) -> usize {
        let n = from.len().min(self.len());
        let (now, later) = core::mem::take(self).split_at_mut(n);
        now.copy_from_slice(&from[..n]);
        *self = later;
        n
    }
}

/// The source of a `writev`.
pub struct Gather<'a> {
    /// What is left, front first.
    pub slices: &'a [&'a [u8]],
    /// How much of the front slice is used up.
    pub used: usize,
}

impl<'a> Gather<'a> {
    /// The slices, one after another.
    pub const fn new(slices: &'a [&'a [u8]]) -> Self {
        Self { slices, used: 0 }
    }
}

impl Source for Gather<'_> {
    fn remaining(&self) -> usize {
        self.slices.iter().map(|s| s.len()).sum::<usize>() - self.used
    }
    fn take(&mut self, to: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(front) = self.slices.first() {
            let mut rest = &front[self.used..];
            let n = rest.take(&mut to[done..]);
            done += n;
            self.used += n;
            if self.used < front.len() {
                break;
            }
            self.slices = &self.slices[1..];
            self.used = 0;
        }
        done
    }
}

/// The sink of a `readv`.
pub struct Scatter<'a, 'b> {
    slices: &'a mut [&'b mut [u8]],
    front: usize,
}

impl<'a, 'b> Scatter<'a, 'b> {
    /// The slices, one after another.
    pub const fn new(slices: &'a mut [&'b mut [u8]]) -> Self {
        Self { slices, front: 0 }
    }
}

impl Sink for Scatter<'_, '_> {
    fn remaining(&self) -> usize {
        self.slices[self.front..].iter().map(|s| s.len()).sum()
    }
    fn put(&mut self, from: &[u8]) -> usize {
        let mut done = 0;
        while let Some(slice) = self.slices.get_mut(self.front) {
            done += slice.put(&from[done..]);
            if !slice.is_empty() {
                break;
            }
            self.front += 1;
        }
        done
    }
}

/// The memory of bytes that have been read, kept for the next that come: an object that fills and empties again needs no
/// allocator, and what was initialised once is not initialised again. Nothing of it is part of a copy of the object.
#[derive(Debug, Default)]
pub(crate) struct Spare(Vec<u8>);

impl Clone for Spare {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Spare {
    /// The most bytes that are worth keeping.
    const MOST: usize = 4096;

    /// `len` bytes with anything in them, for `capacity` at least.
    pub(crate) fn take(&mut self, len: usize, capacity: usize) -> Vec<u8> {
        let mut bytes = core::mem::take(&mut self.0);
        if bytes.capacity() < capacity {
            bytes.clear();
            bytes.reserve_exact(capacity);
        }
        bytes.resize(len, 0);
        bytes
    }

    /// Keeps the memory of these bytes.
    pub(crate) fn keep(&mut self, bytes: Vec<u8>) {
        if bytes.capacity() <= Self::MOST {
            self.0 = bytes;
        }
    }
}

/// Takes exactly `N` bytes, for the small records of eventfd and the like.
pub(crate) fn take_array<const N: usize>(source: &mut dyn Source) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    if source.take(&mut bytes) == N {
        Ok(bytes)
    } else {
        Err(Errno::EFAULT)
    }
}

/// Stores all of a small record.
pub(crate) fn put_all(sink: &mut dyn Sink, bytes: &[u8]) -> Result<usize> {
    if sink.put(bytes) == bytes.len() {
        Ok(bytes.len())
    } else {
        Err(Errno::EFAULT)
    }
}

/// Stores as much of `bytes` as there is room for.
pub(crate) fn put_some(sink: &mut dyn Sink, bytes: &[u8]) -> Result<usize> {
    let want = bytes.len().min(sink.remaining());
    let done = sink.put(&bytes[..want]);
    if done == 0 && want > 0 {
        Err(Errno::EFAULT)
    } else {
        Ok(done)
    }
}

/// Moves `total` bytes piece by piece: `piece` is told how many have been moved, and says how many the next one has and how many of
/// these it has moved. The first that was not moved whole is the last; without any byte that is `EFAULT`.
#[inline]
pub(crate) fn in_pieces(
    total: usize,
    mut piece: impl FnMut(usize) -> (usize, usize),
) -> Result<usize> {
    let mut done = 0;
    while done < total {
        let (wanted, moved) = piece(done);
        done += moved;
        if moved < wanted {
            return if done == 0 {
                Err(Errno::EFAULT)
            } else {
                Ok(done)
            };
        }
    }
    Ok(done)
}

/// Stores zeros, `most` at most.
pub(crate) fn fill_zero(sink: &mut dyn Sink, most: usize) -> Result<usize> {
    static ZERO: [u8; 4096] = [0; 4096];
    let total = sink.remaining().min(most);
    in_pieces(total, |done| {
        let want = (total - done).min(ZERO.len());
        (want, sink.put(&ZERO[..want]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gather_and_scatter_run_over_all_slices_in_order() {
        let slices: [&[u8]; 4] = [b"ab", b"", b"cde", b"f"];
        let mut source = Gather::new(&slices);
        assert_eq!(source.remaining(), 6);
        let mut to = [0; 4];
        assert_eq!(source.take(&mut to), 4);
        assert_eq!((&to, source.remaining()), (b"abcd", 2));
        let (mut a, mut b) = ([0; 3], [0; 5]);
        let mut slices = [&mut a[..], &mut b[..]];
        let mut sink = Scatter::new(&mut slices);
        assert_eq!(sink.put(b"0123"), 4);
        assert_eq!(sink.put(b"456789"), 4);
        assert_eq!(sink.remaining(), 0);
        assert_eq!((&a, &b), (b"012", b"34567"));
    }
}
