//! Copies of pages of a frozen space that are made ahead, while nothing else is to be done: a page that is to be made again from what
//! it differs from then need not be copied first.
//!
//! What must hold: a copy is of a frame that never changes and that the list has a reference to; it is given away once, with its
//! own reference.

use super::PAGE;
use super::line::copy_page_by;
use super::wide::Vectors;
use crate::frame::{self, Node};
use crate::{PhysAddr, phys_to_virt};
use alloc::vec::Vec;
use spin::mutex::{SpinMutex, SpinMutexGuard};

/// Copies of each page: that many programs can go on one after the other before some are made.
const MOST: usize = 6;

/// A page, and its copies.
struct Spare {
    page: u64,
    /// The frame that it is, with a reference.
    of: PhysAddr,
    copies: [PhysAddr; MOST],
    count: usize,
}

/// The copies, by address.
struct List {
    spares: Vec<Spare>,
    /// Which one is looked at next when some are made.
    next: usize,
    /// How many are missing of all that there may be.
    missing: usize,
}

/// Copies of pages that programs need again after a long rest.
pub struct Spares(SpinMutex<List>);

/// They are taken from.
pub(super) struct Taking<'a> {
    list: SpinMutexGuard<'a, List>,
    /// Where the last one was: pages come in order.
    at: usize,
}

impl Spares {
    /// For these pages, which these frames are of that never change and are allocated, without any copy yet.
    pub(super) fn new(pages: impl Iterator<Item = (u64, PhysAddr)>) -> Self {
        let spare = |(page, of)| Spare {
            page,
            of,
            copies: [PhysAddr(0); MOST],
            count: 0,
        };
        let mut spares: Vec<Spare> = pages.map(spare).collect();
        spares.sort_unstable_by_key(|spare| spare.page);
        spares.dedup_by_key(|spare| spare.page);
        // Whoever holds the space does so no longer than the copies are made, for all that is known here.
        spares.iter().for_each(|spare| frame::share(spare.of));
        Self(SpinMutex::new(List {
            missing: spares.len() * MOST,
            spares,
            next: 0,
        }))
    }

    /// Makes up to `most` copies; false when none is missing, or there is no memory for one.
    pub fn make(&self, most: usize, vectors: Vectors) -> bool {
        let mut list = self.0.lock();
        let list = &mut *list;
        for _ in 0..most {
            // One of each before the second of any.
            let len = list.spares.len();
            let mut turn = (list.next..len).chain(0..list.next);
            let Some(at) = turn.find(|at| list.spares[*at].count < MOST) else {
                return false;
            };
            list.next = (at + 1) % len;
            let spare = &mut list.spares[at];
            let Some(copy) = frame::alloc(0, Node::LOCAL) else {
                return false;
            };
            // SAFETY: both are whole frames in the linear map; the list has a reference to the one, and the new one is ours alone.
            unsafe { copy_page_by(phys_to_virt(spare.of), phys_to_virt(copy), vectors) };
            spare.copies[spare.count] = copy;
            spare.count += 1;
            list.missing -= 1;
        }
        list.missing > 0
    }

    /// Bytes of the copies that there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        let list = self.0.lock();
        (list.spares.len() * MOST - list.missing) as u64 * PAGE
    }

    pub(super) fn taking(&self) -> Taking<'_> {
        let list = self.0.lock();
        Taking { list, at: 0 }
    }
}

impl Taking<'_> {
    /// A copy of a page that is what this frame holds, which the caller has from now on.
    pub(super) fn take(&mut self, page: u64, of: PhysAddr) -> Option<PhysAddr> {
        let list = &mut *self.list;
        if list.spares[..self.at]
            .last()
            .is_some_and(|last| last.page >= page)
        {
            self.at = 0;
        }
        let rest = list.spares[self.at..].iter();
        self.at += rest.take_while(|spare| spare.page < page).count();
        let spare = list.spares.get_mut(self.at)?;
        if spare.page != page || spare.of != of || spare.count == 0 {
            return None;
        }
        spare.count -= 1;
        list.missing += 1;
        Some(spare.copies[spare.count])
    }
}

impl Drop for List {
    fn drop(&mut self) {
        for spare in &self.spares {
            for copy in &spare.copies[..spare.count] {
                // SAFETY: it has not been given away, and nobody else knows of it.
                unsafe { frame::release(*copy) };
            }
            // SAFETY: the reference that `new` took.
            unsafe { frame::release(spare.of) };
        }
    }
}
