//! Page tables of a space: four levels, 4 KiB pages (Intel SDM volume 3, "4-Level Paging").
//!
//! Copies of a space share whole tables by the reference counts of their frames, and a table is copied when one of its
//! holders first changes something below it. (On-demand-fork, Zhao et al., EuroSys 2021, shares the last level so; here it
//! is every level, so that a copy costs one frame and a reference for each entry of the top level.)
//!
//! What must hold:
//! - a table that has more than one holder never changes, but for what the CPU notes in it (accessed);
//! - an entry for a table allows writing only if this space is the table's only holder, the tables above it included. The
//!   CPU allows what every level allows, so nothing below a shared table can be written to, whatever its entries say;
//! - the top level belongs to one space always.
//!
//! When an entry for a table is exchanged for its copy, one INVLPG of any page below it is due, which also empties the
//! CPU's caches of upper levels (SDM volume 3, 4.10.4.1). The TLB's other entries from the old table stay right: they name
//! the same frames, for reading only.

mod fill;
mod fold;

use super::delta::Changed;
use super::entry::{
    ADDRESS, DIRTY, FETCHED, FOREIGN, HELD, NO_EXECUTE, OBJECT, PRESENT, SHARED, USER, WRITE, bits,
    count, count_unique, differences, entries, may_write, read, release_table, set, shift, slot,
    slots, survey,
};
use super::folded::Folded;
use super::line::{Line, copy_table};
use super::{Fault, PAGE, Protection};
use crate::{PhysAddr, frame, frame::Node, phys_to_virt};
use alloc::sync::Arc;
use core::ops::Range;

/// What has to be dropped from the TLB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stale {
    pages: [u64; 16],
    /// How many pages; more than there is room for means all.
    len: usize,
}

impl Stale {
    /// The pages by address; `None` for all.
    #[inline]
    #[must_use]
    pub fn pages(&self) -> Option<&[u64]> {
        self.pages.get(..self.len)
    }

    /// Whether nothing has to be dropped.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    const fn add_all(&mut self) {
        self.len = usize::MAX;
    }

    fn add(&mut self, page: u64) {
        if let Some(slot) = self.pages.get_mut(self.len) {
            *slot = page;
            self.len += 1;
        } else {
            self.add_all();
        }
    }
}

/// What of a range is in memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Pages of the space's own: written, or copied to be.
    pub anonymous: u64,
    /// Pages of memory outside the frame allocator.
    pub file: u64,
    /// Pages of shared objects.
    pub object: u64,
    /// All of them, each divided by the number of those that have it.
    pub proportional: u64,
    /// Nobody else has them, and they differ from what is behind the mapping.
    pub private_dirty: u64,
    /// Nobody else has them, and they are as they were.
    pub private_clean: u64,
    /// Others have them too; changed.
    pub shared_dirty: u64,
    /// Others have them too; as they were.
    pub shared_clean: u64,
}

impl Usage {
    /// All that is in memory.
    #[must_use]
    pub const fn resident(&self) -> u64 {
        self.anonymous + self.file + self.object
    }
}

pub struct Tables {
    root: PhysAddr,
    stale: Stale,
    /// Frames: pages with a reference of ours, and tables; those that are shared with copies count for each.
    pages: u64,
    tables: u64,
    /// Most of both together.
    limit: u64,
    /// Frames that were ever allocated.
    taken: u64,
    /// The most that `pages` and `tables` were together.
    peak: u64,
    folded: Folded,
    /// Pages that differ from what the space shows there that this one is a copy of, in order, with a bit for each line that may
    /// differ: right for those that are [`FETCHED`] and not written to since. Others that are [`FETCHED`] do not differ.
    known: Option<Arc<[Changed]>>,
}

