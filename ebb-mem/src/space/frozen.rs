//! Spaces that never run again: what copies are made of, on any core.

use super::entry::{FOREIGN, HELD, OBJECT, SHARED, frame_of};
use super::folded::Use;
use super::{Access, Error, Shared, Space, Spares, Vectors};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

/// An address space as it was at one moment.
pub struct Frozen(pub(super) Space);

// A frozen space is not entered and not changed; making a copy reads its top-level table and counts references up, atomically.
const fn shared<T: Send + Sync>() {}
const _: () = shared::<Frozen>();

/// Pages that a program uses when it runs on from a frozen space, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkingSet {
    written: Vec<u64>,
    read: Vec<u64>,
}

impl WorkingSet {
    /// Pages that were written to.
    #[must_use]
    pub fn written(&self) -> usize {
        self.written.len()
    }

    /// How many pages it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.written.len() + self.read.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pages that were read and had not been mapped.
    #[must_use]
    pub fn read(&self) -> usize {
        self.read.len()
    }

    /// One of the pages with these addresses.
    #[must_use]
    pub const fn new(written: Vec<u64>, read: Vec<u64>) -> Self {
        Self { written, read }
    }

    /// The addresses of the pages that were read, in order.
    pub fn pages_read(&self) -> impl Iterator<Item = u64> {
        self.read.iter().copied()
    }

    /// The addresses of the pages that were written to, in order.
    pub fn pages(&self) -> impl Iterator<Item = u64> {
        self.written.iter().copied()
    }
}

/// Pages of faults, in their order.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// By address, and whether they were written to.
    pages: Vec<(u64, bool)>,
}

impl Noted {
    /// Most of them; what comes later is not noted.
    const MOST: usize = 512;

    pub(super) fn add(&mut self, page: u64, write: bool) {
        if self.pages.len() < Self::MOST && self.pages.try_reserve(1).is_ok() {
            self.pages.push((page, write));
        }
    }
}

impl From<Noted> for WorkingSet {
    fn from(Noted { mut pages }: Noted) -> Self {
        // A page that was read first and then written to is written to.
        pages.sort_unstable_by_key(|(page, write)| (*page, !write));
        pages.dedup_by_key(|(page, _)| *page);
        let of = |kind| pages.iter().filter(move |(_, write)| *write == kind);
        let [written, read] = [true, false].map(|kind| of(kind).map(|(page, _)| *page).collect());
        Self { written, read }
    }
}

impl Space {
    /// From now on the pages of faults are noted, until they are [taken](Self::take_noted).
    pub(super) fn note_faults(&mut self) {
        self.noted = Some(Noted::default());
    }

    /// The pages that a space of differences ([`Frozen::thaw_with`]) was given by faults since it was made, if this was not asked
    /// before: what it used besides what it began with. No table has to be looked at for it.
    pub fn take_noted(&mut self) -> Option<WorkingSet> {
        self.noted.take().map(WorkingSet::from)
    }

    /// The space as it is now, for copies to be made of. The space itself goes on. `None` when there is no frame.
    #[must_use]
    pub fn freeze(&mut self) -> Option<Frozen> {
        self.duplicate().map(Frozen)
    }

    /// What this space, which began as a copy of `from`, has of its own by now.
    #[must_use]
    pub fn working_set(&self, from: &Frozen) -> WorkingSet {
        let mut set = WorkingSet::default();
        self.tables.differences(&from.0.tables, &mut |page, entry| {
            if entry & (super::entry::FOREIGN | super::entry::OBJECT) == 0 {
                set.written.push(page);
            } else {
                set.read.push(page);
            }
        });
        set
    }

    /// Bytes of memory that it does not share with `from`, of which it or what it was copied from was a copy: pages, page
    /// tables, and what is kept of [folded](Self::fold) pages.
    #[must_use]
    pub fn beyond(&self, from: &Frozen) -> u64 {
        self.tables.beyond(&from.0.tables) * super::PAGE + self.tables.folded_bytes()
    }

    /// The pages of its own that the program has used since this was asked or pages were folded the last time, by address, and
    /// whether it has written to them. `from` is what the space began as a copy of. What only the kernel used for it is not among
    /// them.
    pub fn take_used(&mut self, from: &Frozen) -> Vec<(u64, bool)> {
        self.tables.take_used(&from.0.tables)
    }

