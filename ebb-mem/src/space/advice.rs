//! What areas are besides: kept in memory, different in a forked copy, growing; and bringing pages in ahead of their use.
//!
//! What must hold: a space whose areas have never been anything special costs a fork, a snapshot and a fault nothing
//! (`forks_differ` is false, and growing is looked at only where nothing is mapped).

use super::{
    Access, Area, Backing, Error, Fault, Flags, GUEST_START, PAGE, Space, Usage,
    entry::{FOREIGN, OBJECT, SHARED},
    whole_pages,
};
use alloc::vec::Vec;
use core::ops::Range;

/// An area that grows stays so far away from what may be used below it: Linux' `stack_guard_gap`.
const GUARD: u64 = 256 * PAGE;

impl Space {
    /// Changes what the areas of a range are besides. Parts that are not mapped are skipped, and so says the result.
    ///
    /// # Errors
    /// [`Error::NotMapped`] when the rest has been changed; [`Error::Invalid`], [`Error::NoRoom`].
    pub fn advise(
        &mut self,
        start: u64,
        len: u64,
        change: impl Fn(&Area) -> Flags,
    ) -> Result<(), Error> {
        let range = whole_pages(start, len)?;
        if !self.areas.all(&range, |a| change(a) == a.flags) {
            self.areas.split(&range)?;
            self.areas.change(&range, |a| a.flags = change(a));
            self.forks_differ |= !self.areas.all(&range, |a| !a.flags.concern_fork());
        }
        if self.areas.is_full(&range) {
            Ok(())
        } else {
            Err(Error::NotMapped)
        }
    }

    /// The areas that have a part in a range, which is rounded to whole pages.
    #[must_use]
    pub fn areas_in(&self, start: u64, len: u64) -> &[Area] {
        whole_pages(start, len).map_or(&[], |range| self.areas.in_range(&range))
    }

    /// Whether a page has been brought in, and then whether it is a file's or shared memory's.
    #[must_use]
    pub fn page_in_memory(&self, page: u64) -> Option<bool> {
        match self.tables.entry(page) {
            0 => None,
            entry => Some(entry & (FOREIGN | OBJECT | SHARED) != 0),
        }
    }

    /// What of an area is in memory. Walks its pages.
    #[must_use]
    pub fn usage(&self, area: &Area) -> Usage {
        self.tables.usage(&(area.start..area.end))
    }

    /// How far a range is mapped from its start on without a hole.
    #[must_use]
    pub fn mapped_until(&self, start: u64, len: u64) -> u64 {
        let mut at = start;
        for area in self.areas_in(start, len) {
            if area.start > at {
                break;
            }
            at = area.end;
        }
        at.min(start.saturating_add(len))
    }

    /// What every new area is besides from now on (Linux' `MCL_FUTURE`).
    pub const fn set_future(&mut self, flags: Flags) {
        self.future = flags;
    }

    /// See [`set_future`](Self::set_future).
    #[must_use]
    pub const fn future(&self) -> Flags {
        self.future
    }

    /// Sets the most bytes of an area that grows.
    pub const fn set_growth_limit(&mut self, bytes: u64) {
        self.growth_limit = bytes;
    }

    /// Bytes of the areas that are kept in memory.
    #[must_use]
    pub fn locked(&self) -> u64 {
        if !self.forks_differ {
            return 0;
        }
        let locked = self.areas().filter(|a| a.flags.has(Flags::LOCKED));
        locked.map(|a| a.end - a.start).sum()
    }

    /// Makes the pages of a range usable now, up to `most` of them: as their areas allow, or as `access` says. How many
    /// bytes were looked at; a hole ends it.
    ///
    /// # Errors
    /// That of the first page that cannot be brought in.
    pub fn populate(
        &mut self,
        start: u64,
        len: u64,
        access: Option<Access>,
        most: u64,
    ) -> Result<u64, Fault> {
        let (mut at, end) = (start, start.saturating_add(len));
        let mut left = most;
        while at < end && left > 0 {
            let area = self.areas.find(at).ok_or(Fault::NotMapped)?;
            let p = area.protection;
            let shared = matches!(area.backing, Backing::Shared(_));
            let access = access.unwrap_or(match p {
                // A page that is to be written to is copied at once; a shared one need not be touched.
                p if p.write && !shared => Access::Write,
                p if p.execute && !p.read => Access::Execute,
                _ => Access::Read,
            });
            let write = access == Access::Write;
            let allowed = if write { p.write } else { p.any() };
            if !allowed {
                return Err(Fault::Denied);
            }
            let stop = end.min(area.end);
            while at < stop && left > 0 {
                if self.tables.usable(at, write).is_none() {
                    self.tables.provide(at, area, write)?;
                }
                at += PAGE;
                left -= 1;
            }
        }
        Ok(at.min(end) - start)
    }

    /// A page below an area that grows downwards becomes part of it.
    #[cold]
    pub(super) fn grow_down(&mut self, address: u64, access: Access) -> Result<(), Fault> {
        let page = address & !(PAGE - 1);
        let (area, below) = self.areas.around(page).ok_or(Fault::NotMapped)?;
        let near = |below: &Area| below.protection.any() && page - below.end < GUARD;
        let size = area.end - page;
        if !area.flags.has(Flags::GROWS_DOWN)
            || page < GUEST_START
            || size > self.growth_limit
            || below.is_some_and(near)
        {
            return Err(Fault::NotMapped);
        }
        let (more, kept) = (area.start - page, area.flags);
        self.areas.extend_down(page);
        self.fault(page, access)?;
        if kept.has(Flags::LOCKED) && !kept.has(Flags::ON_FAULT) {
            let _ = self.populate(page, more, None, u64::MAX);
        }
        Ok(())
    }

    fn ranges(&self, which: Flags) -> Vec<Range<u64>> {
        let those = self.areas().filter(|a| a.flags.has(which));
        those.map(|a| a.start..a.end).collect()
    }

    /// Makes what was to be wiped in copies read as zero: the space has become one.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn wipe(&mut self) -> Result<(), Error> {
        if self.forks_differ {
            for range in self.ranges(Flags::WIPE_ON_FORK) {
                self.tables.prepare(range.clone(), true)?;
                self.tables.clear(range, 0..0);
            }
        }
        Ok(())
    }

    /// A [copy](Self::duplicate) as `fork` makes it: what areas ask of one is done, and nothing of it is locked. `None` when
    /// there is no memory for it.
    #[must_use]
    pub fn fork(&mut self) -> Option<Self> {
        let mut copy = self.duplicate()?;
        copy.future = Flags::NONE;
        if !self.forks_differ {
            return Some(copy);
        }
        copy.wipe().ok()?;
        for range in copy.ranges(Flags::DONT_FORK) {
            copy.unmap_range(&range).ok()?;
        }
        let lock = Flags::LOCKED.with(Flags::ON_FAULT);
        for range in copy.ranges(Flags::LOCKED) {
            let unlocked = |a: &Area| a.flags.without(lock);
            copy.advise(range.start, range.end - range.start, unlocked)
                .ok()?;
        }
        Some(copy)
    }
}