impl Tables {
    pub fn new(kernel_root: PhysAddr, limit: u64) -> Option<Self> {
        let root = frame::alloc_zeroed(0, Node::LOCAL)?;
        for index in 256..512 {
            set(slot(root, index), read(slot(kernel_root, index)));
        }
        Some(Self {
            root,
            stale: Stale::default(),
            pages: 0,
            tables: 1,
            limit,
            taken: 1,
            peak: 1,
            folded: Folded::default(),
            known: None,
        })
    }

    pub fn root(&self) -> PhysAddr {
        self.root
    }

    pub fn used(&self) -> u64 {
        self.pages + self.tables
    }

    pub fn resident(&self) -> u64 {
        self.pages
    }

    #[inline]
    pub fn stale(&self) -> &Stale {
        &self.stale
    }

    #[inline]
    pub fn drop_stale(&mut self) {
        self.stale.len = 0;
    }

    /// The most frames that were in use at once.
    pub fn peak(&self) -> u64 {
        self.peak.max(self.used())
    }

    /// Frames that were allocated since the tables were made, given back or not.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// From now on that is what is known of pages that are [`FETCHED`].
    pub fn know(&mut self, known: Arc<[Changed]>) {
        self.known = Some(known);
    }

    /// Nothing of what the CPU has cached is right any more.
    pub fn drop_all_cached(&mut self) {
        self.stale.add_all();
    }

    /// The lines in which a page may differ that is [`FETCHED`] and was not written to since.
    pub fn known_lines(&self, page: u64) -> u64 {
        let known = self.known.as_deref().unwrap_or_default();
        let found = known.binary_search_by_key(&page, |changed| changed.address);
        found.map_or(0, |at| known[at].kept)
    }

    /// Counts a frame against the limit.
    fn count_frame(&mut self) -> Result<(), Fault> {
        if self.used() >= self.limit {
            return Err(Fault::OutOfMemory);
        }
        self.taken += 1;
        self.peak = self.peak.max(self.used() + 1);
        Ok(())
    }

    /// A frame that counts against the limit.
    fn take_frame(&mut self, zeroed: bool) -> Result<PhysAddr, Fault> {
        self.count_frame()?;
        let frame = if zeroed {
            frame::alloc_zeroed(0, Node::LOCAL)
        } else {
            frame::alloc(0, Node::LOCAL)
        };
        frame.ok_or(Fault::OutOfMemory)
    }

    /// The slot of a page, with its tables made if they are missing and copied if they are shared.
    pub(super) fn slot_mut(&mut self, page: u64) -> Result<*mut u64, Fault> {
        let mut table = self.root;
        for level in (1..4).rev() {
            let at = slot(table, page >> shift(level));
            table = if read(at) == 0 {
                let new = self.take_frame(true)?;
                self.tables += 1;
                set(at, new.0 | PRESENT | WRITE | USER);
                new
            } else {
                self.own(at, level - 1, page)?
            };
        }
        Ok(slot(table, page >> 12))
    }

    /// A slot was given a frame.
    pub(super) fn count_page(&mut self) {
        self.pages += 1;
        self.taken += 1;
    }

    /// Makes the table that an entry names this space's own; `level` is the table's. The table that the entry is in is.
    fn own(&mut self, at: *mut u64, level: u32, page: u64) -> Result<PhysAddr, Fault> {
        let entry = read(at);
        let table = PhysAddr(entry & ADDRESS);
        if entry & WRITE != 0 {
            return Ok(table);
        }
        if frame::is_unique(table) {
            // The others are gone. What its entries say of writing is from before it was shared: tables below may have
            // become shared one level further down, so each is examined when it is reached.
            for (_, below) in slots(table) {
                let entry = read(below);
                if entry & WRITE != 0 && (level > 0 || !may_write(entry)) {
                    set(below, entry & !WRITE);
                }
            }
            set(at, entry | WRITE);
            return Ok(table);
        }
        let copy = frame::alloc(0, Node::LOCAL).ok_or(Fault::OutOfMemory)?;
        self.taken += 1;
        let held = if level == 0 { HELD } else { PRESENT };
        let (from, to) = (phys_to_virt(table), phys_to_virt(copy));
        // Lines of nothing but pages of files have nothing to be counted.
        frame::with_sharer(|sharer| {
            let count = |entries: &Line| {
                for entry in entries.iter().filter(|e| **e & (held | FOREIGN) == held) {
                    sharer.share(PhysAddr(entry & ADDRESS));
                }
            };
            // SAFETY: both are tables, which are frames in the linear map; the new one is ours alone, and the other is shared: it
            // does not change.
            unsafe { copy_table(from.cast(), to.cast(), WRITE, (held, FOREIGN), count) };
        });
        set(at, copy.0 | PRESENT | WRITE | USER);
        release_table(table, level);
        self.stale.add(page);
        Ok(copy)
    }

