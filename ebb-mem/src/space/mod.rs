//! Address spaces of guest programs: areas that say what may be where, and page tables that are filled as pages are
//! touched.
//!
//! What must hold:
//! - a space is used by one core at a time, and only the kernel's own linear map is used to reach a guest's memory: the
//!   kernel never follows a guest's pointer, so no fault can happen in it;
//! - an entry of the tables that is not zero holds a reference to its frame, unless it is marked `FOREIGN`
//!   (memory of the boot archive, never freed). It is writable only if its area allows writing, and the space is the frame's
//!   only holder or the page is marked `SHARED`; copies of a space share tables too, see `table.rs`;
//! - every page with an entry lies in an area;
//! - whoever enters the space first drops what [`Space::stale`] names from the TLB.
//!
//! The kernel's half of the top-level table is copied from the root given to [`Space::new`] and never changed.

mod access;
mod area;
mod delta;
mod entry;
mod frozen;
mod shared;
mod table;
#[cfg(test)]
mod tests;

pub use access::{BadAddress, Plain};
pub use area::{Area, Backing, Protection};
pub use delta::Delta;
pub use frozen::{Frozen, WorkingSet};
pub use shared::{Quota, Shared};
pub use table::Stale;

use crate::PhysAddr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use area::Areas;
use core::ops::Range;
use table::Tables;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// One past the highest address that a guest can use. The last page below the canonical hole is left out: an instruction
/// there would make SYSRET return to a non-canonical address.
pub const GUEST_END: u64 = 0x7fff_ffff_f000;

/// The lowest address that a guest can use; a null pointer with an offset below it always faults.
pub const GUEST_START: u64 = 0x1_0000;

/// Why a change of a space was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An address or a length is not a multiple of [`PAGE`], is zero, or reaches beyond the guest's half.
    Invalid,
    /// Something is mapped there already.
    Occupied,
    /// No gap is large enough, or there are too many areas.
    NoRoom,
    /// Part of the range is not mapped.
    NotMapped,
    /// The space's limit or the machine's memory is used up.
    OutOfMemory,
}

impl From<Fault> for Error {
    /// For changes of tables, which fail for one reason only.
    fn from(_: Fault) -> Self {
        Self::OutOfMemory
    }
}

/// Why a page cannot be used as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is mapped there.
    NotMapped,
    /// Its area forbids it.
    Denied,
    /// The page lies beyond the end of the file that backs it.
    BeyondEnd,
    /// The space's limit or the machine's memory is used up.
    OutOfMemory,
}

/// What a page is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Fetching instructions.
    Execute,
}

/// Where a new mapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this address if it is free and not 0, else anywhere.
    Near(u64),
    /// Exactly there; what was mapped is unmapped.
    Fixed(u64),
    /// Exactly there, or not at all.
    FixedFree(u64),
}

/// An address space.
pub struct Space {
    tables: Tables,
    areas: Areas,
    /// Mappings without a place of their own end at most here.
    top: u64,
    /// Mappings that ask for a place far from everything else go here.
    close: bool,
}

/// Where mappings go that asked for a place far from everything else, when the space is [kept close](Space::keep_close).
const ZONE: u64 = 0x1000_0000_0000;
/// What is far: beyond the reach of a relative call.
const FAR: u64 = 1 << 31;

fn whole_pages(start: u64, len: u64) -> Result<Range<u64>, Error> {
    let len = len.checked_next_multiple_of(PAGE).ok_or(Error::Invalid)?;
    let end = start.checked_add(len).ok_or(Error::Invalid)?;
    if !start.is_multiple_of(PAGE) || len == 0 || end > GUEST_END {
        return Err(Error::Invalid);
    }
    Ok(start..end)
}

impl Space {
    /// An empty space with the upper half of `kernel_root` and at most `limit` bytes of memory, page tables counted.
    /// `None` when there is no frame for it.
    #[must_use]
    pub fn new(kernel_root: PhysAddr, limit: u64) -> Option<Self> {
        Some(Self {
            tables: Tables::new(kernel_root, limit / PAGE)?,
            areas: Areas::default(),
            top: GUEST_END,
            close: false,
        })
    }

    /// Physical address of the top-level table.
    #[must_use]
    pub fn root(&self) -> PhysAddr {
        self.tables.root()
    }

    /// What has to be dropped from the TLB before the space is entered.
    #[inline]
    #[must_use]
    pub fn stale(&self) -> &Stale {
        self.tables.stale()
    }

