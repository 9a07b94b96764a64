//! What a space has changed since it began as a copy of a frozen one, line by line.
//!
//! A program that goes on from a snapshot changes a few words in each of many pages: marks in a heap, counters, caches. To
//! keep such a state it is enough to keep the lines that differ, a tenth of the pages that they lie in (as Difference Engine
//! does for pages that resemble others; Gupta et al., OSDI 2008). Making a space of them again costs what fetching its working
//! set does, for those pages are most of it.
//!
//! What must hold: a delta is used with the frozen space that it was made against, whose pages never change.

use super::area::{Areas, file_page};
use super::entry::{
    ADDRESS, DIRTY, FETCHED, FOREIGN, NO_EXECUTE, OBJECT, PRESENT, frame_of, shift, unlike,
};
use super::line::{LINES, Line, Page, ones, unlike_lines};
use super::lines::{Lines, content, push};
use super::table::Tables;
use super::{Area, Fault, Flags, Frozen, PAGE, Space};
use crate::{PhysAddr, phys_to_virt};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// A page that has changed.
#[derive(Clone, Copy)]
pub(super) struct Changed {
    pub(super) address: u64,
    /// A bit for each line that is kept.
    pub(super) kept: u64,
}

/// The changes of a space.
pub struct Delta {
    pub(super) areas: Areas,
    pub(super) top: u64,
    pub(super) close: bool,
    pub(super) future: Flags,
    pub(super) forks_differ: bool,
    pub(super) growth_limit: u64,
    pub(super) pages: Box<[Changed]>,
    /// The lines that are kept of all pages, in order.
    pub(super) lines: Lines,
    /// Pages that are not in memory any more.
    pub(super) gone: Box<[u64]>,
    /// Pages that are what they were but may be used otherwise.
    pub(super) rights: Box<[u64]>,
}

// Plain data.
const fn shared<T: Send + Sync>() {}
const _: () = shared::<Delta>();

impl Delta {
    /// Bytes that it takes.
    #[must_use]
    pub fn size(&self) -> u64 {
        let bytes = size_of_val(&*self.pages)
            + self.lines.size()
            + size_of_val(&*self.gone)
            + size_of_val(&*self.rights)
            + self.areas.size();
        bytes as u64
    }

    /// How many pages have changed.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages.len()
    }
}

impl Space {
    /// What has changed since the space, or what it was copied from, began as a copy of `from`. The space goes on
    /// undisturbed: nothing of it becomes shared. `None` when there is no memory for it.
    #[must_use]
    pub fn delta(&mut self, from: &Frozen) -> Option<Delta> {
        self.tables.unfold_all().ok()?;
        self.changes(from)
    }

    fn changes(&self, from: &Frozen) -> Option<Delta> {
        let (mut pages, mut kept_lines) = (Vec::new(), Lines::default());
        let (mut gone, mut rights) = (Vec::new(), Vec::new());
        self.tables.compare(&from.0.tables, &mut |page, new, old| {
            if new == 0 {
                push(&mut gone, page)
            } else if old == 0 || frame_of(new) != frame_of(old) {
                if new & (FOREIGN | OBJECT) == 0 {
                    let kept = self.changed_lines(page, new, old, &mut kept_lines)?;
                    // Without any it is as its fault would make it, or shared again.
                    if kept != 0 {
                        let address = page;
                        push(&mut pages, Changed { address, kept })
                    } else if (new ^ old) & (PRESENT | NO_EXECUTE) != 0 && old != 0 {
                        push(&mut rights, page)
                    } else {
                        Some(())
                    }
                } else if old != 0 {
                    // A file's page, where another was: left to its fault.
                    push(&mut gone, page)
                } else {
                    Some(())
                }
            } else if (new ^ old) & (PRESENT | NO_EXECUTE) != 0 {
                push(&mut rights, page)
            } else {
                Some(())
            }
        })?;
        kept_lines.shrink();
        Some(Delta {
            areas: self.areas.clone(),
            top: self.top,
            close: self.close,
            future: self.future,
            forks_differ: self.forks_differ,
            growth_limit: self.growth_limit,
            pages: pages.into(),
            lines: kept_lines,
            gone: gone.into(),
            rights: rights.into(),
        })
    }

