//! Lines that are kept of pages, and the content of frames that they are kept of.

use super::line::{Line, Page, copy_lines};
use super::piece::{PIECE, Piece};
use super::wide::Vectors;
use crate::{PhysAddr, phys_to_virt};
use alloc::vec::Vec;

/// The content of a frame.
///
/// # Safety
/// The frame is allocated or of the boot archive, and nobody writes to it or gives it up as long as the reference is used.
pub(super) unsafe fn content<'a>(frame: PhysAddr) -> &'a Page {
    // SAFETY: a frame of memory in the linear map, 4096 bytes and as aligned; the caller sees to the rest.
    unsafe { &*phys_to_virt(frame).cast() }
}

/// Lines in order. They lie in pieces: a program may have changed megabytes, which a machine that is nearly full has in no one
/// place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(Vec<Piece>);

impl Lines {
    /// The last piece that has room. `None` when there is no memory for one.
    pub(super) fn room(&mut self) -> Option<&mut Piece> {
        if self.0.last().is_none_or(|piece| piece.len() == PIECE) {
            push(&mut self.0, Piece::whole()?)?;
        }
        let piece = self.0.last_mut()?;
        // It has less when it was shrunk, or is a copy.
        piece.grow()?;
        Some(piece)
    }

    /// Adds lines. `None` when there is no memory for them; some may have been added then.
    pub(super) fn extend(&mut self, lines: impl Iterator<Item = Line>) -> Option<()> {
        let mut lines = lines.peekable();
        while lines.peek().is_some() {
            let piece = self.room()?;
            let room = PIECE - piece.len();
            piece.extend(lines.by_ref().take(room));
        }
        Some(())
    }

    /// Adds the lines of a page that these bits name. `None` when there is no memory for them; some may have been added then.
    pub(super) fn keep(&mut self, page: &Page, mut bits: u64, vectors: Vectors) -> Option<()> {
        while bits != 0 {
            let piece = self.room()?;
            let copied;
            (copied, bits) = copy_lines(page, bits, piece.spare(), vectors);
            // SAFETY: so many more are initialised.
            unsafe { piece.count(copied) };
        }
        Some(())
    }

    /// The lines that these bits name of frames, in order. `None` when there is no memory for them.
    ///
    /// # Safety
    /// Of each frame what [`content`] says.
    pub(super) unsafe fn of_frames(
        frames: impl Iterator<Item = (PhysAddr, u64)> + Clone,
        vectors: Vectors,
    ) -> Option<Self> {
        let count = |(_, bits): (PhysAddr, u64)| bits.count_ones() as usize;
        let mut left: usize = frames.clone().map(count).sum();
        let mut lines = Self(Vec::new());
        lines.0.try_reserve_exact(left.div_ceil(PIECE)).ok()?;
        while left > 0 {
            let some = left.min(PIECE);
            lines.0.push(Piece::with_room(some)?);
            left -= some;
        }
        let mut pieces = lines.0.iter_mut();
        let mut piece = pieces.next();
        for (frame, mut bits) in frames {
            while bits != 0 {
                let to = piece.as_deref_mut()?;
                // SAFETY: the caller's.
                let page = unsafe { content(frame) };
                let copied;
                (copied, bits) = copy_lines(page, bits, to.spare(), vectors);
                // SAFETY: so many more are initialised.
                unsafe { to.count(copied) };
                if bits != 0 {
                    piece = pieces.next();
                }
            }
        }
        Some(lines)
    }

    /// Gives back what the last piece has room for.
    pub(super) fn shrink(&mut self) {
        if let Some(last) = self.0.last_mut() {
            last.shrink();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Line> {
        self.0.iter().flat_map(|piece| piece.iter())
    }

    /// Those from the one of this number on: each piece but the last is full.
    pub(super) fn from(&self, first: usize) -> impl Iterator<Item = &Line> {
        let pieces = self.0.get(first / PIECE..).unwrap_or_default();
        pieces
            .iter()
            .flat_map(|piece| piece.iter())
            .skip(first % PIECE)
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        let (last, full) = match self.0.split_last() {
            Some((last, full)) => (last.len(), full.len()),
            None => (0, 0),
        };
        full * PIECE + last
    }

    pub(super) fn size(&self) -> usize {
        self.0.iter().map(Piece::size).sum::<usize>() + size_of_val(&*self.0)
    }
}

/// Adds to a list. `None` when there is no memory for it.
pub(super) fn push<T>(list: &mut Vec<T>, value: T) -> Option<()> {
    list.try_reserve(1).ok()?;
    list.push(value);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_in_order_and_found_by_their_number_also_after_lists_were_shrunk_or_copied() {
        let line = |n: usize| [n as u64; 8];
        let mut lines = Lines::default();
        let mut count = 0;
        for more in [0, 1, PIECE - 2, 1, 1, 3 * PIECE, 5] {
            assert!(lines.extend((count..count + more).map(line)).is_some());
            count += more;
            lines.shrink();
            let held = lines.size();
            lines = lines.clone();
            assert!(lines.size() <= held);
        }
        assert_eq!(lines.len(), count);
        assert!(lines.iter().copied().eq((0..count).map(line)));
        for first in [0, 1, PIECE - 1, PIECE, count - 1, count, count + PIECE] {
            assert!(lines.from(first).copied().eq((first..count).map(line)));
        }
        let full = lines.0.split_last().map_or(&[][..], |(_, full)| full);
        assert!(full.iter().all(|piece| piece.len() == PIECE));
    }
}
