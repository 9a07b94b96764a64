//! Pages of a space at rest, folded: of a page that differs in a few lines from what the space began as a copy of, only these lines
//! are kept. An idle program then takes a fraction of its memory, and what it uses in every call stays as it is.
//!
//! The frames that a page is compared with are those of a frozen space, or of the boot archive: they never change, and whoever has
//! folded a page against one has a reference to it.
//!
//! What must hold:
//! - the entry of a folded page is 0, and the table that it is in is this space's own. So the CPU faults, `usable` does not find
//!   it, and whoever fills an empty entry asks for a folded page first (`provide`, `fetch`, `fill_from`);
//! - whoever changes a range ([`Tables::prepare`]), copies a space or compares it with another one unfolds before.

use super::super::area::{Area, Areas, file_page};
use super::super::entry::{
    ACCESSED, ADDRESS, DIRTY, FETCHED, FOREIGN, HELD, NO_EXECUTE, OBJECT, PRESENT, SHARED, USER,
    WRITE, bits, exclusive, frame_of, read, set, shift, slot, unlike,
};
use super::super::folded::{Folded, FoldedPage, Use, release};
use super::super::line::{Line, ZEROES, copy_page, lines_in_use, ones, unlike_lines};
use super::super::lines::content;
use super::super::spares::{Spares, Taking};
use super::super::wide::Vectors;
use super::super::{Backing, Fault, Flags};
use super::Tables;
use crate::{PhysAddr, frame, phys_to_virt};
use alloc::vec::Vec;
use core::ops::Range;

/// A page that differs in more lines stays as it is: 2 KiB.
const MOST: u32 = 32;

/// An entry of this space's own that is not what the other space has there.
struct Own {
    page: u64,
    at: *mut u64,
    theirs: u64,
}

/// How an entry's page was used; the CPU notes it anew from now on.
fn take_use(own: &Own) -> Use {
    let entry = read(own.at);
    let mut new = entry & !(ACCESSED | DIRTY);
    if entry & DIRTY != 0 {
        // Without that it would be said to be what it was when this was known.
        new &= !FETCHED;
    }
    set(own.at, new);
    match (entry & ACCESSED, entry & DIRTY) {
        (0, _) => Use::None,
        (_, 0) => Use::Read,
        _ => Use::Written,
    }
}

/// Adds the entries of tables that this space alone has; `None` when there is no memory for the list.
fn own_entries(
    table: PhysAddr,
    other: Option<PhysAddr>,
    level: u32,
    base: u64,
    vectors: Vectors,
    list: &mut Vec<Own>,
) -> Option<()> {
    unlike(Some(table), other, level, vectors, |index, ours, theirs| {
        let page = base + (index << shift(level));
        if level > 0 {
            let below = (theirs != 0).then(|| frame_of(theirs));
            return match ours & WRITE {
                0 => Some(()),
                _ => own_entries(frame_of(ours), below, level - 1, page, vectors, list),
            };
        }
        if ours & (HELD | FOREIGN | OBJECT | SHARED) == HELD && exclusive(ours) {
            list.try_reserve(1).ok()?;
            let at = slot(table, index);
            list.push(Own { page, at, theirs });
        }
        Some(())
    })
}

impl Tables {
    fn own_pages(&self, from: &Self, vectors: Vectors) -> Vec<Own> {
        let mut list = Vec::new();
        // Without memory for all of them, those that there was memory for.
        let _ = own_entries(self.root(), Some(from.root()), 3, 0, vectors, &mut list);
        list
    }

    /// The pages of its own that were used since this was asked the last time, by address, and whether they were written to.
    pub fn take_used(&mut self, from: &Self) -> Vec<(u64, bool)> {
        let mut used = Vec::new();
        for own in self.own_pages(from, Vectors::BASELINE) {
            match take_use(&own) {
                Use::None => {}
                how => used.push((own.page, how == Use::Written)),
            }
        }
        self.stale.add_all();
        used
    }