    /// That was done.
    #[inline]
    pub fn drop_stale(&mut self) {
        self.tables.drop_stale();
    }

    /// Bytes of memory in use: pages and page tables.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.tables.used() * PAGE
    }

    /// The most bytes of memory that were in use at once.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.tables.peak() * PAGE
    }

    /// Bytes of memory that nobody else uses: what dropping the space frees. Walks its own tables.
    #[must_use]
    pub fn private(&self) -> u64 {
        self.tables.unique() * PAGE
    }

    /// Sets the most bytes of memory, page tables counted.
    pub fn set_limit(&mut self, limit: u64) {
        self.tables.set_limit(limit / PAGE);
    }

    /// Bytes of pages in use that could be written to: those that belong to this space or are shared with its copies.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.tables.resident() * PAGE
    }

    /// Bytes of all areas.
    #[must_use]
    pub fn mapped(&self) -> u64 {
        self.areas.iter().map(|a| a.end - a.start).sum()
    }

    /// The areas by address.
    pub fn areas(&self) -> impl Iterator<Item = &Area> {
        self.areas.iter()
    }

    /// The area that an address is in.
    #[must_use]
    pub fn area(&self, address: u64) -> Option<&Area> {
        self.areas.find(address)
    }

    /// Mappings that may go anywhere go below `top` from now on.
    pub fn set_top(&mut self, top: u64) {
        self.top = (top & !(PAGE - 1)).clamp(GUEST_START, GUEST_END);
    }

    /// Mappings whose suggested place is far from everything else go side by side from now on, with the alignment of what
    /// they suggested. A program that spreads its memory at random (V8 does) then needs a few page tables rather than one
    /// or more for every mapping, which copies would have of their own.
    pub fn keep_close(&mut self) {
        self.close = true;
    }

    /// Maps `len` bytes, rounded up to whole pages; returns where. `note` is kept for the caller (a name, say); areas
    /// with different notes are not joined.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn map(
        &mut self,
        place: Place,
        len: u64,
        protection: Protection,
        backing: Backing,
        offset: u64,
        note: u32,
    ) -> Result<u64, Error> {
        if !offset.is_multiple_of(PAGE) {
            return Err(Error::Invalid);
        }
        let range = match place {
            Place::Near(hint) => {
                let mut hint = hint & !(PAGE - 1);
                if self.close && hint != 0 && !self.areas.is_near(hint, FAR) {
                    let align = 1 << hint.trailing_zeros().min(21);
                    let len = whole_pages(0, len)?.end;
                    hint = self.areas.low_gap(len, ZONE, align).unwrap_or(0);
                }
                match whole_pages(hint, len) {
                    Ok(range) if hint >= GUEST_START && self.areas.is_free(&range) => range,
                    _ => {
                        let len = whole_pages(0, len)?.end;
                        let start = self.areas.gap(len, self.top).ok_or(Error::NoRoom)?;
                        start..start + len
                    }
                }
            }
            Place::Fixed(at) => {
                let range = whole_pages(at, len)?;
                if at < GUEST_START {
                    return Err(Error::Invalid);
                }
                self.unmap_range(&range)?;
                range
            }
            Place::FixedFree(at) => {
                let range = whole_pages(at, len)?;
                if at < GUEST_START {
                    return Err(Error::Invalid);
                }
                if !self.areas.is_free(&range) {
                    return Err(Error::Occupied);
                }
                range
            }
        };
        let start = range.start;
        self.areas.insert(Area {
            start,
            end: range.end,
            protection,
            backing,
            offset,
            note,
        })?;
        Ok(start)
    }

    /// Unmaps `len` bytes, rounded up to whole pages. Parts that are not mapped are skipped.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::NoRoom`] when it would split an area too many; [`Error::OutOfMemory`] when a table that
    /// is shared with a copy has to be copied.
    pub fn unmap(&mut self, start: u64, len: u64) -> Result<(), Error> {
        let range = whole_pages(start, len)?;
        self.unmap_range(&range)
    }

    fn unmap_range(&mut self, range: &Range<u64>) -> Result<(), Error> {
        if self.areas.is_free(range) {
            return Ok(());
        }
        self.tables.prepare(range.clone(), true)?;
        self.areas.split(range)?;
        self.areas.remove(range);
        let hole = self.areas.hole_around(range);
        self.tables.clear(range.clone(), hole);
        Ok(())
    }

    /// Changes what may be done with `len` bytes, rounded up to whole pages. All of it must be mapped.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn protect(&mut self, start: u64, len: u64, protection: Protection) -> Result<(), Error> {
        let range = whole_pages(start, len)?;
        if !self.areas.is_full(&range) {
            return Err(Error::NotMapped);
        }
        if self.areas.all(&range, |a| a.protection == protection) {
            return Ok(());
        }
        self.tables.prepare(range.clone(), false)?;
        self.areas.split(&range)?;
        self.areas.change(&range, |a| a.protection = protection);
        self.tables.protect(range, protection);
        Ok(())
    }

    /// The shared objects that were written to through a range since this was last asked, each perhaps several times.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::OutOfMemory`] when a table that is shared with a copy has to be copied.
    pub fn take_written(&mut self, start: u64, len: u64) -> Result<Vec<Arc<Shared>>, Error> {
        let range = whole_pages(start, len)?;
        let mut written = Vec::new();
        for area in self.areas.in_range(&range) {
            let part = area.start.max(range.start)..area.end.min(range.end);
            if let Backing::Shared(shared) = &area.backing
                && part.start < part.end
            {
                self.tables.prepare(part.clone(), false)?;
                if self.tables.take_dirty(part) {
                    written.push(Arc::clone(shared));
                }
            }
        }
        Ok(written)
    }

    /// How many of the first bytes of a range a change may be made for at once so that it looks at about `most` pages;
    /// `None` when that is all of them, or when the range is not one. For calls that are made part by part, so that none
    /// takes long.
    #[must_use]
    pub fn reach(&self, start: u64, len: u64, most: u64) -> Option<u64> {
        let range = whole_pages(start, len).ok()?;
        Some(self.tables.reach(&range, most)? - start)
    }

    /// Gives about `most` pages and page tables back ahead of the space's end; true when next to nothing is left to be done
    /// then. What it holds is gone: the CPU must have left it, and it is not entered or used any more.
    pub fn release_part(&mut self, most: u64) -> bool {
        let mut left = most;
        if !self.tables.release_part(&mut left) {
            return false;
        }
        for shared in self.all_shared().filter(|_| self.areas.is_unique()) {
            // Otherwise somebody else has it, or another area, whose turn comes when the space is dropped.
            if Arc::strong_count(shared) == 1 && !shared.release_part(&mut left) {
                return false;
            }
        }
        true
    }

    /// Gives the pages back; the next use finds them as they were when they were mapped. Parts that are not mapped are
    /// skipped, and so says the result.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::NotMapped`], [`Error::OutOfMemory`].
    pub fn discard(&mut self, start: u64, len: u64) -> Result<(), Error> {
        let range = whole_pages(start, len)?;
        self.tables.prepare(range.clone(), true)?;
        self.tables.clear(range.clone(), 0..0);
        if self.areas.is_full(&range) {
            Ok(())
        } else {
            Err(Error::NotMapped)
        }
    }

    /// Changes the size of a mapping, all of one area, and moves it if `to` says so: `None` leaves it in place.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::NoRoom`] when it cannot grow in place and may not move.
    pub fn remap(
        &mut self,
        start: u64,
        old: u64,
        new: u64,
        to: Option<Place>,
    ) -> Result<u64, Error> {
        let from = whole_pages(start, old)?;
        let wanted = whole_pages(start, new).or_else(|e| {
            if to.is_some() {
                whole_pages(0, new)
            } else {
                Err(e)
            }
        })?;
        let new = wanted.end - wanted.start;
        let area = self
            .areas
            .find(start)
            .filter(|a| a.end >= from.end)
            .ok_or(Error::NotMapped)?
            .clone();
        let moves = matches!(to, Some(Place::Fixed(_) | Place::FixedFree(_)));
        let old = from.end - from.start;
        if !moves {
            if new <= old {
                if new < old {
                    self.unmap_range(&(start + new..from.end))?;
                }
                return Ok(start);
            }
            // Growing in place, when the mapping ends with its area and what follows is free.
            let more = from.end..start + new;
            if area.end == from.end && more.end <= GUEST_END && self.areas.is_free(&more) {
                self.areas.insert(Area {
                    start: more.start,
                    end: more.end,
                    offset: area.offset + (more.start - area.start),
                    ..area
                })?;
                return Ok(start);
            }
        }
        let place = to.ok_or(Error::NoRoom)?;
        if let Place::Fixed(at) | Place::FixedFree(at) = place {
            let target = whole_pages(at, new)?;
            if target.start < from.end && from.start < target.end {
                return Err(Error::Invalid);
            }
        }
        let offset = area.offset + (start - area.start);
        let at = self.map(place, new, area.protection, area.backing, offset, area.note)?;
        let kept = old.min(new);
        if self.tables.carry(start..start + kept, at).is_err() {
            // What was carried over goes back: its tables are still there.
            let _ = self.tables.carry(at..at + kept, start);
            self.unmap_range(&(at..at + new))?;
            return Err(Error::OutOfMemory);
        }
        self.unmap_range(&from)?;
        Ok(at)
    }

    /// Makes a page usable, as a fault on it asks. `Ok` also when it was already: the TLB was behind.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn fault(&mut self, address: u64, access: Access) -> Result<(), Fault> {
        let area = self.areas.find(address).ok_or(Fault::NotMapped)?;
        let allowed = match access {
            Access::Read => area.protection.any(),
            Access::Write => area.protection.write,
            Access::Execute => area.protection.execute,
        };
        if !allowed {
            return Err(Fault::Denied);
        }
        self.tables
            .provide(address & !(PAGE - 1), area, access == Access::Write)
    }

    /// A copy of the space: tables and pages are shared and copied when either side writes. It takes one frame and touches
    /// only the top-level table. `None` when there is no frame.
    #[must_use]
    pub fn duplicate(&mut self) -> Option<Self> {
        Some(Self {
            tables: self.tables.duplicate()?,
            areas: self.areas.clone(),
            top: self.top,
            close: self.close,
        })
    }

    /// The shared object that a page belongs to, and the address's offset in it.
    #[must_use]
    pub fn shared(&self, address: u64) -> Option<(&Arc<Shared>, u64)> {
        let area = self.areas.find(address)?;
        match &area.backing {
            Backing::Shared(shared) => Some((shared, area.offset + (address - area.start))),
            _ => None,
        }
    }

    /// The shared objects that are mapped, each perhaps several times.
    pub fn all_shared(&self) -> impl Iterator<Item = &Arc<Shared>> {
        self.areas.iter().filter_map(|a| match &a.backing {
            Backing::Shared(shared) => Some(shared),
            _ => None,
        })
    }

    /// Takes pages of a shared object that it has given up out of the tables.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when a table that is shared with a copy has to be copied; some pages may remain.
    pub fn unmap_shared(&mut self, object: &Arc<Shared>) -> Result<(), Error> {
        self.clear_areas(|shared| Arc::ptr_eq(shared, object))
    }

    /// Maps other objects in the place of those that `other` names, for a copy of the space that is to share nothing with
    /// where it came from.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn exchange_shared(
        &mut self,
        other: impl Fn(&Arc<Shared>) -> Option<Arc<Shared>>,
    ) -> Result<(), Error> {
        self.clear_areas(|shared| other(shared).is_some())?;
        self.areas.exchange(|backing| match backing {
            Backing::Shared(shared) => other(shared).map(Backing::Shared),
            _ => None,
        });
        Ok(())
    }

    fn clear_areas(&mut self, which: impl Fn(&Arc<Shared>) -> bool) -> Result<(), Error> {
        let tables = &mut self.tables;
        for area in self.areas.iter() {
            if let Backing::Shared(shared) = &area.backing
                && which(shared)
            {
                let range = area.start..area.end;
                tables.prepare(range.clone(), true)?;
                tables.clear(range, 0..0);
            }
        }
        Ok(())
    }

    /// Whether every page of the range is in an area, whatever it allows.
    #[must_use]
    pub fn is_mapped(&self, start: u64, len: u64) -> bool {
        whole_pages(start & !(PAGE - 1), len.saturating_add(start % PAGE))
            .is_ok_and(|r| self.areas.is_full(&r))
    }

    /// For each page of the range, whether it is in memory. The range must be mapped.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::NotMapped`].
    pub fn residency(&self, start: u64, len: u64) -> Result<Vec<bool>, Error> {
        let range = whole_pages(start, len)?;
        if !self.areas.is_full(&range) {
            return Err(Error::NotMapped);
        }
        Ok(range
            .step_by(PAGE as usize)
            .map(|page| self.tables.entry(page) != 0)
            .collect())
    }
}
