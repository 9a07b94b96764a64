//! Frozen spaces and deltas in parts, for whoever keeps them elsewhere and makes them anew: what is mapped, and its pages.
//!
//! What must hold:
//! - the new space has an entry where the old one had, with the same content: a delta that was made against the one can be
//!   used with the other. So even a page of zeroes has its entry; those that are equal may have one frame;
//! - whoever gives the parts back is not believed: areas are checked as a whole ([`Outline::is_sound`]), pages one by one, so
//!   that a space made of any parts is one that a guest may have made by mapping and writing.

use super::area::{Areas, file_page};
use super::delta::Changed;
use super::entry::{ADDRESS, FOREIGN, HELD, OBJECT, SHARED, bits, entries, read, set};
use super::line::Line;
use super::lines::Lines;
use super::{Area, Backing, Delta, Error, Flags, Frozen, GUEST_END, GUEST_START, PAGE, Space};
use crate::{PhysAddr, frame, frame::Node, phys_to_virt};
use alloc::vec::Vec;
use core::ops::ControlFlow;

/// Words of a line.
const WORDS: usize = size_of::<Line>() / 8;

/// Bytes of a line.
pub const LINE_BYTES: usize = size_of::<Line>();

/// The bytes of a page.
pub type PageBytes = [u8; PAGE as usize];

/// Everything of a space but its pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The areas by address.
    pub areas: Vec<Area>,
    /// Mappings without a place of their own end at most here.
    pub top: u64,
    /// Mappings that ask for a place far from everything else are put side by side.
    pub close: bool,
    /// What every new area is besides.
    pub future: Flags,
    /// A forked copy may have to differ.
    pub forks_differ: bool,
    /// Areas that grow downwards have at most so many bytes.
    pub growth_limit: u64,
}

impl Outline {
    /// Whether it is one that a space can have.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let mut free = GUEST_START;
        let sound = |area: &Area| {
            let whole = |address: u64| address.is_multiple_of(PAGE);
            let fits = area.start >= free && area.start < area.end && area.end <= GUEST_END;
            free = area.end;
            fits && whole(area.start)
                && whole(area.end)
                && whole(area.offset)
                && area.offset.checked_add(area.end - area.start).is_some()
        };
        self.areas.iter().all(sound) && (GUEST_START..=GUEST_END).contains(&self.top)
    }

    fn of(space: &Space) -> Self {
        Self {
            areas: space.areas.iter().cloned().collect(),
            top: space.top,
            close: space.close,
            future: space.future,
            forks_differ: space.forks_differ,
            growth_limit: space.growth_limit,
        }
    }
}

/// Pages of a frozen space cannot be kept: they are others' as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsShared;

/// Calls `f` for every entry below a table, from an address on, with the page.
fn walk(
    table: PhysAddr,
    level: u32,
    base: u64,
    from: u64,
    f: &mut impl FnMut(u64, u64) -> ControlFlow<u64>,
) -> ControlFlow<u64> {
    for (start, at) in entries(table, level, base, &(from..GUEST_END)) {
        let entry = read(at);
        if level > 0 {
            walk(PhysAddr(entry & ADDRESS), level - 1, start, from, f)?;
        } else if entry & HELD != 0 && start >= from {
            f(start, entry)?;
        }
    }
    ControlFlow::Continue(())
}

impl Frozen {
    /// Everything but its pages.
    #[must_use]
    pub fn outline(&self) -> Outline {
        Outline::of(&self.0)
    }

