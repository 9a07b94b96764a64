//! Address spaces of guest programs: areas that say what may be where, and page tables that are filled as pages are
//! touched.
//!
//! What must hold:
//! - a space is used by one core at a time, and only the kernel's own linear map is used to reach a guest's memory: the
//!   kernel never follows a guest's pointer, so no fault can happen in it;
//! - an entry of the tables that is not zero holds a reference to its frame, unless it is marked `FOREIGN`
//!   (memory of the boot archive, never freed). It is writable only if its area allows writing, and the space is the frame's
//!   only holder or the page is marked `SHARED`, and never if it is marked `OBJECT`; copies of a space share tables too, see `table/mod.rs`;
//! - every page with an entry lies in an area;
//! - whoever enters the space first drops what [`Space::stale`] names from the TLB.
//!
//! The kernel's half of the top-level table is copied from the root given to [`Space::new`] and never changed.

mod access;
mod advice;
mod area;
mod delta;
#[cfg(test)]
mod delta_tests;
mod entry;
mod error;
mod folded;
mod frozen;
mod line;
mod lines;
#[cfg(test)]
mod object_tests;
mod page;
mod piece;
mod shared;
mod spares;
mod stored;
#[cfg(test)]
mod stored_tests;
mod table;
#[cfg(test)]
mod tests;
mod wide;

pub use access::{BadAddress, Plain};
pub use area::{Area, Backing, Flags, Protection};
pub use delta::Delta;
pub use error::{Error, Fault};
pub use frozen::{Frozen, WorkingSet};
pub use lines::Lines;
pub use shared::{Quota, Shared};
pub use spares::Spares;
pub use stored::{Building, DeltaParts, IsShared, LINE_BYTES, Outline, PageBytes};
pub use table::{Stale, Usage};
pub use wide::Vectors;

use crate::PhysAddr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use area::Areas;
use core::ops::Range;
use frozen::Noted;
use table::Tables;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// One past the highest address that a guest can use. The last page below the canonical hole is left out: an instruction
/// there would make SYSRET return to a non-canonical address.
pub const GUEST_END: u64 = 0x7fff_ffff_f000;

/// The lowest address that a guest can use; a null pointer with an offset below it always faults.
pub const GUEST_START: u64 = 0x1_0000;

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
    /// Below 2 GiB: at this address if it is free and not 0.
    Low(u64),
}

/// What a new mapping is.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// What may be done with it.
    pub protection: Protection,
    /// What it holds.
    pub backing: Backing,
    /// Where in the backing it begins; whole pages.
    pub offset: u64,
    /// The caller's.
    pub note: u32,
    /// What it is besides.
    pub flags: Flags,
}

/// An address space.
pub struct Space {
    tables: Tables,
    areas: Areas,
    /// Mappings without a place of their own end at most here.
    top: u64,
    /// Mappings that ask for a place far from everything else go here.
    close: bool,
    /// What every new area is besides.
    future: Flags,
    /// A forked copy may have to differ from this space: some area has had flags that concern it.
    forks_differ: bool,
    /// Areas that grow downwards have at most so many bytes.
    growth_limit: u64,
    /// Faults that a page was provided for.
    faults: u64,
    /// The pages of the first of them, where that is to be known.
    noted: Option<Noted>,
}

