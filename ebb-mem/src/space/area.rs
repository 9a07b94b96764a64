//! What may be where: areas sorted by address, without overlaps, shared between copies of a space until one changes.

use super::{Error, GUEST_START, Shared};
use crate::PhysAddr;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

/// The most areas of a space; what Linux allows by default (`vm.max_map_count`).
const MAX_AREAS: usize = 65530;

/// What may be done with an area. Whatever may be written or executed may be read: the CPU knows no other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Protection {
    pub read: bool,
    pub write: bool,
    pub execute: bool,
}

impl Protection {
    /// Nothing allowed.
    pub const NONE: Self = Self {
        read: false,
        write: false,
        execute: false,
    };
    /// Reading.
    pub const READ: Self = Self {
        read: true,
        ..Self::NONE
    };
    /// Reading and writing.
    pub const WRITE: Self = Self {
        write: true,
        ..Self::READ
    };
    /// Reading and executing.
    pub const EXECUTE: Self = Self {
        execute: true,
        ..Self::READ
    };

    /// Whether anything is allowed.
    #[must_use]
    pub const fn any(self) -> bool {
        self.read || self.write || self.execute
    }
}

/// What the pages of an area hold before they are written to.
#[derive(Clone, Debug)]
pub enum Backing {
    /// Zeroes.
    Anonymous,
    /// Memory outside the frame allocator that never changes: a file of the boot archive. It begins on a frame, and its
    /// last frame is filled up with zeroes.
    Image {
        /// First byte.
        start: PhysAddr,
        /// Length in bytes.
        len: u64,
    },
    /// Pages that others map too: a write is seen by all.
    Shared(Arc<Shared>),
    /// Pages of an object that this mapping copies before it writes to them; until then it sees what others write.
    Private(Arc<Shared>),
}

impl Backing {
    /// The object that it shows.
    #[must_use]
    pub const fn object(&self) -> Option<&Arc<Shared>> {
        match self {
            Self::Shared(object) | Self::Private(object) => Some(object),
            Self::Anonymous | Self::Image { .. } => None,
        }
    }
}

impl PartialEq for Backing {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anonymous, Self::Anonymous) => true,
            (Self::Image { start: a, len: b }, Self::Image { start: c, len: d }) => {
                (a, b) == (c, d)
            }
            (Self::Shared(a), Self::Shared(b)) | (Self::Private(a), Self::Private(b)) => {
                Arc::ptr_eq(a, b)
            }
            _ => false,
        }
    }
}

impl Eq for Backing {}

/// What an area is besides: a set of the bits below (Linux' `VM_*`), and a mark of the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(u32);

impl Flags {
    /// Nothing special.
    pub const NONE: Self = Self(0);
    /// Its pages are kept in memory.
    pub const LOCKED: Self = Self(1);
    /// They are kept from their first use on, rather than brought in at once.
    pub const ON_FAULT: Self = Self(1 << 1);
    /// A forked copy finds zeroes.
    pub const WIPE_ON_FORK: Self = Self(1 << 2);
    /// A forked copy does not have it.
    pub const DONT_FORK: Self = Self(1 << 3);
    /// It grows downwards when the page below it is touched.
    pub const GROWS_DOWN: Self = Self(1 << 4);
    /// It never becomes writable: what is behind it may not be written to.
    pub const NEVER_WRITE: Self = Self(1 << 5);
    /// It stays out of core files.
    pub const DONT_DUMP: Self = Self(1 << 6);
    /// Its use is sequential, so it is said.
    pub const SEQUENTIAL: Self = Self(1 << 7);
    /// Its use is random, so it is said.
    pub const RANDOM: Self = Self(1 << 8);
    /// Huge pages are wanted.
    pub const HUGE: Self = Self(1 << 9);
    /// Huge pages are not wanted.
    pub const NOT_HUGE: Self = Self(1 << 10);
    /// Equal pages may be merged.
    pub const MERGEABLE: Self = Self(1 << 11);
    /// It was asked for as a shared mapping of what does not change.
    pub const SHOWN_SHARED: Self = Self(1 << 12);

    /// Where the mark begins.
    const MARK: u32 = 16;

    /// The caller's mark; 0 unless it has set one.
    #[must_use]
    pub const fn mark(self) -> u16 {
        (self.0 >> Self::MARK) as u16
    }

    /// The same with another mark.
    #[must_use]
    pub const fn marked(self, mark: u16) -> Self {
        Self(self.0 & 0xffff | (mark as u32) << Self::MARK)
    }

