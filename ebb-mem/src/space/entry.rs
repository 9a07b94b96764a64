//! Entries of page tables, and tables as they lie in memory: what the bits mean, how tables are read, walked, compared and
//! given up. Nothing here belongs to a space; `table.rs` is what one does with its own.
//!
//! What must hold: a table is one frame of 512 entries, reached through the linear map, and is changed only by the one space
//! that holds it. An entry above the last level that is not 0 names a table.

use super::Protection;
use super::line::{LINES, Page, ZEROES, ones, unlike_entries, unlike_words};
use super::wide::Vectors;
use crate::{PhysAddr, frame, phys_to_virt};
use core::ops::Range;

pub(super) const PRESENT: u64 = 1;
pub(super) const WRITE: u64 = 1 << 1;
pub(super) const USER: u64 = 1 << 2;
/// Set by the CPU when the page is used.
pub(super) const ACCESSED: u64 = 1 << 5;
/// Set by the CPU when the page is written to.
pub(super) const DIRTY: u64 = 1 << 6;
/// The frame is not the allocator's and has no reference count.
pub(super) const FOREIGN: u64 = 1 << 9;
/// The frame belongs to a [`super::Shared`]: writing to it is never a reason to copy it.
pub(super) const SHARED: u64 = 1 << 11;
/// The frame belongs to a [`super::Shared`] whose later writes are to be seen here: writing to it through this mapping is
/// always a reason to copy it.
pub(super) const OBJECT: u64 = 1 << 52;
/// The frame is this space's own, and in which lines it differs from what the space shows there that this one is a copy of is
/// known (`Tables::known`), unless the entry is [`DIRTY`] as well. A page that was fetched differs in none. The kernel, whose writes
/// the CPU does not note, does not write through such an entry before it has lost this (`usable`).
pub(super) const FETCHED: u64 = 1 << 53;
/// Set in every entry that holds a frame, present or not.
pub(super) const HELD: u64 = 1 << 10;
pub(super) const NO_EXECUTE: u64 = 1 << 63;
pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The frame that an entry names.
pub(super) fn frame_of(entry: u64) -> PhysAddr {
    PhysAddr(entry & ADDRESS)
}

pub(super) fn shift(level: u32) -> u32 {
    12 + 9 * level
}

pub(super) fn slot(table: PhysAddr, index: u64) -> *mut u64 {
    // SAFETY: a table is one frame of 512 entries in the linear map; the index is masked.
    unsafe {
        phys_to_virt(table)
            .cast::<u64>()
            .add((index & 511) as usize)
    }
}

/// All slots of a table by number.
pub(super) fn slots(table: PhysAddr) -> impl Iterator<Item = (u64, *mut u64)> {
    // Looked up once: where the linear map lies is a variable.
    let first = slot(table, 0);
    // SAFETY: within the table.
    (0..512).map(move |index| (index, unsafe { first.add(index as usize) }))
}

/// In what entries are compared: in what they name and how it may be used. That is not whether it may be written to, which is
/// another matter where it is shared, nor what the CPU notes.
const COMPARED: u64 = ADDRESS | PRESENT | NO_EXECUTE;

/// Calls `f` for the entries in which two tables differ, `other`'s as zero if there is none, as long as it goes on: with the
/// number, this one's and the other's. The top level (3) has those of the guest's half. Most do not differ, so a line of them is
/// looked at once. `f` may change the bits of an entry that are not compared.
#[inline]
pub(super) fn unlike(
    table: Option<PhysAddr>,
    other: Option<PhysAddr>,
    level: u32,
    vectors: Vectors,
    mut f: impl FnMut(u64, u64, u64) -> Option<()>,
) -> Option<()> {
    // A missing table reads as zeroes.
    let page = |table: PhysAddr| phys_to_virt(table).cast::<Page>().cast_const();
    let (ours, theirs) = (
        table.map_or(&raw const ZEROES, page),
        other.map_or(&raw const ZEROES, page),
    );
    // SAFETY: a table is a frame in the linear map, as large and aligned as a page; the callers hold it, and change no entry while
    // these are in use, which is not beyond an expression. The CPU may note an access in it, which no caller looks for.
    let pages = || unsafe { (&*ours, &*theirs) };
    let lines = if level == 3 {
        (1 << (LINES / 2)) - 1
    } else {
        u64::MAX
    };
    let all = |(ours, theirs)| unlike_entries(ours, theirs, COMPARED, vectors);
    for line in ones(all(pages()) & lines) {
        let in_line = |(ours, theirs)| unlike_words(ours, theirs, line, COMPARED, vectors);
        for index in ones(in_line(pages()).into()) {
            let entry = |(ours, theirs): (&Page, &Page)| {
                (ours.0[line][index & 7], theirs.0[line][index & 7])
            };
            let (our, their) = entry(pages());
            f((line * 8 + index) as u64, our, their)?;
        }
    }
    Some(())
}

pub(super) fn read(slot: *mut u64) -> u64 {
    // SAFETY: from `slot`; the CPU may set accessed and dirty bits.
    unsafe { slot.read_volatile() }
}