    /// Makes every table that a change of the range needs this space's own, so that the change cannot fail. With `whole`,
    /// tables that lie in the range altogether are left as they are, since [`clear`](Self::clear) drops them.
    pub fn prepare(&mut self, range: Range<u64>, whole: bool) -> Result<(), Fault> {
        self.unfold_range(&range)?;
        self.prepare_table(self.root, 3, 0, &range, whole)
    }

    fn prepare_table(
        &mut self,
        table: PhysAddr,
        level: u32,
        base: u64,
        range: &Range<u64>,
        whole: bool,
    ) -> Result<(), Fault> {
        for (start, at) in entries(table, level, base, range) {
            let inside = range.start <= start && start + (1 << shift(level)) <= range.end;
            if whole && inside {
                continue;
            }
            let child = self.own(at, level - 1, start)?;
            if level > 1 {
                self.prepare_table(child, level - 1, start, range, whole)?;
            }
        }
        Ok(())
    }

    /// The entry of a page, 0 when there is none, and the rights that the tables above it leave, with where the linear map
    /// begins: asked for once, because every byte that a system call moves takes this way.
    #[inline]
    fn walk(&self, page: u64) -> (u64, u64, *mut u8) {
        let linear = phys_to_virt(PhysAddr(0));
        let entry_of = |table: u64, n: u64| {
            // The address is that of `slot`.
            read(linear.wrapping_add((table + (n % 512) * 8) as usize).cast())
        };
        let mut table = self.root.0;
        let mut rights = WRITE;
        for level in (1..4).rev() {
            let entry = entry_of(table, page >> shift(level));
            if entry == 0 {
                return (0, 0, linear);
            }
            rights &= entry;
            table = entry & ADDRESS;
        }
        (entry_of(table, page >> 12), rights, linear)
    }

    /// The table of the last level that a page is in.
    fn last_table(&self, page: u64) -> Option<PhysAddr> {
        let mut table = self.root;
        for level in (1..4).rev() {
            let entry = read(slot(table, page >> shift(level)));
            table = PhysAddr(entry & ADDRESS);
            if entry == 0 {
                return None;
            }
        }
        Some(table)
    }

    /// What of a range is in memory.
    pub fn usage(&self, range: &Range<u64>) -> Usage {
        let mut usage = Usage::default();
        survey(self.root, 3, 0, range, 1, &mut |_, entry, holders| {
            // An object holds its pages itself.
            let (part, holders) = match entry & (FOREIGN | OBJECT | SHARED) {
                0 => (&mut usage.anonymous, holders),
                FOREIGN => (&mut usage.file, holders),
                _ => (&mut usage.object, (holders - 1).max(1)),
            };
            *part += PAGE;
            usage.proportional += PAGE / holders;
            let dirty = entry & (FOREIGN | OBJECT) == 0;
            match (holders, dirty) {
                (1, true) => usage.private_dirty += PAGE,
                (1, false) => usage.private_clean += PAGE,
                (_, true) => usage.shared_dirty += PAGE,
                (_, false) => usage.shared_clean += PAGE,
            }
        });
        usage
    }

    /// The entry of a page; 0 when there is none.
    #[inline]
    pub fn entry(&self, page: u64) -> u64 {
        self.walk(page).0
    }