    /// Adds to `kept` the lines of a page in which it differs from what a copy would get without it; says which. `None` when there
    /// is no memory for them.
    fn changed_lines(&self, page: u64, new: u64, old: u64, kept: &mut Lines) -> Option<u64> {
        if new & (FETCHED | DIRTY) == FETCHED {
            return Some(0);
        }
        let before = if old == 0 {
            self.area(page).and_then(|area| file_page(area, page))
        } else {
            Some(frame_of(old))
        };
        // SAFETY: a frame of the frozen space that this one is compared with, or of the boot archive: such never change, and
        // both spaces are borrowed.
        let before = before.map_or(&Page([[0; 8]; LINES]), |frame| unsafe { content(frame) });
        // SAFETY: a frame of this space, which is borrowed and does not run.
        let now = unsafe { content(frame_of(new)) };
        let bits = unlike_lines(now, before);
        kept.extend(ones(bits).map(|line| now.0[line]))?;
        Some(bits)
    }
}

impl Frozen {
    /// A space that goes on from where the one of a delta was. `None` when there is no memory for it.
    #[must_use]
    pub fn thaw_with(&self, delta: &Delta) -> Option<Space> {
        let mut space = self.thaw()?;
        let Space { tables, areas, .. } = &mut space;
        areas.clone_from(&delta.areas);
        let ranges = |pages: &[u64], f: &mut dyn FnMut(core::ops::Range<u64>) -> Option<()>| {
            for run in pages.chunk_by(|a, b| a + PAGE == *b) {
                let (first, last) = (run.first()?, run.last()?);
                f(*first..last + PAGE)?;
            }
            Some(())
        };
        ranges(&delta.gone, &mut |range| {
            tables.prepare(range.clone(), false).ok()?;
            tables.clear(range, 0..0);
            Some(())
        })?;
        ranges(&delta.rights, &mut |range| {
            tables.prepare(range.clone(), false).ok()?;
            for page in range.step_by(PAGE as usize) {
                if let Some(area) = areas.find(page) {
                    tables.protect(page..page + PAGE, area.protection);
                }
            }
            Some(())
        })?;
        let mut lines = delta.lines.iter();
        for page in &delta.pages {
            let own = lines.by_ref().take(page.kept.count_ones() as usize);
            match areas.find(page.address) {
                Some(area) => tables.patch(page.address, area, page.kept, own).ok()?,
                None => own.for_each(drop),
            }
        }
        space.top = delta.top;
        space.close = delta.close;
        space.future = delta.future;
        space.forks_differ = delta.forks_differ;
        space.growth_limit = delta.growth_limit;
        Some(space)
    }
}

impl Tables {
    /// Gives a page a frame of its own and puts lines into it: those of the bits of `kept`, in order.
    fn patch<'a>(
        &mut self,
        page: u64,
        area: &Area,
        kept: u64,
        lines: impl Iterator<Item = &'a Line>,
    ) -> Result<(), Fault> {
        self.provide(page, area, true)?;
        let frame = phys_to_virt(frame_of(self.entry(page))).cast::<Line>();
        let mut left = kept;
        for line in lines {
            let index = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            if index < LINES {
                // SAFETY: `provide` made the frame, of as many lines, this space's only, and the space does not run.
                unsafe { frame.add(index).write(*line) };
            }
        }
        Ok(())
    }

    /// Calls `f` for every page of which the entry is not the same in both, with this one's and the other's, as long as it goes on.
    fn compare(&self, other: &Self, f: &mut impl FnMut(u64, u64, u64) -> Option<()>) -> Option<()> {
        compare(Some(self.root()), Some(other.root()), 3, 0, f)
    }
}

fn compare(
    table: Option<PhysAddr>,
    other: Option<PhysAddr>,
    level: u32,
    base: u64,
    f: &mut impl FnMut(u64, u64, u64) -> Option<()>,
) -> Option<()> {
    unlike(table, other, level, |index, new, old| {
        let start = base + (index << shift(level));
        if level == 0 {
            f(start, new, old)
        } else if new & ADDRESS != old & ADDRESS {
            let below = |entry: u64| (entry != 0).then(|| frame_of(entry));
            compare(below(new), below(old), level - 1, start, f)
        } else {
            Some(())
        }
    })
}