    /// Calls `f` for `most` pages of the space's own, by address, from an address on. Returns where to go on; `None` after the
    /// last.
    ///
    /// # Errors
    /// [`IsShared`].
    pub fn pages_from(
        &self,
        from: u64,
        most: usize,
        mut f: impl FnMut(u64, &PageBytes),
    ) -> Result<Option<u64>, IsShared> {
        let mut left = most;
        let mut shared = false;
        let stopped = walk(self.0.root(), 3, 0, from, &mut |page, entry| {
            if left == 0 {
                return ControlFlow::Break(page);
            }
            left -= 1;
            if entry & (OBJECT | SHARED) != 0 {
                shared = true;
                return ControlFlow::Break(page);
            }
            if entry & FOREIGN == 0 {
                f(page, bytes_of(PhysAddr(entry & ADDRESS)));
            }
            ControlFlow::Continue(())
        });
        match stopped {
            _ if shared => Err(IsShared),
            ControlFlow::Break(next) => Ok(Some(next)),
            ControlFlow::Continue(()) => Ok(None),
        }
    }

    /// The pages of files that are mapped, by address.
    #[must_use]
    pub fn shown(&self) -> Vec<u64> {
        let mut shown = Vec::new();
        let _ = walk(self.0.root(), 3, 0, 0, &mut |page, entry| {
            if entry & FOREIGN != 0 {
                shown.push(page);
            }
            ControlFlow::Continue(())
        });
        shown
    }
}

/// The content of a frame of a frozen space.
fn bytes_of(frame: PhysAddr) -> &'static PageBytes {
    // SAFETY: a frame of 4096 bytes in the linear map that never changes; the caller drops the reference while it has the
    // frozen space.
    unsafe { &*phys_to_virt(frame).cast() }
}

/// A frozen space in the making.
pub struct Building(Space);

impl Building {
    /// One without pages, with the upper half of `kernel_root`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the outline is not sound, [`Error::OutOfMemory`].
    pub fn new(kernel_root: PhysAddr, outline: Outline) -> Result<Self, Error> {
        if !outline.is_sound() {
            return Err(Error::Invalid);
        }
        let mut space = Space::new(kernel_root, u64::MAX).ok_or(Error::OutOfMemory)?;
        space.areas = Areas::from_sorted(outline.areas);
        space.top = outline.top;
        space.close = outline.close;
        space.future = outline.future;
        space.forks_differ = outline.forks_differ;
        space.growth_limit = outline.growth_limit;
        Ok(Self(space))
    }

    /// Gives it a page with these bytes.
    ///
    /// # Errors
    /// [`Error::NotMapped`], [`Error::Occupied`], [`Error::OutOfMemory`].
    pub fn put(&mut self, page: u64, bytes: &PageBytes) -> Result<(), Error> {
        let (at, right) = self.place(page)?;
        let frame = frame::alloc(0, Node::LOCAL).ok_or(Error::OutOfMemory)?;
        // SAFETY: a whole frame of ours in the linear map.
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), phys_to_virt(frame), bytes.len());
        }
        set(at, frame.0 | right);
        self.0.tables.count_page();
        Ok(())
    }

    /// Gives it a page that is the same as one that it has.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub fn put_again(&mut self, page: u64, same: u64) -> Result<(), Error> {
        let entry = self.0.tables.entry(same & !(PAGE - 1));
        if entry & (HELD | FOREIGN | OBJECT | SHARED) != HELD {
            return Err(Error::NotMapped);
        }
        let (at, right) = self.place(page)?;
        frame::share(PhysAddr(entry & ADDRESS));
        set(at, entry & ADDRESS | right);
        self.0.tables.count_page();
        Ok(())
    }

    /// The empty slot of a page, and the rights of its area. Nobody is the only holder of a frozen page.
    fn place(&mut self, page: u64) -> Result<(*mut u64, u64), Error> {
        let area = self.0.areas.find(page).ok_or(Error::NotMapped)?;
        if !page.is_multiple_of(PAGE) || matches!(area.backing, Backing::Shared(_)) {
            return Err(Error::Invalid);
        }
        let right = bits(area.protection, false);
        let at = self.0.tables.slot_mut(page)?;
        if read(at) != 0 {
            return Err(Error::Occupied);
        }
        Ok((at, right))
    }

    /// Maps a page of a file.
    ///
    /// # Errors
    /// As for [`put`](Self::put); [`Error::NotMapped`] also where no file is.
    pub fn show(&mut self, page: u64) -> Result<(), Error> {
        let area = self.0.areas.find(page).ok_or(Error::NotMapped)?;
        let file = match area.backing {
            Backing::Image { .. } => file_page(area, page),
            _ => None,
        };
        let file = file.ok_or(Error::NotMapped)?;
        let (at, right) = self.place(page)?;
        set(at, file.0 | FOREIGN | right);
        Ok(())
    }

    /// The space, of which copies can be made.
    #[must_use]
    pub fn finish(self) -> Frozen {
        Frozen(self.0)
    }
}

