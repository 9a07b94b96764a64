//! The pages of a space that are folded, as lists: what is kept of each, and what it differs from. `table/fold.rs` folds and unfolds.
//!
//! What must hold: a page that is folded has a reference to the frame that it differs from, unless that has none.

use super::entry::{FOREIGN, frame_of};
use super::lines::Lines;
use crate::frame;
use alloc::vec::Vec;

/// How a page was used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Not at all.
    None,
    /// It was only read.
    Read,
    /// It was written to, by the program itself.
    Written,
}

/// A folded page.
pub(super) struct FoldedPage {
    pub(super) address: u64,
    /// A bit for each line that is kept; 0 when the page is not folded any more.
    pub(super) kept: u64,
    /// Which of all lines is its first one.
    pub(super) first: usize,
    /// Its entry without the frame.
    pub(super) rights: u64,
    /// It was in use until it was folded.
    pub(super) expected: bool,
    /// The frame that it differs from, [`FOREIGN`] if that has no references; 0 for zeroes.
    pub(super) before: u64,
}

/// The folded pages of a space, by address.
#[derive(Default)]
pub(super) struct Folded {
    pub(super) pages: Vec<FoldedPage>,
    pub(super) lines: Lines,
    /// Pages that were in use and are shared again, since they were what they had been.
    pub(super) shared_again: Vec<u64>,
    /// How many pages are folded still.
    pub(super) left: usize,
}

impl Folded {
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }

    pub(super) fn position(&self, page: u64) -> Option<usize> {
        let found = self.pages.binary_search_by_key(&page, |p| p.address);
        found.ok().filter(|at| self.pages[*at].kept != 0)
    }

    /// Whether a page is folded.
    pub fn has(&self, page: u64) -> bool {
        !self.is_empty() && self.position(page).is_some()
    }

    /// Bytes that they take.
    pub fn size(&self) -> u64 {
        let shared_again = self.shared_again.capacity() * size_of::<u64>();
        (self.pages.capacity() * size_of::<FoldedPage>() + self.lines.size() + shared_again) as u64
    }

    /// Adds a page, whose lines `keep` adds; false when there is no memory for it.
    pub(super) fn add(
        &mut self,
        page: FoldedPage,
        keep: impl FnOnce(&mut Lines) -> Option<()>,
    ) -> bool {
        let page = FoldedPage {
            first: self.lines.len(),
            ..page
        };
        if self.pages.try_reserve(1).is_err() || keep(&mut self.lines).is_none() {
            return false;
        }
        self.pages.push(page);
        self.left += 1;
        true
    }

    /// Those that are folded still, in lists of their own; `None` when there is no memory for these.
    pub(super) fn compacted(&mut self) -> Option<Self> {
        let mut new = Self::default();
        let left = self.pages.iter().filter(|page| page.kept != 0);
        let mut all = true;
        for page in left {
            let lines = self.lines.from(page.first).copied();
            let lines = lines.take(page.kept.count_ones() as usize);
            all &= new.add(FoldedPage { ..*page }, |kept| kept.extend(lines));
        }
        // One of the two has the references.
        let without = if all { &mut *self } else { &mut new };
        without.pages.iter_mut().for_each(|page| page.before = 0);
        all.then_some(new)
    }

    pub(super) fn sort(&mut self) {
        self.pages.sort_unstable_by_key(|page| page.address);
        self.pages.shrink_to_fit();
        self.shared_again.shrink_to_fit();
        self.lines.shrink();
    }
}

/// Gives up the reference to a frame that a page was folded against.
pub(super) fn release(before: u64) {
    if before != 0 && before & FOREIGN == 0 {
        // SAFETY: the reference is the folded page's, which is gone.
        unsafe { frame::release(frame_of(before)) };
    }
}

impl Drop for Folded {
    fn drop(&mut self) {
        self.pages.iter().for_each(|page| release(page.before));
    }
}