    /// Where the page of an address is in the linear map, if the guest could use it so right now. One that is [`FETCHED`] has to be
    /// provided before it is written to.
    #[inline]
    pub fn usable(&self, address: u64, write: bool) -> Option<*mut u8> {
        let (entry, rights, linear) = self.walk(address);
        let writable = || rights & WRITE != 0 && entry & (WRITE | FETCHED) == WRITE;
        let allowed = entry & PRESENT != 0 && (!write || writable());
        allowed.then(|| linear.wrapping_add((entry & ADDRESS) as usize))
    }

    /// Writes a word as a program does: where the tables allow it, and noted as the CPU notes it. Whether they did.
    #[cfg(test)]
    pub fn write_as_cpu(&mut self, address: u64, value: u64) -> bool {
        let (entry, rights, linear) = self.walk(address);
        if entry & PRESENT == 0 || rights & entry & WRITE == 0 {
            return false;
        }
        let Some(table) = self.last_table(address) else {
            return false;
        };
        set(slot(table, address >> 12), entry | DIRTY);
        let to = (entry & ADDRESS) + ((address % PAGE) & !7);
        // SAFETY: within a frame of memory in the linear map, to which no reference exists.
        unsafe { linear.wrapping_add(to as usize).cast::<u64>().write(value) };
        true
    }

    /// Gives up the frame of an entry.
    fn drop_frame(&mut self, entry: u64) {
        if entry & FOREIGN == 0 {
            // SAFETY: the entry held a reference, and nothing uses the frame through it any more: the space is not
            // entered before its TLB entry is dropped.
            unsafe { frame::release(PhysAddr(entry & ADDRESS)) };
            self.pages -= 1;
        }
    }

    /// Calls `f` for every entry of a range that holds a frame. Its tables are our own.
    fn visit(&mut self, range: Range<u64>, f: &mut impl FnMut(&mut Self, u64, *mut u64)) {
        self.visit_table(self.root, 3, 0, &range, f);
    }

    fn visit_table(
        &mut self,
        table: PhysAddr,
        level: u32,
        base: u64,
        range: &Range<u64>,
        f: &mut impl FnMut(&mut Self, u64, *mut u64),
    ) {
        for (start, at) in entries(table, level, base, range) {
            if level == 0 {
                f(self, start, at);
            } else {
                let child = PhysAddr(read(at) & ADDRESS);
                self.visit_table(child, level - 1, start, range, f);
            }
        }
    }

    /// Empties a range that was [prepared](Self::prepare), and frees the tables that lie in `hole` altogether.
    pub fn clear(&mut self, range: Range<u64>, hole: Range<u64>) {
        self.clear_table(self.root, 3, 0, &range);
        if hole.start < hole.end {
            self.free_tables(self.root, 3, 0, &range, &hole);
        }
    }

    /// Empties the slots of a range that was [prepared](Self::prepare) that show pages of an object or of a file.
    pub fn clear_shown(&mut self, range: Range<u64>) {
        self.visit(range, &mut |tables, page, at| {
            let entry = read(at);
            if entry & (OBJECT | FOREIGN) != 0 {
                set(at, 0);
                tables.drop_frame(entry);
                tables.stale.add(page);
            }
        });
    }

    fn clear_table(&mut self, table: PhysAddr, level: u32, base: u64, range: &Range<u64>) {
        for (start, at) in entries(table, level, base, range) {
            let entry = read(at);
            if level == 0 {
                set(at, 0);
                self.drop_frame(entry);
                if entry & PRESENT != 0 {
                    self.stale.add(start);
                }
            } else if entry & WRITE == 0 {
                // Shared, or was: all of it lies in the range, or it would have been made our own.
                let table = PhysAddr(entry & ADDRESS);
                let (pages, tables) = count(table, level - 1);
                self.pages -= pages;
                self.tables -= tables;
                set(at, 0);
                release_table(table, level - 1);
                self.stale.add_all();
            } else {
                self.clear_table(PhysAddr(entry & ADDRESS), level - 1, start, range);
            }
        }
    }