    /// Folds what is not used any more: `use_of` is asked with a page, and how it was used since this was done the last time. Pages
    /// that are what they were and are not written to are shared again. With `expected` those that are folded now are in use.
    pub fn fold(
        &mut self,
        areas: &Areas,
        (from, vectors): (&Self, Vectors),
        expected: bool,
        use_of: impl Fn(u64, Use) -> Use,
    ) {
        let own = self.own_pages(from, vectors);
        let mut known: Option<&Area> = None;
        let Some(mut folded) = self.folded.compacted() else {
            return;
        };
        for own in own {
            let is_known = read(own.at) & (FETCHED | DIRTY) == FETCHED;
            let how = use_of(own.page, take_use(&own));
            if !known.is_some_and(|area| (area.start..area.end).contains(&own.page)) {
                known = areas.find(own.page);
            }
            let Some(area) = known else {
                continue;
            };
            let may_change = matches!(area.backing, Backing::Private(_) | Backing::Shared(_));
            if how == Use::Written
                || may_change
                || area.flags.has(Flags::LOCKED)
                || own.theirs & (OBJECT | SHARED) != 0
            {
                continue;
            }
            let before = match own.theirs {
                0 => file_page(area, own.page).map_or(0, |file| file.0 | FOREIGN),
                theirs => theirs & (ADDRESS | FOREIGN),
            };
            // SAFETY: a frame of this space's own, which is borrowed and does not run.
            let now = unsafe { content(frame_of(read(own.at))) };
            let kept = match before {
                _ if is_known => self.known_lines(own.page),
                0 => lines_in_use(now, vectors),
                // SAFETY: a frame of the frozen space, which is borrowed, or of the boot archive: such never change.
                before => unlike_lines(now, unsafe { content(frame_of(before)) }, vectors),
            };
            // Generated code that moves to another frame is translated anew by an emulator, which takes longer than all else.
            let moves_code = expected && area.protection.execute;
            let most = match how {
                Use::None if !moves_code => MOST,
                _ => 0,
            };
            if kept.count_ones() <= most {
                self.fold_page(&own, (before, kept, expected), &mut folded, vectors);
            }
        }
        folded.sort();
        self.folded = folded;
        self.stale.add_all();
    }

    /// Folds a page to these lines, or shares it again when it has none.
    fn fold_page(
        &mut self,
        own: &Own,
        (before, kept, expected): (u64, u64, bool),
        folded: &mut Folded,
        vectors: Vectors,
    ) {
        let entry = read(own.at);
        // SAFETY: a frame of this space's own, which is borrowed and does not run; it is given up at the end, when its lines are
        // copied.
        let now = unsafe { content(frame_of(entry)) };
        if kept == 0 && expected && folded.shared_again.try_reserve(1).is_ok() {
            folded.shared_again.push(own.page);
        }
        let counted = before != 0 && before & FOREIGN == 0;
        if kept != 0 {
            let page = FoldedPage {
                address: own.page,
                kept,
                first: 0,
                rights: entry & !(ADDRESS | ACCESSED | DIRTY | FETCHED),
                expected,
                before,
            };
            if !folded.add(page, |lines| lines.keep(now, kept, vectors)) {
                return;
            }
            set(own.at, 0);
        } else if own.theirs == 0 {
            // As its fault would make it.
            set(own.at, 0);
            self.drop_frame(entry);
            return;
        } else {
            set(
                own.at,
                before | entry & (PRESENT | USER | NO_EXECUTE | HELD),
            );
            self.pages += u64::from(counted);
        }
        if counted {
            frame::share(frame_of(before));
        }
        self.drop_frame(entry);
    }

    /// Makes a folded page what it was; whether it was folded.
    pub(super) fn unfold(&mut self, page: u64) -> Result<bool, Fault> {
        if self.folded.is_empty() {
            return Ok(false);
        }
        match self.folded.position(page) {
            Some(index) => {
                let at = self.slot_mut(page)?;
                self.unfold_at(index, at, None).map(|()| true)
            }
            None => Ok(false),
        }
    }

    /// Makes the folded page of that number, whose slot is given, what it was: of a copy of what it differs from where one is there to be taken.
    #[inline(never)]
    fn unfold_at(
        &mut self,
        index: usize,
        at: *mut u64,
        spares: Option<&mut Taking<'_>>,
    ) -> Result<(), Fault> {
        let FoldedPage {
            address, before, ..
        } = self.folded.pages[index];
        let frame = match spares.and_then(|spares| spares.take(address, frame_of(before))) {
            Some(copy) => self.count_spare(copy)?,
            None => {
                let frame = self.take_frame(false)?;
                let from = match before {
                    0 => (&raw const ZEROES).cast(),
                    before => phys_to_virt(frame_of(before)).cast_const(),
                };
                // SAFETY: both are whole frames or as large, and the new one is ours alone.
                unsafe { copy_page(from, phys_to_virt(frame)) };
                frame
            }
        };
        let folded = &mut self.folded.pages[index];
        let to = phys_to_virt(frame);
        let lines = self.folded.lines.from(folded.first);
        for (number, line) in ones(folded.kept).zip(lines) {
            // SAFETY: a line of the new frame, to which no reference exists.
            unsafe { to.cast::<Line>().add(number).write(*line) };
        }
        set(at, frame.0 | folded.rights | ACCESSED);
        self.pages += 1;
        release(folded.before);
        (folded.kept, folded.before) = (0, 0);
        self.folded.left -= 1;
        if self.folded.is_empty() {
            self.folded = Folded::default();
        }
        Ok(())
    }

