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
    ADDRESS, DIRTY, FETCHED, FOREIGN, HELD, NO_EXECUTE, OBJECT, PRESENT, SHARED, WRITE, frame_of,
    set, shift, slot, unlike,
};
use super::line::{lines_in_use, unlike_lines};
use super::lines::{Lines, content, push};
use super::wide::Vectors;
use super::{Backing, Flags, Frozen, PAGE, Space, Spares};
use crate::PhysAddr;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// How many pages there is room for at first.
const FEW: usize = 320;

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
    /// In order.
    pub(super) pages: Arc<[Changed]>,
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

/// A page that is not the same in a space and in the one that it is compared with.
struct Compared {
    address: u64,
    /// Its entries, 0 where there is none.
    new: u64,
    old: u64,
    /// The slot of `new`, in a table of the space's own; null in one that it shares.
    at: *mut u64,
    /// A bit for each line that is kept.
    kept: u64,
}

impl Compared {
    /// Notes that it is known in which lines the page differs, until it is written to next.
    fn note(&self) {
        if self.is_of_nobody_else() {
            set(self.at, self.new & !DIRTY | FETCHED);
        }
    }

    /// Takes back what [`note`](Self::note) has noted.
    #[cold]
    fn restore(&self) {
        if self.is_of_nobody_else() {
            set(self.at, self.new);
        }
    }

    fn is_of_nobody_else(&self) -> bool {
        self.new & (WRITE | FOREIGN | OBJECT | SHARED) == WRITE && !self.at.is_null()
    }
}

/// Pages that have changed but not in their lines, see [`Delta`].
#[derive(Default)]
struct Others {
    gone: Vec<u64>,
    rights: Vec<u64>,
}

impl Others {
    /// Adds a page that is what it was, if it may be used otherwise.
    #[inline]
    fn add_rights(&mut self, page: &Compared) -> Option<()> {
        if (page.new ^ page.old) & (PRESENT | NO_EXECUTE) != 0 {
            push(&mut self.rights, page.address)?;
        }
        Some(())
    }
}

impl Space {
    /// What has changed since the space, or what it was copied from, began as a copy of `from`. The space goes on
    /// undisturbed: nothing of it becomes shared. `None` when there is no memory for it.
    #[must_use]
    pub fn delta(&mut self, from: &Frozen, vectors: Vectors) -> Option<Delta> {
        self.tables.unfold_all().ok()?;
        let top = [&self.tables, &from.0.tables].map(|tables| Some(tables.root()));
        let mut unlike = Vec::new();
        unlike.try_reserve(FEW).ok()?;
        compare(top, (3, 0, true), vectors, &mut |page| {
            push(&mut unlike, page)
        })?;
        let others = self.find_lines(&mut unlike, vectors);
        // The CPU says anew what is written to.
        self.tables.drop_all_cached();
        let kept = others.and_then(|others| Some((others, self.keep_lines(&unlike, vectors)?)));
        let Some((others, (pages, lines))) = kept else {
            // What is known stays what it was.
            unlike.iter().for_each(Compared::restore);
            return None;
        };
        self.tables.know(Arc::clone(&pages));
        Some(Delta {
            areas: self.areas.clone(),
            top: self.top,
            close: self.close,
            future: self.future,
            forks_differ: self.forks_differ,
            growth_limit: self.growth_limit,
            pages,
            lines,
            gone: others.gone.into(),
            rights: others.rights.into(),
        })
    }

    /// Finds the lines of these pages that are to be kept, and the pages that have changed otherwise.
    fn find_lines(&self, unlike: &mut [Compared], vectors: Vectors) -> Option<Others> {
        let mut others = Others::default();
        for page in unlike {
            let is_copy = (page.new ^ page.old) & ADDRESS != 0
                && page.new & (HELD | FOREIGN | OBJECT) == HELD
                && page.old != 0
                && page.new & (FETCHED | DIRTY) != FETCHED;
            if !is_copy {
                self.find_change(page, &mut others, vectors)?;
                continue;
            }
            page.note();
            let frames = (frame_of(page.new), frame_of(page.old));
            // SAFETY: a frame of this space, which does not run, and one of the frozen space that it is compared with: such never
            // change. Both spaces are borrowed.
            let (now, before) = unsafe { (content(frames.0), content(frames.1)) };
            page.kept = unlike_lines(now, before, vectors);
            if page.kept == 0 {
                // It is shared again.
                others.add_rights(page)?;
            }
        }
        Some(others)
    }

