//! Clones at rest: what of their memory is given back until they run again.
//!
//! What must hold: what a program sees of its memory is the same before and after.

use super::{Snapshot, vectors};
use crate::uc::Uc;
use alloc::boxed::Box;
use alloc::vec::Vec;
use ebb_mem::space::{Frozen, Space, Spares, WorkingSet};
use once_cell::race::OnceBox;

/// What clones of a snapshot need again and again.
#[derive(Default)]
pub(super) struct Needed {
    /// Pages by address, and whether they are written to.
    pages: OnceBox<Vec<(u64, bool)>>,
    /// Copies of those, for clones that wake up.
    spares: OnceBox<Spares>,
}

impl Needed {
    /// These pages, in order, if they are known.
    pub(super) fn of(pages: Option<Vec<(u64, bool)>>) -> Self {
        let needed = Self::default();
        if let Some(pages) = pages {
            let _ = needed.pages.set(Box::new(pages));
        }
        needed
    }

    /// The copies, once there are some.
    pub(super) fn spares(&self) -> Option<&Spares> {
        self.spares.get()
    }

    /// The pages, once they are known.
    pub(super) fn pages(&self) -> Option<&Vec<(u64, bool)>> {
        self.pages.get()
    }
}

impl Snapshot {
    /// Remembers the pages that a clone of this snapshot has used since [`Uc::begin_use`]: those that clones need again and again,
    /// and keep when they [rest](Uc::rest). The first call counts; false for later ones, and for a UC that is no clone of this
    /// snapshot.
    pub fn learn_needed(&self, clone: &Uc) -> bool {
        if !clone.origin().is_some_and(|origin| origin.is(self)) {
            return false;
        }
        let used = clone.with_root(|space, whole| space.take_used(whole));
        used.is_some_and(|used| self.0.needed.pages.set(Box::new(used)).is_ok())
    }

    /// Makes up to `most` copies of pages that [`learn_needed`](Self::learn_needed) remembered, which clones then get when they
    /// [wake](Uc::wake) instead of copying them. False when there are as many as there should be: for moments when the core is idle.
    pub fn make_spares(&self, most: usize) -> bool {
        let root = &self.root().0;
        let whole = root.processes.first().and_then(|p| p.pages.whole());
        let (Some(whole), Some(needed)) = (whole, root.needed.pages()) else {
            return false;
        };
        // What a first call uses other functions may use in each.
        let first = self.root().working_set().map(WorkingSet::pages);
        let pages = needed.iter().map(|(page, _)| *page);
        let pages = pages.chain(first.into_iter().flatten());
        let new = || Box::new(whole.spares(pages));
        let spares = root.needed.spares.get_or_init(new);
        spares.make(most, vectors::claim())
    }

    /// How many pages [`learn_needed`](Self::learn_needed) remembered.
    #[must_use]
    pub fn needed(&self) -> usize {
        self.0.needed.pages().map_or(0, |pages| pages.len())
    }
}

impl Uc {
    /// Calls `f` with the memory of the first process and of the snapshot whose page tables it began with.
    fn with_root<T>(&self, f: impl FnOnce(&mut Space, &Frozen) -> T) -> Option<T> {
        let root = self.origin()?.root();
        let whole = root.0.processes.first()?.pages.whole()?;
        let memory = self.init().memory();
        let mut space = memory.space.borrow_mut();
        Some(f(&mut space, whole))
    }

    /// Which pages a program uses is noted from now on.
    pub fn begin_use(&self) {
        self.with_root(|space, whole| drop(space.take_used(whole)));
    }

    /// Gives memory back that the program does not need while it waits, and hardly in what it does next: pages that are what they
    /// were in its snapshot are shared again, and of those that differ in a few lines only these are kept until the page is used.
    /// What clones of the snapshot need again and again stays; unless it is the `first` time, so does what was used since the last
    /// time. Only for clones; it may be called at any moment.
    pub fn rest(&self, first: bool) {
        let needed = self
            .origin()
            .and_then(|origin| origin.root().0.needed.pages());
        // Without knowing what is needed, all that was ever used is.
        let (needed, first) = match needed {
            Some(pages) => (&pages[..], first),
            None => (&[][..], false),
        };
        self.with_root(|space, whole| space.fold(whole, needed, first, vectors::claim()));
    }

    /// As [`rest`](Self::rest), and gives back what is needed again and again as well, until [`wake`](Self::wake).
    pub fn rest_long(&self) {
        self.with_root(|space, whole| space.fold_all(whole, vectors::claim()));
    }

    /// The program goes on after a [long rest](Self::rest_long): it gets back at once what it gave back then, which costs less than
    /// a fault for each page. What there is no memory for is left to its fault.
    pub fn wake(&self) {
        let root = self.origin().map(Snapshot::root);
        let spares = root.and_then(|root| root.0.needed.spares.get());
        let memory = self.init().memory();
        memory.space.borrow_mut().unfold_expected(spares);
    }
}