pub(super) fn set(slot: *mut u64, value: u64) {
    // SAFETY: as above; only the space's owner changes its tables.
    unsafe { slot.write_volatile(value) }
}

pub(super) fn bits(protection: Protection, exclusive: bool) -> u64 {
    let mut bits = HELD | USER;
    if protection.any() {
        bits |= PRESENT;
    }
    if protection.write && exclusive {
        bits |= WRITE;
    }
    if !protection.execute {
        bits |= NO_EXECUTE;
    }
    bits
}

/// Whether nobody else holds the frame of an entry.
pub(super) fn exclusive(entry: u64) -> bool {
    entry & (FOREIGN | OBJECT) == 0 && frame::is_unique(PhysAddr(entry & ADDRESS))
}

/// Whether the frame of an entry may be written to as it is.
pub(super) fn may_write(entry: u64) -> bool {
    entry & SHARED != 0 || exclusive(entry)
}

/// Gives up a table, and what it holds if nobody else holds it.
pub(super) fn release_table(table: PhysAddr, level: u32) {
    if !frame::unref(table) {
        return;
    }
    for (_, at) in slots(table) {
        let entry = read(at);
        let child = PhysAddr(entry & ADDRESS);
        if level > 0 && entry != 0 {
            release_table(child, level - 1);
        } else if entry & HELD != 0 && entry & FOREIGN == 0 {
            // SAFETY: the entry's reference, and the table is nobody else's.
            unsafe { frame::release(child) };
        }
    }
    // SAFETY: the last reference was ours; no space that is entered again has an entry for it.
    unsafe { frame::free(table, 0) };
}

/// The entries of a table that are not empty and reach into a range: where what each maps begins, and its slot. `base` is
/// where what the table maps begins. Each entry is examined when it is reached.
pub(super) fn entries(
    table: PhysAddr,
    level: u32,
    base: u64,
    range: &Range<u64>,
) -> impl Iterator<Item = (u64, *mut u64)> + use<> {
    let size = 1u64 << shift(level);
    let first = (range.start.max(base) - base) / size;
    let end = range.end.min(1 << 47);
    slots(table)
        .skip(first as usize)
        .map(move |(index, at)| (base + index * size, at))
        .take_while(move |(start, _)| *start < end)
        .filter(|(_, at)| read(*at) != 0)
}

/// Pages and tables below a table, itself counted.
pub(super) fn count(table: PhysAddr, level: u32) -> (u64, u64) {
    let (mut pages, mut tables) = (0, 1);
    for (_, at) in slots(table) {
        let entry = read(at);
        if level > 0 && entry != 0 {
            let below = count(PhysAddr(entry & ADDRESS), level - 1);
            pages += below.0;
            tables += below.1;
        } else if entry & HELD != 0 && entry & FOREIGN == 0 {
            pages += 1;
        }
    }
    (pages, tables)
}

/// Calls `f` for every entry of a range below a table that holds a frame: with the page, the entry, and how many have the
/// page, as far as references tell.
pub(super) fn survey(
    table: PhysAddr,
    level: u32,
    base: u64,
    range: &Range<u64>,
    holders: u64,
    f: &mut impl FnMut(u64, u64, u64),
) {
    for (start, at) in entries(table, level, base, range) {
        let entry = read(at);
        let child = PhysAddr(entry & ADDRESS);
        let of = |at| holders * u64::from(frame::holders(at).max(1));
        if level > 0 {
            survey(child, level - 1, start, range, of(child), f);
        } else if entry & FOREIGN != 0 {
            f(start, entry, holders);
        } else if entry & HELD != 0 {
            f(start, entry, of(child));
        }
    }
}

/// Frames below a table that have no other holder, itself counted.
pub(super) fn count_unique(table: PhysAddr, level: u32) -> u64 {
    if !frame::is_unique(table) {
        return 0;
    }
    let mut frames = 1;
    for (_, at) in slots(table) {
        let entry = read(at);
        if level > 0 && entry != 0 {
            frames += count_unique(PhysAddr(entry & ADDRESS), level - 1);
        } else if entry & HELD != 0 {
            frames += u64::from(exclusive(entry));
        }
    }
    frames
}

/// Calls `f` for every entry below a table, at any level, that names another frame than `other`'s does: with the level of the
/// table that it is in, where what it maps begins, and the entry.
pub(super) fn differences(
    table: PhysAddr,
    other: Option<PhysAddr>,
    level: u32,
    base: u64,
    f: &mut impl FnMut(u32, u64, u64),
) {
    let vectors = Vectors::BASELINE;
    let _ = unlike(
        Some(table),
        other,
        level,
        vectors,
        |index, entry, before| {
            if entry == 0 || entry & ADDRESS == before & ADDRESS && before != 0 {
                return Some(());
            }
            let start = base + (index << shift(level));
            f(level, start, entry);
            if level > 0 {
                let other = (before != 0).then_some(PhysAddr(before & ADDRESS));
                differences(PhysAddr(entry & ADDRESS), other, level - 1, start, f);
            }
            Some(())
        },
    );
}