impl Lines {
    /// Adds lines of [`LINE_BYTES`].
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is not whole lines, [`Error::OutOfMemory`].
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let (words, rest) = bytes.as_chunks::<8>();
        let (mut lines, odd) = words.as_chunks::<WORDS>();
        if !rest.is_empty() || !odd.is_empty() {
            return Err(Error::Invalid);
        }
        while !lines.is_empty() {
            let piece = self.room().ok_or(Error::OutOfMemory)?;
            let (some, later) = lines.split_at(piece.spare().len().min(lines.len()));
            piece.extend(some.iter().map(|line| line.map(u64::from_ne_bytes)));
            lines = later;
        }
        Ok(())
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        self.len() * LINE_BYTES
    }

    /// Adds bytes from `at` on, `count` of them or as many as there are; both are of whole lines.
    pub fn append(&self, at: usize, count: usize, into: &mut Vec<u8>) {
        for line in self.from(at / LINE_BYTES).take(count / LINE_BYTES) {
            into.extend_from_slice(line.map(u64::to_ne_bytes).as_flattened());
        }
    }
}

/// A delta without its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaParts {
    /// Everything but its pages.
    pub outline: Outline,
    /// Pages that have changed: where, and a bit for each of its lines of 64 bytes that is kept.
    pub pages: Vec<(u64, u64)>,
    /// Pages that are not in memory any more.
    pub gone: Vec<u64>,
    /// Pages that are what they were but may be used otherwise.
    pub rights: Vec<u64>,
}

impl Delta {
    /// The lines of all pages, in order.
    #[must_use]
    pub const fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Everything but its lines.
    #[must_use]
    pub fn to_parts(&self) -> DeltaParts {
        DeltaParts {
            outline: Outline {
                areas: self.areas.iter().cloned().collect(),
                top: self.top,
                close: self.close,
                future: self.future,
                forks_differ: self.forks_differ,
                growth_limit: self.growth_limit,
            },
            pages: self.pages.iter().map(|p| (p.address, p.kept)).collect(),
            gone: self.gone.to_vec(),
            rights: self.rights.to_vec(),
        }
    }

    /// The delta of these parts and lines, which is to be used with the frozen space that it was made against.
    ///
    /// # Errors
    /// [`Error::Invalid`]: these are not a delta's parts.
    pub fn from_parts(parts: DeltaParts, mut lines: Lines) -> Result<Self, Error> {
        let kept: usize = parts.pages.iter().map(|p| p.1.count_ones() as usize).sum();
        let in_range = |page: &u64| page.is_multiple_of(PAGE) && *page < GUEST_END;
        let mut all = parts.pages.iter().map(|(page, _)| page);
        let sound = parts.outline.is_sound()
            && lines.len() == kept
            && parts.pages.is_sorted_by(|a, b| a.0 < b.0)
            && all.all(in_range)
            && parts.gone.iter().chain(&parts.rights).all(in_range);
        if !sound {
            return Err(Error::Invalid);
        }
        lines.shrink();
        let changed = |(address, kept)| Changed { address, kept };
        Ok(Self {
            areas: Areas::from_sorted(parts.outline.areas),
            top: parts.outline.top,
            close: parts.outline.close,
            future: parts.outline.future,
            forks_differ: parts.outline.forks_differ,
            growth_limit: parts.outline.growth_limit,
            pages: parts.pages.into_iter().map(changed).collect(),
            lines,
            gone: parts.gone.into(),
            rights: parts.rights.into(),
        })
    }
}