    fn free_tables(
        &mut self,
        table: PhysAddr,
        level: u32,
        base: u64,
        range: &Range<u64>,
        hole: &Range<u64>,
    ) {
        for (start, at) in entries(table, level, base, range) {
            let entry = read(at);
            let child = PhysAddr(entry & ADDRESS);
            if level > 1 {
                self.free_tables(child, level - 1, start, range, hole);
            }
            if hole.start <= start && start + (1 << shift(level)) <= hole.end {
                set(at, 0);
                // SAFETY: an empty table of ours; the CPU may have cached it until everything is dropped.
                unsafe { frame::free(child, 0) };
                self.tables -= 1;
                self.stale.add_all();
            }
        }
    }

    /// How far into a range a change comes that looks at `most` entries, in whole tables of the last level; `None` for all
    /// of it.
    pub fn reach(&self, range: &Range<u64>, most: u64) -> Option<u64> {
        let mut left = most;
        self.reach_table(self.root, 3, 0, range, &mut left)
            .filter(|end| *end < range.end)
    }

    fn reach_table(
        &self,
        table: PhysAddr,
        level: u32,
        base: u64,
        range: &Range<u64>,
        left: &mut u64,
    ) -> Option<u64> {
        let size = 1u64 << shift(level);
        let first = (range.start.max(base) - base) / size;
        for index in first..512 {
            let start = base + index * size;
            if start >= range.end || start >= 1 << 47 {
                break;
            }
            let entry = read(slot(table, index));
            if entry == 0 {
                continue;
            }
            let child = PhysAddr(entry & ADDRESS);
            if level > 1 {
                if let Some(end) = self.reach_table(child, level - 1, start, range, left) {
                    return Some(end);
                }
                continue;
            }
            // Looking at an entry costs a small part of changing it.
            let held = (0..512).filter(|i| read(slot(child, *i)) != 0).count() as u64;
            *left = left.saturating_sub(held + 32);
            if *left == 0 {
                return Some(start + size);
            }
        }
        None
    }

    /// Gives up about `left` pages and tables, which it counts down; true when only the top level is left. The space is not
    /// entered any more.
    pub fn release_part(&mut self, left: &mut u64) -> bool {
        let all = self.release_entries(self.root, 3, left);
        if all {
            // Those that others held too were not looked at.
            (self.pages, self.tables) = (0, 1);
        }
        all
    }

    fn release_entries(&mut self, table: PhysAddr, level: u32, left: &mut u64) -> bool {
        for index in 0..if level == 3 { 256 } else { 512 } {
            let at = slot(table, index);
            let entry = read(at);
            if entry == 0 {
                continue;
            }
            if *left == 0 {
                return false;
            }
            let child = PhysAddr(entry & ADDRESS);
            if level == 0 {
                set(at, 0);
                if entry & HELD != 0 {
                    self.drop_frame(entry);
                }
            } else {
                // The last reference stays ours until the table is empty.
                if frame::unref(child) {
                    if !self.release_entries(child, level - 1, left) {
                        return false;
                    }
                    // SAFETY: an empty table that nobody else has, of a space that is not entered.
                    unsafe { frame::free(child, 0) };
                    self.tables = self.tables.saturating_sub(1);
                }
                set(at, 0);
            }
            *left = left.saturating_sub(1);
        }
        true
    }

    /// Gives the pages of a range that was [prepared](Self::prepare) the rights of a protection.
    pub fn protect(&mut self, range: Range<u64>, protection: Protection) {
        self.visit(range, &mut |tables, page, at| {
            let old = read(at);
            // Whether writing is possible at once is worth asking only where it is allowed.
            let alone = protection.write && may_write(old);
            let kept = ADDRESS | FOREIGN | SHARED | OBJECT | DIRTY | FETCHED;
            let new = old & kept | bits(protection, alone);
            set(at, new);
            if old & PRESENT != 0 && (old ^ new) & (PRESENT | WRITE | NO_EXECUTE) != 0 {
                tables.stale.add(page);
            }
        });
    }

