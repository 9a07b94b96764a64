//! Lines that are kept of pages, and the content of frames that they are kept of.

use super::line::{Line, Page};
use crate::{PhysAddr, phys_to_virt};
use alloc::vec::Vec;

/// The content of a frame that nobody writes to meanwhile.
pub(super) fn content(frame: PhysAddr) -> &'static Page {
    // SAFETY: a frame of memory in the linear map, 4096 bytes and as aligned. The callers look at frames of a frozen
    // space or the boot archive, which never change, or of a space that they have borrowed and that does not run, and
    // drop the reference before that ends.
    unsafe { &*phys_to_virt(frame).cast() }
}

/// Lines in order. They lie in pieces: a program may have changed megabytes, which a machine that is nearly full has in no one
/// place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(pub(super) Vec<Vec<Line>>);

/// Lines of a piece but the last: 16 KiB.
pub(super) const PIECE: usize = 256;

impl Lines {
    /// The last piece that has room, and for how many lines. `None` when there is no memory for one.
    pub(super) fn room(&mut self) -> Option<(&mut Vec<Line>, usize)> {
        if self.0.last().is_none_or(|piece| piece.len() == PIECE) {
            let mut piece = Vec::new();
            piece.try_reserve_exact(PIECE).ok()?;
            push(&mut self.0, piece)?;
        }
        let piece = self.0.last_mut()?;
        let room = PIECE - piece.len();
        Some((piece, room))
    }

    /// Adds lines. `None` when there is no memory for them; some may have been added then.
    pub(super) fn extend(&mut self, lines: impl Iterator<Item = Line>) -> Option<()> {
        let mut lines = lines.peekable();
        while lines.peek().is_some() {
            let (piece, room) = self.room()?;
            piece.extend(lines.by_ref().take(room));
        }
        Some(())
    }

    /// Gives back what the last piece has room for.
    pub(super) fn shrink(&mut self) {
        let mut exact = Vec::new();
        if let Some(last) = self.0.last_mut()
            && exact.try_reserve_exact(last.len()).is_ok()
        {
            exact.extend_from_slice(last);
            *last = exact;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Line> {
        self.0.iter().flatten()
    }

    /// Those from the one of this number on: each piece but the last is full.
    pub(super) fn from(&self, first: usize) -> impl Iterator<Item = &Line> {
        let pieces = self.0.get(first / PIECE..).unwrap_or_default();
        pieces.iter().flatten().skip(first % PIECE)
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    pub(super) fn size(&self) -> usize {
        let held = |piece: &Vec<Line>| piece.capacity() * size_of::<Line>();
        self.0.iter().map(held).sum::<usize>() + size_of_val(&*self.0)
    }
}

/// Adds to a list. `None` when there is no memory for it.
pub(super) fn push<T>(list: &mut Vec<T>, value: T) -> Option<()> {
    list.try_reserve(1).ok()?;
    list.push(value);
    Some(())
}
