//! Filling a table: what a page becomes when it is first touched, or first written to.

use super::super::delta::Changed;
use super::super::line::{Line, copy_page, copy_page_by, ones};
use super::super::spares::Taking;
use super::super::wide::Vectors;
use super::super::{
    Area, Backing, Fault, PAGE, Shared,
    area::Areas,
    entry::{
        ADDRESS, DIRTY, FETCHED, FOREIGN, OBJECT, PRESENT, SHARED, bits, may_write, read, set,
        shift, slot,
    },
};
use super::Tables;
use crate::{PhysAddr, frame, frame::Node, phys_to_virt};

/// How many pages of a file are mapped at once by a fault on one of them, aligned to as many.
const AROUND: u64 = 16;

impl Tables {
    /// Gives pages frames of their own and puts lines into them: those of the bits that are kept, in order. Nothing is folded.
    pub fn patch<'a>(
        &mut self,
        pages: &[Changed],
        areas: &Areas,
        mut lines: impl Iterator<Item = &'a Line>,
        mut spares: Option<Taking<'_>>,
    ) -> Result<(), Fault> {
        let mut known: Option<&Area> = None;
        // Pages of one table come one after the other.
        let mut table: Option<(u64, *mut u64)> = None;
        for &Changed { address, kept } in pages {
            if !known.is_some_and(|area| (area.start..area.end).contains(&address)) {
                known = areas.find(address);
            }
            let Some(area) = known else {
                for _ in ones(kept) {
                    lines.next();
                }
                continue;
            };
            let number = address >> shift(1);
            let first = match table {
                Some((last, first)) if last == number => first,
                _ => self.slot_mut(number << shift(1))?,
            };
            table = Some((number, first));
            // Within the table, whose first slot it is.
            let at = first.wrapping_add((address >> shift(0) & 511) as usize);
            match read(at) {
                0 => self.fill(at, address, area, true)?,
                old => {
                    let spare = self.take_spare(old, address, spares.as_mut());
                    match spare {
                        Some(copy) => self.exchange(at, copy, address, area),
                        None => self.make_writable(at, old, address, area, Vectors::BASELINE)?,
                    }
                }
            }
            let entry = read(at);
            let to = phys_to_virt(PhysAddr(entry & ADDRESS)).cast::<Line>();
            for (line, content) in ones(kept).zip(&mut lines) {
                // SAFETY: a line of a frame that is this space's only, and the space does not run.
                unsafe { to.add(line).write(*content) };
            }
            // Of an object that may change it is not worth knowing.
            let may_change = entry & SHARED != 0 || matches!(area.backing, Backing::Private(_));
            if !may_change && area.protection.write {
                set(at, entry | FETCHED);
            }
        }
        Ok(())
    }

    /// As [`provide`](Self::provide) for writing, of several pages ahead of it, as far as there is memory. What is copied or made then
    /// is noted as [`FETCHED`] if it is what `from`, whose copy these tables began as, shows there.
    pub fn fetch(&mut self, pages: &[u64], areas: &Areas, from: &Self, vectors: Vectors) {
        if self.unfold_all().is_err() {
            return;
        }
        let mut known: Option<&Area> = None;
        let mut block: Option<(u64, *mut u64, Option<PhysAddr>)> = None;
        for page in pages.iter().map(|page| page & !(PAGE - 1)) {
            if !known.is_some_and(|area| (area.start..area.end).contains(&page)) {
                known = areas.find(page);
            }
            let Some(area) = known.filter(|area| area.protection.write) else {
                continue;
            };
            // Pages of one table come one after the other.
            let number = page >> shift(1);
            let (ours, theirs) = match block {
                Some((last, ours, theirs)) if last == number => (ours, theirs),
                _ => {
                    let Ok(ours) = self.slot_mut(number << shift(1)) else {
                        return;
                    };
                    let theirs = from.last_table(page);
                    block = Some((number, ours, theirs));
                    (ours, theirs)
                }
            };
            let index = page >> shift(0) & 511;
            // Within the table, whose first slot it is.
            let at = ours.wrapping_add(index as usize);
            let before = read(at);
            let shown = theirs.map_or(0, |table| read(slot(table, index)));
            let provided = match before {
                0 => self.fill(at, page, area, true),
                _ => self.make_writable(at, before, page, area, vectors),
            };
            let entry = read(at);
            let is_new = provided.is_ok() && (entry ^ before) & ADDRESS != 0;
            // Of an object that may change it is not worth knowing.
            let may_change = entry & SHARED != 0 || matches!(area.backing, Backing::Private(_));
            if is_new && !may_change && (before ^ shown) & ADDRESS == 0 {
                set(at, entry | FETCHED);
            }
        }
    }

    /// Makes a page usable as its area allows.
    pub fn provide(&mut self, page: u64, area: &Area, write: bool) -> Result<(), Fault> {
        if !write && self.entry(page) & PRESENT != 0 {
            // The TLB was behind; the tables may stay shared.
            self.stale.add(page);
            return Ok(());
        }
        let at = self.slot_mut(page)?;
        if read(at) == 0 && self.unfold(page)? && !write {
            return Ok(());
        }
        match read(at) {
            0 => self.fill(at, page, area, write),
            old if write => self.make_writable(at, old, page, area, Vectors::BASELINE),
            old => {
                let kept = old & (ADDRESS | FOREIGN | SHARED | OBJECT);
                set(at, kept | bits(area.protection, may_write(old)));
                Ok(())
            }
        }
    }

    /// Makes a page that has a frame writable: with a copy of it, unless the frame is this space's own.
    fn make_writable(
        &mut self,
        at: *mut u64,
        old: u64,
        page: u64,
        area: &Area,
        vectors: Vectors,
    ) -> Result<(), Fault> {
        let mut frame = PhysAddr(old & ADDRESS);
        let mut kept = old & (FOREIGN | SHARED | OBJECT);
        if !may_write(old) {
            let copy = if kept & FOREIGN == 0 {
                // In place of the one that this space counts already.
                self.taken += 1;
                frame::alloc(0, Node::LOCAL).ok_or(Fault::OutOfMemory)?
            } else {
                self.take_frame(false)?
            };
            // SAFETY: both are whole frames in the linear map, and the new one is ours alone.
            unsafe { copy_page_by(phys_to_virt(frame), phys_to_virt(copy), vectors) };
            self.drop_frame(old);
            self.pages += 1;
            frame = copy;
            kept = 0;
        }
        set(at, frame.0 | kept | bits(area.protection, true));
        if old & PRESENT != 0 {
            self.stale.add(page);
        }
        Ok(())
    }

    /// Fills an empty slot from its area.
    fn fill(&mut self, at: *mut u64, page: u64, area: &Area, write: bool) -> Result<(), Fault> {
        if let Backing::Anonymous = area.backing {
            let new = self.take_frame(true)?;
            self.pages += 1;
            set(at, new.0 | bits(area.protection, true));
            return Ok(());
        }
        self.fill_from(at, page, area, write)
    }

    /// The same of what is not zeroes. Apart, so that the faults of what is are short.
    #[inline(never)]
    fn fill_from(
        &mut self,
        at: *mut u64,
        page: u64,
        area: &Area,
        write: bool,
    ) -> Result<(), Fault> {
        let offset = area.offset + (page - area.start);
        let (start, len) = match &area.backing {
            // See `fill`.
            Backing::Anonymous => return Err(Fault::NotMapped),
            Backing::Shared(shared) => {
                if self.used() >= self.limit {
                    return Err(Fault::OutOfMemory);
                }
                let frame = shared.provide(offset / PAGE)?;
                frame::share(frame);
                self.pages += 1;
                // What the kernel writes for the guest counts as the guest's.
                let dirty = if write { DIRTY } else { 0 };
                set(at, frame.0 | SHARED | dirty | bits(area.protection, true));
                return Ok(());
            }
            Backing::Private(object) => {
                return self.fill_privately(at, object, offset, area, write);
            }
            Backing::Image { start, len } => (*start, *len),
        };
        if offset >= len {
            return Err(Fault::BeyondEnd);
        }
        if write {
            let new = self.take_frame(false)?;
            let from = phys_to_virt(start.offset(offset));
            // SAFETY: the page lies in the image, whose last frame is filled up; the new frame is ours alone.
            unsafe { copy_page(from, phys_to_virt(new)) };
            self.pages += 1;
            set(at, new.0 | bits(area.protection, true));
            return Ok(());
        }
        // Neighbours in the same block of the table cost next to nothing, a fault each would.
        let block = page & !(AROUND * PAGE - 1);
        let first = block.max(area.start);
        let last = (block + AROUND * PAGE).min(area.end);
        let shown = FOREIGN | bits(area.protection, false);
        let mut offset = area.offset + (first - area.start);
        // SAFETY: the block is aligned to its size, so its slots are in the same table as `at`.
        let mut near = unsafe { at.offset((first as i64 - page as i64) as isize / PAGE as isize) };
        for neighbour in (first..last).step_by(PAGE as usize) {
            if offset >= len {
                break;
            }
            if read(near) == 0 && !self.folded.has(neighbour) {
                set(near, start.offset(offset).0 | shown);
            }
            offset += PAGE;
            near = near.wrapping_add(1);
        }
        Ok(())
    }

    /// Fills an empty slot with a page of an object, or with a copy of it to write to. Apart, so that the faults of other
    /// memory are as short as they are without it.
    #[inline(never)]
    fn fill_privately(
        &mut self,
        at: *mut u64,
        object: &Shared,
        offset: u64,
        area: &Area,
        write: bool,
    ) -> Result<(), Fault> {
        let page = offset / PAGE;
        if !object.reaches(page) {
            return Err(Fault::BeyondEnd);
        }
        if write {
            let from = object.frame_of(page);
            let new = self.take_frame(from.is_none())?;
            if let Some(from) = from {
                // SAFETY: both are whole frames in the linear map, and the new one is ours alone.
                unsafe {
                    copy_page(phys_to_virt(from), phys_to_virt(new));
                }
            }
            self.pages += 1;
            set(at, new.0 | bits(area.protection, true));
            return Ok(());
        }
        if self.used() >= self.limit {
            return Err(Fault::OutOfMemory);
        }
        let frame = object.provide(page)?;
        frame::share(frame);
        self.pages += 1;
        set(at, frame.0 | OBJECT | bits(area.protection, false));
        Ok(())
    }
}