    /// The same of one page that is not simply a copy of what the other space has there.
    #[inline(never)]
    fn find_change(
        &self,
        page: &mut Compared,
        others: &mut Others,
        vectors: Vectors,
    ) -> Option<()> {
        let &mut Compared {
            address, new, old, ..
        } = page;
        if new == 0 {
            return push(&mut others.gone, address);
        }
        if (new ^ old) & ADDRESS == 0 && old != 0 {
            return others.add_rights(page);
        }
        if new & (FOREIGN | OBJECT) != 0 {
            // A file's page, where another was: left to its fault.
            return match old {
                0 => Some(()),
                _ => push(&mut others.gone, address),
            };
        }
        page.kept = self.changed_lines(page, vectors);
        match page.kept {
            // Without any it is as its fault would make it, or shared again.
            0 if old != 0 => others.add_rights(page),
            _ => Some(()),
        }
    }

    /// The list of the pages that have lines to be kept, and these. `None` when there is no memory for them.
    fn keep_lines(&self, unlike: &[Compared], vectors: Vectors) -> Option<(Arc<[Changed]>, Lines)> {
        let mut pages = Vec::new();
        pages.try_reserve_exact(unlike.len()).ok()?;
        let changed = unlike.iter().filter(|page| page.kept != 0);
        pages.extend(changed.map(|page| Changed {
            address: page.address,
            kept: page.kept,
        }));
        let kept = unlike.iter().map(|page| (frame_of(page.new), page.kept));
        // SAFETY: frames of this space, which is borrowed and does not run; where there is none nothing is kept.
        let lines = unsafe { Lines::of_frames(kept, vectors) }?;
        Some((pages.into(), lines))
    }

    /// The lines of a page in which it differs from what a copy would get without it.
    fn changed_lines(&self, page: &Compared, vectors: Vectors) -> u64 {
        let &Compared {
            address, new, old, ..
        } = page;
        if new & (FETCHED | DIRTY) == FETCHED {
            return self.tables.known_lines(address);
        }
        // SAFETY: a frame of this space, which is borrowed and does not run.
        let now = unsafe { content(frame_of(new)) };
        if old != 0 {
            page.note();
            // SAFETY: a frame of the frozen space that this one is compared with: such never change, and both are borrowed.
            return unlike_lines(now, unsafe { content(frame_of(old)) }, vectors);
        }
        let area = self.area(address);
        // An object may change.
        if !area.is_some_and(|area| matches!(area.backing, Backing::Private(_))) {
            page.note();
        }
        match area.and_then(|area| file_page(area, address)) {
            // SAFETY: a frame of the boot archive or of an object, which do not change while the space is borrowed.
            Some(file) => unlike_lines(now, unsafe { content(file) }, vectors),
            None => lines_in_use(now, vectors),
        }
    }
}

impl Frozen {
    /// A space that goes on from where the one of a delta was. `None` when there is no memory for it.
    #[must_use]
    /// Pages of which there is a copy among the `spares` are those.
    pub fn thaw_with(&self, delta: &Delta, spares: Option<&Spares>) -> Option<Space> {
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
        let spares = spares.map(Spares::taking);
        tables
            .patch(&delta.pages, areas, delta.lines.iter(), spares)
            .ok()?;
        tables.know(Arc::clone(&delta.pages));
        space.top = delta.top;
        space.close = delta.close;
        space.future = delta.future;
        space.forks_differ = delta.forks_differ;
        space.growth_limit = delta.growth_limit;
        space.note_faults();
        Some(space)
    }
}

/// Calls `f` for every page of which the entry is not the same below two tables, as long as it goes on. Of the first one: its
/// level, where what it maps begins, and whether it and all above it are the space's own.
fn compare(
    [table, other]: [Option<PhysAddr>; 2],
    (level, base, own): (u32, u64, bool),
    vectors: Vectors,
    f: &mut impl FnMut(Compared) -> Option<()>,
) -> Option<()> {
    let first = match table {
        Some(table) if own => slot(table, 0),
        _ => core::ptr::null_mut(),
    };
    unlike(table, other, level, vectors, |index, new, old| {
        let address = base + (index << shift(level));
        if level == 0 {
            let at = match first.is_null() {
                true => first,
                // Within the table, whose first slot it is.
                false => first.wrapping_add(index as usize),
            };
            return f(Compared {
                address,
                new,
                old,
                at,
                kept: 0,
            });
        }
        if new & ADDRESS == old & ADDRESS {
            return Some(());
        }
        let below = [new, old].map(|entry| (entry != 0).then(|| frame_of(entry)));
        let own = own && new & WRITE != 0;
        compare(below, (level - 1, address, own), vectors, f)
    })
}