    /// As a number.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From a number.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Whether all of these are among them.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without these.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether a forked copy is not to have the area as it is.
    pub(super) const fn concern_fork(self) -> bool {
        let those = Self::LOCKED.0 | Self::ON_FAULT.0 | Self::WIPE_ON_FORK.0 | Self::DONT_FORK.0;
        self.0 & those != 0
    }
}

/// A range of pages of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// What is allowed.
    pub protection: Protection,
    /// What it holds.
    pub backing: Backing,
    /// Where in the backing it begins.
    pub offset: u64,
    /// The caller's.
    pub note: u32,
    /// What it is besides.
    pub flags: Flags,
}

impl Area {
    /// Whether it shows memory outside the frame allocator that begins here.
    pub(super) fn shows_image(&self, from: PhysAddr) -> bool {
        matches!(self.backing, Backing::Image { start, .. } if start == from)
    }

    fn continues(&self, next: &Area) -> bool {
        self.end == next.start
            && self.protection == next.protection
            && self.backing == next.backing
            && self.note == next.note
            && self.flags == next.flags
            && (self.backing == Backing::Anonymous
                || self.offset + (self.end - self.start) == next.offset)
    }
}

#[derive(Clone, Default)]
pub struct Areas {
    list: Arc<Vec<Area>>,
    /// Bytes of all, and the most that there were at once.
    total: u64,
    peak: u64,
}