    /// Gives back memory of a program at rest, which began as a copy of `from`: pages that are what they were are shared again, and
    /// of those that differ in a few lines only these are kept, until the page is used. Pages that `needed` names, in the form and
    /// order of [`take_used`](Self::take_used), stay if they are written to or differ, and unless it is the `first` time those that
    /// were used since the last time.
    pub fn fold(&mut self, from: &Frozen, needed: &[(u64, bool)], first: bool, vectors: Vectors) {
        let use_of = |page, how| {
            let how = if first { Use::None } else { how };
            let known = needed.binary_search_by_key(&page, |(page, _)| *page);
            match known.map(|at| needed[at].1) {
                Ok(true) => Use::Written,
                Ok(false) if how == Use::None => Use::Read,
                _ => how,
            }
        };
        let of = (&from.0.tables, vectors);
        self.tables.fold(&self.areas, of, false, use_of);
    }

    /// As [`fold`](Self::fold), of all pages, for a program that will not go on soon. What was in use until now is then
    /// [brought back](Self::unfold_expected) at once.
    pub fn fold_all(&mut self, from: &Frozen, vectors: Vectors) {
        let none = |_, _| Use::None;
        let of = (&from.0.tables, vectors);
        self.tables.fold(&self.areas, of, true, none);
    }

    /// Makes the pages what they were that [`fold_all`](Self::fold_all) has given back, as far as there is memory: of copies that were
    /// made ahead where there are some.
    pub fn unfold_expected(&mut self, spares: Option<&Spares>) {
        self.tables.unfold_expected(&self.areas, spares);
    }

    /// Bytes of memory that were allocated since the space was made, whether given back or not.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.tables.taken() * super::PAGE
    }

    /// Makes the pages of a working set usable at once, rather than by a fault for each. `from` is what this space began as a
    /// copy of. Pages that are not mapped here or for which there is no memory are left to their faults.
    pub fn prefetch(&mut self, set: &WorkingSet, from: &Frozen, vectors: Vectors) {
        self.prefetch_part(set, from, 0..usize::MAX, vectors);
    }

    /// The same for those of its pages that have these numbers, so that the work can be done in pieces. Returns the number of the next, which
    /// is [`WorkingSet::len`] after the last.
    pub fn prefetch_part(
        &mut self,
        set: &WorkingSet,
        from: &Frozen,
        part: Range<usize>,
        vectors: Vectors,
    ) -> usize {
        let (first, end) = (part.start, part.end.min(set.len()));
        let (written, read) = (&set.written, &set.read);
        let part = first.min(written.len())..end.min(written.len());
        self.tables
            .fetch(&written[part], &self.areas, &from.0.tables, vectors);
        let first_read = first.max(written.len()) - written.len();
        let end_read = end.max(written.len()) - written.len();
        for page in &read[first_read..end_read] {
            let _ = self.fault(*page, Access::Read);
        }
        end
    }

    /// Maps the pages that the working set reads and has none of: of files. They need no memory but page tables, which copies
    /// then share.
    pub fn prefetch_read(&mut self, set: &WorkingSet) {
        for page in &set.read {
            let _ = self.fault(*page, Access::Read);
        }
    }
}

impl Frozen {
    /// A space that goes on from here; it takes one frame. `None` when there is none.
    #[must_use]
    pub fn thaw(&self) -> Option<Space> {
        Some(Space {
            tables: self.0.tables.copy()?,
            areas: self.0.areas.clone(),
            top: self.0.top,
            close: self.0.close,
            future: self.0.future,
            forks_differ: self.0.forks_differ,
            growth_limit: self.0.growth_limit,
            faults: 0,
            noted: None,
        })
    }

    /// Room for copies of these of its pages, which are [made](Spares::make) while it is there. There are none of pages that it has none
    /// of.
    #[must_use]
    pub fn spares(&self, pages: impl Iterator<Item = u64>) -> Spares {
        Spares::new(pages.filter_map(|page| {
            let entry = self.0.tables.entry(page);
            let is_own = entry & (HELD | FOREIGN | OBJECT | SHARED) == HELD;
            is_own.then(|| (page, frame_of(entry)))
        }))
    }

    /// As [`Space::exchange_shared`], before there is any copy.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn exchange_shared(
        &mut self,
        other: impl Fn(&Arc<Shared>) -> Option<Arc<Shared>>,
    ) -> Result<(), Error> {
        self.0.exchange_shared(other)
    }

    /// The shared objects that are mapped.
    pub fn all_shared(&self) -> impl Iterator<Item = &Arc<Shared>> {
        self.0.all_shared()
    }

    /// The objects that are mapped privately.
    pub fn all_private(&self) -> impl Iterator<Item = &Arc<Shared>> {
        self.0.all_private()
    }

    /// Bytes of memory that only this holds: what dropping it frees.
    #[must_use]
    pub fn private(&self) -> u64 {
        self.0.private()
    }

    /// As [`Space::beyond`].
    #[must_use]
    pub fn beyond(&self, from: &Self) -> u64 {
        self.0.beyond(from)
    }

    /// Bytes of memory in use, those that are shared counted.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used()
    }
}