/// Where mappings go that asked for a place far from everything else, when the space is [kept close](Space::keep_close).
const ZONE: u64 = 0x1000_0000_0000;
/// Where mappings go that must be below 2 GiB, as on Linux (`MAP_32BIT`).
const LOW: Range<u64> = 0x4000_0000..0x8000_0000;
/// How large areas that grow may become unless another limit is set: Linux' usual limit of stacks.
const GROWTH: u64 = 8 << 20;
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
            future: Flags::NONE,
            forks_differ: false,
            growth_limit: GROWTH,
            faults: 0,
            noted: None,
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
        self.areas.total().0
    }

    /// The most bytes that all areas had at once.
    #[must_use]
    pub fn mapped_peak(&self) -> u64 {
        self.areas.total().1
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
        let flags = Flags::NONE;
        let what = Mapping {
            protection,
            backing,
            offset,
            note,
            flags,
        };
        self.map_as(place, len, what)
    }

    /// As [`map`](Self::map), with flags.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn map_as(&mut self, place: Place, len: u64, what: Mapping) -> Result<u64, Error> {
        if !what.offset.is_multiple_of(PAGE) {
            return Err(Error::Invalid);
        }
        let range = self.room(place, len)?;
        let start = range.start;
        let flags = what.flags.with(self.future);
        self.areas.insert(Area {
            start,
            end: range.end,
            protection: what.protection,
            backing: what.backing,
            offset: what.offset,
            note: what.note,
            flags,
        })?;
        self.forks_differ |= flags.concern_fork();
        Ok(start)
    }

    /// Where a new mapping goes; what was there is unmapped.
    fn room(&mut self, place: Place, len: u64) -> Result<Range<u64>, Error> {
        match place {
            Place::Near(hint) => {
                let mut hint = hint & !(PAGE - 1);
                if self.close && hint != 0 && !self.areas.is_near(hint, FAR) {
                    let align = 1 << hint.trailing_zeros().min(21);
                    let len = whole_pages(0, len)?.end;
                    let gap = self.areas.low_gap(len, ZONE, align, GUEST_END);
                    hint = gap.unwrap_or(0);
                }
                match whole_pages(hint, len) {
                    Ok(range) if hint >= GUEST_START && self.areas.is_free(&range) => Ok(range),
                    _ => {
                        let len = whole_pages(0, len)?.end;
                        let start = self.areas.gap(len, self.top).ok_or(Error::NoRoom)?;
                        Ok(start..start + len)
                    }
                }
            }
            Place::Low(hint) => {
                let range = whole_pages(hint & !(PAGE - 1), len)?;
                let fits = range.start >= GUEST_START && range.end <= LOW.end;
                if fits && self.areas.is_free(&range) {
                    return Ok(range);
                }
                let len = range.end - range.start;
                let gap = self.areas.low_gap(len, LOW.start, PAGE, LOW.end);
                let start = gap.ok_or(Error::NoRoom)?;
                Ok(start..start + len)
            }
            Place::Fixed(at) => {
                let range = whole_pages(at, len)?;
                if at < GUEST_START {
                    return Err(Error::Invalid);
                }
                self.unmap_range(&range)?;
                Ok(range)
            }
            Place::FixedFree(at) => {
                let range = whole_pages(at, len)?;
                if at < GUEST_START {
                    return Err(Error::Invalid);
                }
                if !self.areas.is_free(&range) {
                    return Err(Error::Occupied);
                }
                Ok(range)
            }
        }
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

    /// Changes what may be done with `len` bytes, rounded up to whole pages, up to the first that is not mapped or may not
    /// be used so.
    ///
    /// # Errors
    /// [`Error::NotMapped`], [`Error::Denied`]: what lies before has been changed. See [`Error`].
    pub fn protect(&mut self, start: u64, len: u64, protection: Protection) -> Result<(), Error> {
        let mut range = whole_pages(start, len)?;
        let (mut at, mut result) = (range.start, Ok(()));
        for area in self.areas.in_range(&range) {
            if area.start > at {
                break;
            }
            if protection.write && area.flags.has(Flags::NEVER_WRITE) {
                result = Err(Error::Denied);
                break;
            }
            at = area.end;
        }
        if at < range.end {
            range.end = at;
            result = result.and(Err(Error::NotMapped));
        }
        if range.is_empty() || self.areas.all(&range, |a| a.protection == protection) {
            return result;
        }
        self.tables.prepare(range.clone(), false)?;
        self.areas.split(&range)?;
        self.areas.change(&range, |a| a.protection = protection);
        self.tables.protect(range, protection);
        result
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
        for shared in self.objects().filter(|_| self.areas.is_unique()) {
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

    /// Changes the size of a mapping, all of one area, and moves it if `to` says so: `None` leaves it in place. With
    /// `stays` what it was moved from is mapped still, and holds what it held when it was new.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::NoRoom`] when it cannot grow in place and may not move.
    pub fn remap(
        &mut self,
        start: u64,
        old: u64,
        new: u64,
        to: Option<Place>,
        stays: bool,
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
        let moves = stays || matches!(to, Some(Place::Fixed(_) | Place::FixedFree(_)));
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
        let what = Mapping {
            protection: area.protection,
            backing: area.backing,
            offset,
            note: area.note,
            flags: area.flags,
        };
        let at = self.map_as(place, new, what)?;
        let kept = old.min(new);
        if self.tables.carry(start..start + kept, at).is_err() {
            // What was carried over goes back: its tables are still there.
            let _ = self.tables.carry(at..at + kept, start);
            self.unmap_range(&(at..at + new))?;
            return Err(Error::OutOfMemory);
        }
        if stays {
            self.areas.split(&from)?;
            let unlocked = Flags::LOCKED.with(Flags::ON_FAULT);
            self.areas
                .change(&from, |a| a.flags = a.flags.without(unlocked));
        } else {
            self.unmap_range(&from)?;
        }
        Ok(at)
    }

    /// Makes a page usable, as a fault on it asks. `Ok` also when it was already: the TLB was behind.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn fault(&mut self, address: u64, access: Access) -> Result<(), Fault> {
        let Some(area) = self.areas.find(address) else {
            return self.grow_down(address, access);
        };
        let allowed = match access {
            Access::Read => area.protection.any(),
            Access::Write => area.protection.write,
            Access::Execute => area.protection.execute,
        };
        if !allowed {
            return Err(Fault::Denied);
        }
        self.tables
            .provide(address & !(PAGE - 1), area, access == Access::Write)?;
        self.faults += 1;
        if let Some(noted) = &mut self.noted {
            noted.add(address & !(PAGE - 1), access == Access::Write);
        }
        Ok(())
    }

    /// How many faults a page was provided for, by whom it was used and by calls that use memory for it. A copy of the space begins
    /// at 0.
    #[must_use]
    pub const fn faults(&self) -> u64 {
        self.faults
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
            future: self.future,
            forks_differ: self.forks_differ,
            growth_limit: self.growth_limit,
            faults: 0,
            noted: None,
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

    /// The objects that are mapped privately, each perhaps several times.
    pub fn all_private(&self) -> impl Iterator<Item = &Arc<Shared>> {
        self.areas.iter().filter_map(|a| match &a.backing {
            Backing::Private(object) => Some(object),
            _ => None,
        })
    }

    /// The objects that are mapped either way.
    fn objects(&self) -> impl Iterator<Item = &Arc<Shared>> {
        self.areas.iter().filter_map(|a| a.backing.object())
    }

    /// Takes pages of an object that it has given up out of the tables, and of private copies those that lie beyond its
    /// size.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when a table that is shared with a copy has to be copied; some pages may remain.
    pub fn unmap_shared(&mut self, object: &Arc<Shared>) -> Result<(), Error> {
        self.clear_areas(|shared| Arc::ptr_eq(shared, object), true)
    }

    /// Maps other objects in the place of those that `other` names, for a copy of the space that is to share nothing with
    /// where it came from. What was copied privately stays.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn exchange_shared(
        &mut self,
        other: impl Fn(&Arc<Shared>) -> Option<Arc<Shared>>,
    ) -> Result<(), Error> {
        self.clear_areas(|shared| other(shared).is_some(), false)?;
        self.areas.exchange(|area| match &area.backing {
            Backing::Shared(shared) => other(shared).map(Backing::Shared),
            Backing::Private(object) => other(object).map(Backing::Private),
            _ => None,
        });
        Ok(())
    }

    /// Whether memory outside the frame allocator that begins here is mapped.
    #[must_use]
    pub fn shows_image(&self, from: PhysAddr) -> bool {
        self.areas().any(|area| area.shows_image(from))
    }

    /// Maps an object in the place of such memory. What was copied privately stays.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn exchange_image(&mut self, from: PhysAddr, object: &Arc<Shared>) -> Result<(), Error> {
        for area in self.areas.iter().filter(|area| area.shows_image(from)) {
            let range = area.start..area.end;
            self.tables.prepare(range.clone(), false)?;
            self.tables.clear_shown(range);
        }
        self.areas.exchange(|area| {
            let object = || Arc::clone(object);
            area.shows_image(from)
                .then(|| match area.flags.has(Flags::SHOWN_SHARED) {
                    true => Backing::Shared(object()),
                    false => Backing::Private(object()),
                })
        });
        Ok(())
    }

    fn clear_areas(
        &mut self,
        which: impl Fn(&Arc<Shared>) -> bool,
        was_cut: bool,
    ) -> Result<(), Error> {
        let tables = &mut self.tables;
        for area in self.areas.iter() {
            let range = area.start..area.end;
            match &area.backing {
                Backing::Shared(shared) if which(shared) => {
                    tables.prepare(range.clone(), true)?;
                    tables.clear(range, 0..0);
                }
                Backing::Private(object) if which(object) => {
                    tables.prepare(range.clone(), false)?;
                    tables.clear_shown(range.clone());
                    let shown = object.size().next_multiple_of(PAGE);
                    let end = area.start + shown.saturating_sub(area.offset);
                    if was_cut && end < area.end {
                        tables.clear(end..area.end, 0..0);
                    }
                }
                _ => {}
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
        let held = |page: u64| {
            // Of a file it counts that it is in memory, whether or not it has been used through here.
            self.areas.find(page).is_some_and(|area| {
                let offset = area.offset + (page - area.start);
                match &area.backing {
                    Backing::Image { len, .. } => offset < *len,
                    other => other.object().is_some_and(|o| o.has(offset / PAGE)),
                }
            })
        };
        Ok(range
            .step_by(PAGE as usize)
            .map(|page| self.tables.entry(page) != 0 || held(page))
            .collect())
    }
}