    /// Counts a copy that was made ahead; gives it up when it may not be had.
    fn count_spare(&mut self, copy: PhysAddr) -> Result<PhysAddr, Fault> {
        let counted = self.count_frame();
        if counted.is_err() {
            // SAFETY: it is ours alone, and not in use.
            unsafe { frame::release(copy) };
        }
        counted.map(|()| copy)
    }

    /// Unfolds the pages of a range.
    pub(super) fn unfold_range(&mut self, range: &Range<u64>) -> Result<(), Fault> {
        if self.folded.is_empty() {
            return Ok(());
        }
        let pages = &self.folded.pages;
        let first = pages.partition_point(|page| page.address < range.start);
        let end = pages.partition_point(|page| page.address < range.end);
        for index in first..end {
            // The lists go with the last one.
            let page = self.folded.pages.get(index);
            if let Some(page) = page.filter(|page| page.kept != 0) {
                let at = self.slot_mut(page.address)?;
                self.unfold_at(index, at, None)?;
            }
        }
        Ok(())
    }

    /// Gives back the pages that were in use when they were folded or shared again, as far as there is memory.
    pub fn unfold_expected(&mut self, areas: &Areas, spares: Option<&Spares>) {
        let mut taking = spares.map(Spares::taking);
        for page in core::mem::take(&mut self.folded.shared_again) {
            let area = areas.find(page).filter(|area| area.protection.write);
            if let Some(area) = area
                && self.own_again(page, area, taking.as_mut()).is_err()
            {
                return;
            }
        }
        // Pages of one table come one after the other.
        let mut table: Option<(u64, *mut u64)> = None;
        for index in 0..self.folded.pages.len() {
            let page = self.folded.pages.get(index);
            let Some(page) = page.filter(|page| page.kept != 0 && page.expected) else {
                continue;
            };
            let address = page.address;
            let number = address >> shift(1);
            let first = match table {
                Some((last, first)) if last == number => first,
                _ => match self.slot_mut(number << shift(1)) {
                    Ok(first) => first,
                    Err(_) => return,
                },
            };
            table = Some((number, first));
            // Within the table, whose first slot it is.
            let at = first.wrapping_add((address >> shift(0) & 511) as usize);
            if self.unfold_at(index, at, taking.as_mut()).is_err() {
                return;
            }
        }
    }

    /// Makes a page writable that is shared with what the space began as a copy of.
    fn own_again(
        &mut self,
        page: u64,
        area: &Area,
        spares: Option<&mut Taking<'_>>,
    ) -> Result<(), Fault> {
        let at = self.slot_mut(page)?;
        let old = read(at);
        let Some(copy) = self.take_spare(old, page, spares) else {
            return self.provide(page, area, true);
        };
        self.exchange(at, copy, page, area);
        set(at, read(at) | FETCHED);
        Ok(())
    }

    /// A copy that was made ahead of the frame of an entry, if it would have to be copied to be written to.
    pub(super) fn take_spare(
        &self,
        old: u64,
        page: u64,
        spares: Option<&mut Taking<'_>>,
    ) -> Option<PhysAddr> {
        // Of one that there are spares of the list has a reference, so it is nobody's alone.
        let is_copied = old & (HELD | FOREIGN | OBJECT | SHARED) == HELD;
        spares
            .filter(|_| is_copied)
            .and_then(|spares| spares.take(page, frame_of(old)))
    }

    /// Puts a copy of a page's frame, which is this space's alone, in its place.
    pub(super) fn exchange(&mut self, at: *mut u64, copy: PhysAddr, page: u64, area: &Area) {
        // In place of the one that this space counts already.
        self.taken += 1;
        self.drop_frame(read(at));
        self.pages += 1;
        set(at, copy.0 | bits(area.protection, true));
        self.stale.add(page);
    }

    /// Unfolds all pages.
    pub fn unfold_all(&mut self) -> Result<(), Fault> {
        self.unfold_range(&(0..u64::MAX))
    }

    /// Bytes that its folded pages take.
    pub fn folded_bytes(&self) -> u64 {
        self.folded.size()
    }
}
