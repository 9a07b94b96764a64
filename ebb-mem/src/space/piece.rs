//! A piece of a list of lines: a frame of them, or fewer in the heap.
//!
//! Lines are most of what a snapshot is, and with thousands of snapshots a fair part of a machine's memory. Frames are taken wherever they are
//! free; the heap grows by large pages, of which a machine that is nearly full has few.
//!
//! What must hold: a frame is its piece's alone, and its first `len` lines are initialised.

use super::line::Line;
use crate::frame::{self, Node};
use crate::{PhysAddr, phys_to_virt};
use alloc::vec::Vec;
use core::fmt;
use core::mem::MaybeUninit;
use core::ops::Deref;

/// Lines of a piece but the last: a frame.
pub(super) const PIECE: usize = 4096 / size_of::<Line>();

/// Lines that lie together, at most [`PIECE`].
pub enum Piece {
    /// In a frame.
    Frame(FrameOfLines),
    /// In the heap.
    Heap(Vec<Line>),
}

/// A frame with lines.
pub struct FrameOfLines {
    frame: PhysAddr,
    len: usize,
}

impl FrameOfLines {
    fn start(&self) -> *mut Line {
        phys_to_virt(self.frame).cast()
    }
}

impl Drop for FrameOfLines {
    fn drop(&mut self) {
        // SAFETY: the frame is this piece's alone, and nothing borrows from it.
        unsafe { frame::free(self.frame, 0) };
    }
}

impl Piece {
    /// One with room for a frame of lines. `None` when there is no memory for it.
    pub(super) fn whole() -> Option<Self> {
        let frame = frame::alloc(0, Node::LOCAL)?;
        Some(Self::Frame(FrameOfLines { frame, len: 0 }))
    }

    /// One with room for so many, at most [`PIECE`]. `None` when there is no memory for it.
    pub(super) fn with_room(lines: usize) -> Option<Self> {
        if lines == PIECE {
            return Self::whole();
        }
        let mut piece = Vec::new();
        piece.try_reserve_exact(lines).ok()?;
        Some(Self::Heap(piece))
    }

    /// Sees to it that it has room for a frame of lines in all. `None` when there is no memory for it.
    pub(super) fn grow(&mut self) -> Option<()> {
        if let Self::Heap(few) = self {
            let mut whole = Self::whole()?;
            whole.extend(few.iter().copied());
            *self = whole;
        }
        Some(())
    }

    /// Gives back what there is room for.
    pub(super) fn shrink(&mut self) {
        if self.len() < PIECE
            && let Some(mut exact) = Self::with_room(self.len())
        {
            exact.extend(self.iter().copied());
            *self = exact;
        }
    }

    /// What there is room for.
    pub(super) fn spare(&mut self) -> &mut [MaybeUninit<Line>] {
        match self {
            // SAFETY: the part of this piece's frame behind its lines; `MaybeUninit` may be whatever lies there.
            Self::Frame(frame) => unsafe {
                let rest = frame.start().add(frame.len).cast();
                core::slice::from_raw_parts_mut(rest, PIECE - frame.len)
            },
            Self::Heap(lines) => lines.spare_capacity_mut(),
        }
    }

    /// Counts lines that were written to the front of [`spare`](Self::spare).
    ///
    /// # Safety
    /// So many were.
    pub(super) unsafe fn count(&mut self, more: usize) {
        match self {
            Self::Frame(frame) => frame.len += more,
            // SAFETY: the caller's.
            Self::Heap(lines) => unsafe { lines.set_len(lines.len() + more) },
        }
    }

    /// Adds lines as far as there is room.
    pub(super) fn extend(&mut self, lines: impl Iterator<Item = Line>) {
        let mut written = 0;
        for (to, line) in self.spare().iter_mut().zip(lines) {
            to.write(line);
            written += 1;
        }
        // SAFETY: just written.
        unsafe { self.count(written) };
    }

    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Frame(_) => 4096,
            Self::Heap(lines) => lines.capacity() * size_of::<Line>(),
        }
    }
}

impl Deref for Piece {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        match self {
            // SAFETY: that many are initialised, and nobody else has the frame.
            Self::Frame(frame) => unsafe { core::slice::from_raw_parts(frame.start(), frame.len) },
            Self::Heap(lines) => lines,
        }
    }
}

impl Clone for Piece {
    fn clone(&self) -> Self {
        let Some(mut copy) = Self::with_room(self.len()) else {
            return Self::Heap(self.to_vec());
        };
        copy.extend(self.iter().copied());
        copy
    }
}

impl PartialEq for Piece {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Piece {}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