    /// Whether pages of a range that was [prepared](Self::prepare) were written to since this was last asked.
    pub fn take_dirty(&mut self, range: Range<u64>) -> bool {
        let mut dirty = false;
        self.visit(range, &mut |tables, page, at| {
            let entry = read(at);
            if entry & DIRTY != 0 {
                dirty = true;
                set(at, entry & !DIRTY);
                tables.stale.add(page);
            }
        });
        dirty
    }

    /// Moves the pages of a range to `to`, where nothing is. Their protection stays.
    pub fn carry(&mut self, range: Range<u64>, to: u64) -> Result<(), Fault> {
        self.prepare(range.clone(), false)?;
        let mut result = Ok(());
        let start = range.start;
        self.visit(range, &mut |tables, page, at| {
            if result.is_err() {
                return;
            }
            match tables.slot_mut(to + (page - start)) {
                Ok(new) => {
                    let entry = read(at);
                    // What it was fetched for was the old place.
                    set(new, entry & !FETCHED);
                    set(at, 0);
                    if entry & PRESENT != 0 {
                        tables.stale.add(page);
                    }
                }
                Err(fault) => result = Err(fault),
            }
        });
        result
    }

    /// Tables of a copy: everything shared, nothing writable on either side until it is copied.
    pub fn duplicate(&mut self) -> Option<Self> {
        self.unfold_all().ok()?;
        let copy = self.copy()?;
        for index in 0..256 {
            let at = slot(self.root, index);
            let entry = read(at);
            if entry & WRITE != 0 {
                set(at, entry & !WRITE);
                self.stale.add_all();
            }
        }
        Some(copy)
    }

    /// As [`duplicate`](Self::duplicate), of tables that nobody enters or changes: those of a copy that was not used.
    pub fn copy(&self) -> Option<Self> {
        let root = frame::alloc(0, Node::LOCAL)?;
        for ((index, from), (_, to)) in slots(self.root).zip(slots(root)) {
            let mut entry = read(from);
            if index < 256 && entry != 0 {
                frame::share(PhysAddr(entry & ADDRESS));
                entry &= !WRITE;
            }
            set(to, entry);
        }
        Some(Self {
            root,
            stale: Stale::default(),
            pages: self.pages,
            tables: self.tables,
            limit: self.limit,
            taken: 1,
            peak: self.used(),
            folded: Folded::default(),
            known: None,
        })
    }

    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Frames that nobody else holds.
    pub fn unique(&self) -> u64 {
        let below = |index| {
            let entry = read(slot(self.root, index));
            if entry == 0 {
                0
            } else {
                count_unique(PhysAddr(entry & ADDRESS), 2)
            }
        };
        1 + (0..256).map(below).sum::<u64>()
    }

    /// Frames that `other` does not hold at the same place: pages, and tables, the top level counted.
    pub fn beyond(&self, other: &Self) -> u64 {
        let mut frames = 1;
        differences(self.root, Some(other.root), 3, 0, &mut |level, _, entry| {
            frames += u64::from(level > 0 || entry & FOREIGN == 0);
        });
        frames
    }

    /// Calls `f` with every page whose frame is not the one that `other` has there, and with its entry.
    pub fn differences(&self, other: &Self, f: &mut impl FnMut(u64, u64)) {
        differences(
            self.root,
            Some(other.root),
            3,
            0,
            &mut |level, page, entry| {
                if level == 0 {
                    f(page, entry);
                }
            },
        );
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        for index in 0..256 {
            let entry = read(slot(self.root, index));
            if entry != 0 {
                release_table(PhysAddr(entry & ADDRESS), 2);
            }
        }
        // SAFETY: whoever ran the space has left it; the tables below are given up.
        unsafe { frame::free(self.root, 0) };
    }
}