impl Areas {
    /// Of a list that is sorted and without overlaps.
    pub fn from_sorted(list: Vec<Area>) -> Self {
        let total = list.iter().map(|area| area.end - area.start).sum();
        Self {
            list: Arc::new(list),
            total,
            peak: total,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Area> {
        self.list.iter()
    }

    /// Bytes of all areas, and the most that they were at once.
    pub fn total(&self) -> (u64, u64) {
        (self.total, self.peak)
    }

    /// Whether no copy of the space has the same list.
    pub fn is_unique(&self) -> bool {
        Arc::strong_count(&self.list) == 1
    }

    /// Bytes of the list.
    pub fn size(&self) -> usize {
        size_of_val(&self.list[..])
    }

    /// Index of the first area that ends above `address`.
    #[inline]
    fn position(&self, address: u64) -> usize {
        self.list.partition_point(|a| a.end <= address)
    }

    #[inline]
    pub fn find(&self, address: u64) -> Option<&Area> {
        self.list
            .get(self.position(address))
            .filter(|a| a.start <= address)
    }

    pub fn is_free(&self, range: &Range<u64>) -> bool {
        self.list
            .get(self.position(range.start))
            .is_none_or(|a| a.start >= range.end)
    }

    /// The areas of a range.
    fn within(&self, range: &Range<u64>) -> Range<usize> {
        let first = self.position(range.start);
        let last = self.list[first..].partition_point(|a| a.start < range.end);
        first..first + last
    }

    /// The areas that have a part in a range.
    pub fn in_range(&self, range: &Range<u64>) -> &[Area] {
        &self.list[self.within(range)]
    }

    pub fn is_full(&self, range: &Range<u64>) -> bool {
        let mut at = range.start;
        for area in &self.list[self.within(range)] {
            if area.start > at {
                return false;
            }
            at = area.end;
        }
        at >= range.end
    }

    pub fn all(&self, range: &Range<u64>, test: impl Fn(&Area) -> bool) -> bool {
        self.list[self.within(range)].iter().all(test)
    }

    /// The highest gap of `len` bytes below `top`.
    pub fn gap(&self, len: u64, top: u64) -> Option<u64> {
        let mut end = top;
        for area in self.list.iter().rev() {
            if area.start >= end {
                continue;
            }
            if area.end <= end && end - area.end >= len {
                return Some(end - len);
            }
            end = area.start;
        }
        (end >= GUEST_START && end - GUEST_START >= len).then(|| end - len)
    }

    /// The lowest gap of `len` bytes from `from` on, and below `end`, that begins at a multiple of `align`.
    pub fn low_gap(&self, len: u64, from: u64, align: u64, end: u64) -> Option<u64> {
        let mut start = from.next_multiple_of(align);
        for area in &self.list[self.position(start)..] {
            if area.start >= start && area.start - start >= len {
                break;
            }
            start = start.max(area.end.next_multiple_of(align));
        }
        (end.checked_sub(start)? >= len).then_some(start)
    }

    /// Whether an area lies within `reach` bytes of an address.
    pub fn is_near(&self, address: u64, reach: u64) -> bool {
        let from = address.saturating_sub(reach);
        self.list
            .get(self.position(from))
            .is_some_and(|a| a.start <= address.saturating_add(reach))
    }

    /// What is free around a range that is free itself.
    pub fn hole_around(&self, range: &Range<u64>) -> Range<u64> {
        let next = self.position(range.start);
        let start = next.checked_sub(1).map_or(0, |i| self.list[i].end);
        let end = self.list.get(next).map_or(1 << 47, |a| a.start);
        start..end
    }

    /// The first area above an address that is in none, and the one below.
    pub fn around(&self, address: u64) -> Option<(&Area, Option<&Area>)> {
        let next = self.position(address);
        let area = self.list.get(next).filter(|a| a.start > address)?;
        Some((area, next.checked_sub(1).map(|i| &self.list[i])))
    }

    /// Makes the first area above an address begin there.
    pub fn extend_down(&mut self, address: u64) {
        let next = self.position(address);
        if let Some(area) = Arc::make_mut(&mut self.list).get_mut(next) {
            let more = area.start - address;
            area.start = address;
            self.grown(more);
        }
    }

    /// Adds an area where nothing is, joined to its neighbours when it continues them.
    pub fn insert(&mut self, area: Area) -> Result<(), Error> {
        let len = area.end - area.start;
        let list = Arc::make_mut(&mut self.list);
        let at = list.partition_point(|a| a.end <= area.start);
        let before = at > 0 && list[at - 1].continues(&area);
        let after = list.get(at).is_some_and(|next| area.continues(next));
        match (before, after) {
            (true, true) => {
                list[at - 1].end = list[at].end;
                list.remove(at);
            }
            (true, false) => list[at - 1].end = area.end,
            (false, true) => {
                list[at].start = area.start;
                list[at].offset = area.offset;
            }
            (false, false) => {
                if list.len() >= MAX_AREAS {
                    return Err(Error::NoRoom);
                }
                list.insert(at, area);
            }
        }
        self.grown(len);
        Ok(())
    }

    fn grown(&mut self, len: u64) {
        self.total += len;
        self.peak = self.peak.max(self.total);
    }

    /// Makes areas begin and end where the range does.
    pub fn split(&mut self, range: &Range<u64>) -> Result<(), Error> {
        if self.list.len() + 2 > MAX_AREAS {
            return Err(Error::NoRoom);
        }
        let list = Arc::make_mut(&mut self.list);
        for at in [range.start, range.end] {
            let i = list.partition_point(|a| a.end <= at);
            if let Some(area) = list.get_mut(i)
                && area.start < at
            {
                let mut tail = area.clone();
                tail.offset += at - area.start;
                tail.start = at;
                area.end = at;
                list.insert(i + 1, tail);
            }
        }
        Ok(())
    }

    /// Gives areas another backing; those for which `f` has none keep theirs.
    pub fn exchange(&mut self, f: impl Fn(&Area) -> Option<Backing>) {
        if self.list.iter().all(|a| f(a).is_none()) {
            return;
        }
        for area in Arc::make_mut(&mut self.list) {
            if let Some(backing) = f(area) {
                area.backing = backing;
            }
        }
    }

    /// Removes the areas of a range that was split.
    pub fn remove(&mut self, range: &Range<u64>) {
        let within = self.within(range);
        let gone = Arc::make_mut(&mut self.list).drain(within);
        self.total -= gone.map(|a| a.end - a.start).sum::<u64>();
    }

    /// Changes the areas of a range that was split, and joins what now fits.
    pub fn change(&mut self, range: &Range<u64>, f: impl Fn(&mut Area)) {
        let within = self.within(range);
        let list = Arc::make_mut(&mut self.list);
        list[within.clone()].iter_mut().for_each(f);
        let first = within.start.saturating_sub(1);
        let mut last = within.end.min(list.len() - 1);
        let mut i = first;
        while i < last {
            let (left, right) = list.split_at_mut(i + 1);
            if left[i].continues(&right[0]) {
                left[i].end = right[0].end;
                list.remove(i + 1);
                last -= 1;
            } else {
                i += 1;
            }
        }
    }
}

/// Where the page of a file lies that an area would show; `None` for one that would be zeroes.
pub(super) fn file_page(area: &Area, page: u64) -> Option<PhysAddr> {
    let offset = area.offset + (page - area.start);
    match &area.backing {
        Backing::Image { start, len } => (offset < *len).then(|| start.offset(offset)),
        Backing::Private(object) => object.frame_of(offset / super::PAGE),
        Backing::Anonymous | Backing::Shared(_) => None,
    }
}
