//! The content of a writable file: pages that are shared until written.
//!
//! A page is absent (a hole, or still as in the archive) or an `Arc`: clones of a UC share it, and
//! the first write in either copies it. So a copy of an archive file costs only the pages written,
//! and a clone of a UC costs no page.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    vec::Vec,
};
use borsh::{BorshDeserialize, BorshSerialize, io};

use ebb_mem::space::{Fault, Quota, Shared};
use ebb_runtime::{EbbRef, platform::Environment};

use crate::object::{
    arena::wrong,
    errno::{Errno, Result},
    io::{Sink, Source, in_pieces},
};

/// Bytes in a page.
pub const PAGE: usize = 4096;

/// A page of file content. Its bytes are in a block of their own, which is a frame and no more.
#[derive(BorshSerialize, BorshDeserialize, Clone)]
pub struct Page(pub Box<[u8; PAGE]>);

impl Page {
    fn zeroed() -> Self {
        let bytes = alloc::vec![0; PAGE].into_boxed_slice();
        // It has the length that is asked for.
        Self(bytes.try_into().unwrap_or_else(|_| Box::new([0; PAGE])))
    }
}

impl core::fmt::Debug for Page {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Page")
    }
}

static ZERO: [u8; PAGE] = [0; PAGE];

/// What lies at a page of a file, for whoever maps it.
#[derive(Clone, Debug)]
pub enum PageContent {
    /// Bytes of the archive; fewer than a page at its end, the rest is zero.
    Archive(&'static [u8]),
    /// A page of a writable file.
    Page(Arc<Page>),
    /// Zeroes.
    Hole,
}

/// The content of a regular file.
#[derive(Clone, Debug, Default)]
pub struct FileData {
    size: u64,
    /// What absent pages show; cut when the file is.
    lower: &'static [u8],
    /// A page without content is only reserved: paid for by `fallocate`, still absent.
    pages: Pages,
    /// Where all of its content is once it has been mapped to be shared; `lower` and `pages` are empty then.
    shared: Option<Arc<Shared>>,
    /// What is on its way there.
    moving: Moving,
}

impl BorshSerialize for FileData {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        if self.shared.is_some() {
            return Err(wrong("a changed file that is mapped"));
        }
        // The archive's bytes by where they are in it.
        let offset = match self.lower {
            [] => Some(0),
            lower => {
                let archive = EbbRef::<dyn Environment>::get().archive();
                let offset = lower.as_ptr().addr().wrapping_sub(archive.as_ptr().addr());
                let end = offset.checked_add(lower.len());
                end.is_some_and(|end| end <= archive.len())
                    .then_some(offset)
            }
        };
        let offset = offset.ok_or_else(|| wrong("a file of another archive"))?;
        (self.size, offset, self.lower.len(), &self.pages).serialize(writer)
    }
}

impl BorshDeserialize for FileData {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let (size, offset, len, pages) = <(u64, usize, usize, Pages)>::deserialize_reader(reader)?;
        let lower = match len {
            0 => Some(&[][..]),
            _ => {
                let archive = EbbRef::<dyn Environment>::get().archive();
                archive.get(offset..).and_then(|rest| rest.get(..len))
            }
        };
        Ok(Self {
            size,
            lower: lower.ok_or_else(|| wrong("a file beyond the archive"))?,
            pages,
            shared: None,
            moving: Moving::default(),
        })
    }
}

/// Pages of a file by number.
pub(crate) type Pages = BTreeMap<u64, Option<Arc<Page>>>;

/// Pages that files have given up: they are freed part by part, so that no event takes long. A clone has none.
#[derive(Debug, Default)]
pub(crate) struct Trash(Vec<Pages>);

impl Clone for Trash {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Trash {
    /// So few are freed at once.
    const FEW: usize = 256;

    /// Takes pages.
    pub(crate) fn put(&mut self, pages: Pages) {
        if pages.len() > Self::FEW {
            self.0.push(pages);
        }
    }

    /// Whether nothing is left.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Frees up to `left` pages, counting down.
    pub(crate) fn empty(&mut self, left: &mut u64) {
        while *left > 0
            && let Some(pages) = self.0.last_mut()
        {
            while *left > 0 && pages.pop_last().is_some() {
                *left -= 1;
            }
            if pages.is_empty() {
                self.0.pop();
            }
        }
    }
}

/// A copy of a file's first pages that is to take the place of its content. Whoever changes the file drops it; a clone of
/// the file has none.
#[derive(Debug, Default)]
struct Moving(Option<(Arc<Shared>, u64)>);

impl Clone for Moving {
    fn clone(&self) -> Self {
        Self(None)
    }
}

fn errno_of(fault: Fault) -> Errno {
    match fault {
        Fault::OutOfMemory => Errno::ENOMEM,
        _ => Errno::ENOSPC,
    }
}

/// How many pages the writable files of a UC have and may have.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug)]
pub struct PageBudget {
    /// In use.
    pub used: u64,
    /// The most there may be.
    pub max: u64,
}

impl PageBudget {
    fn charge(&mut self) -> Result<()> {
        if self.used >= self.max {
            return Err(Errno::ENOSPC);
        }
        self.used += 1;
        Ok(())
    }
}

/// Reads `total` bytes of a file whose pages are mapped.
#[inline(never)]
fn read_shared(shared: &Shared, pos: u64, total: usize, sink: &mut dyn Sink) -> Result<usize> {
    let mut buffer = [0; PAGE];
    in_pieces(total, |done| {
        let at = pos + done as u64;
        let want = (total - done).min(PAGE - (at % PAGE as u64) as usize);
        shared.read(at, &mut buffer[..want]);
        (want, sink.put(&buffer[..want]))
    })
}

/// Writes to a file whose pages are mapped, and says in `size` how long it is.
#[inline(never)]
fn write_shared(
    shared: &Shared,
    size: &mut u64,
    pos: u64,
    source: &mut dyn Source,
) -> Result<usize> {
    let mut buffer = [0; PAGE];
    let mut done = 0;
    while source.remaining() > 0 {
        let at = pos + done as u64;
        let room = PAGE - (at % PAGE as u64) as usize;
        let want = source.remaining().min(room);
        let n = source.take(&mut buffer[..want]);
        match shared.write(at, &buffer[..n]) {
            Ok(_) => done += n,
            Err(fault) if done == 0 => return Err(errno_of(fault)),
            Err(_) => break,
        }
        *size = (*size).max(pos + done as u64);
        if n < want {
            break;
        }
    }
    if done == 0 {
        Err(Errno::EFAULT)
    } else {
        Ok(done)
    }
}

/// What lies at page `index` of a file of the archive.
fn page_of(file: &'static [u8], index: u64) -> &'static [u8] {
    let start = usize::try_from(index)
        .ok()
        .and_then(|i| i.checked_mul(PAGE));
    let rest = start.and_then(|start| file.get(start..)).unwrap_or(&[]);
    &rest[..rest.len().min(PAGE)]
}

impl FileData {
    /// A file that reads as this part of the archive until it is written.
    pub fn over(lower: &'static [u8]) -> Self {
        Self {
            size: lower.len() as u64,
            lower,
            pages: BTreeMap::new(),
            shared: None,
            moving: Moving(None),
        }
    }

    /// The shared pages that hold the file, if it has been mapped so.
    pub const fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    /// Whether all of it are pages of its own: no mapping shows them and none of the archive's is left.
    pub(crate) const fn is_own(&self) -> bool {
        self.shared.is_none() && self.lower.is_empty()
    }

    /// What it is of the archive, if it has not been changed.
    pub(crate) fn unwritten(&self) -> Option<&'static [u8]> {
        let whole = self.size == self.lower.len() as u64 && !self.lower.is_empty();
        let same = whole && self.pages.is_empty() && self.shared.is_none();
        same.then_some(self.lower)
    }

    /// Takes others in their place: a clone's own.
    pub(crate) fn set_shared(&mut self, shared: Arc<Shared>) {
        self.shared = Some(shared);
    }

    /// Moves the content into pages that can be shared with mappings, up to `most` of them at a time: `None` when it has to
    /// be called again. A change of the file in between makes it begin anew.
    ///
    /// # Errors
    /// `ENOSPC`, `ENOMEM`; the file is as it was then.
    pub fn share(
        &mut self,
        budget: &mut PageBudget,
        quota: &Arc<Quota>,
        most: u64,
    ) -> Result<Option<Arc<Shared>>> {
        if let Some(shared) = &self.shared {
            return Ok(Some(Arc::clone(shared)));
        }
        let begin = || (Shared::new(quota, self.size), 0);
        let (shared, mut index) = self.moving.0.take().unwrap_or_else(begin);
        let page = PAGE as u64;
        let (end, mut room) = (self.size.div_ceil(page), most);
        while index < end && room > 0 {
            room -= 1;
            // The last page may be more than the file needs.
            let left = usize::try_from(self.size - index * page).unwrap_or(PAGE);
            let bytes = match (self.pages.get(&index), self.lower_page(index)) {
                (Some(Some(page)), _) => &page.0[..left.min(PAGE)],
                (_, lower) => lower,
            };
            if shared.write(index * page, bytes).map_err(errno_of)? < bytes.len() {
                return Err(Errno::ENOSPC);
            }
            // Holes are passed over.
            let later = index + 1;
            let next = self.pages.range(later..).next().map_or(end, |p| *p.0);
            index = match self.lower_page(later) {
                [] => next.max(later),
                _ => later,
            };
        }
        if index < end {
            self.moving = Moving(Some((shared, index)));
            return Ok(None);
        }
        budget.used = budget.used.saturating_sub(self.pages.len() as u64);
        self.pages.clear();
        self.lower = &[];
        self.shared = Some(Arc::clone(&shared));
        Ok(Some(shared))
    }

    /// Length in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Pages of its own.
    pub fn own_pages(&self) -> u64 {
        self.shared
            .as_ref()
            .map_or(self.pages.len() as u64, |s| s.pages())
    }

    /// Bytes that `stat` counts as allocated.
    pub fn allocated(&self) -> u64 {
        self.own_pages() * PAGE as u64 + self.lower.len() as u64
    }

    fn lower_page(&self, index: u64) -> &'static [u8] {
        page_of(self.lower, index)
    }

    /// What lies at page `index`.
    pub fn page(&self, index: u64) -> PageContent {
        if let Some(shared) = &self.shared {
            if !shared.has(index) {
                return PageContent::Hole;
            }
            let mut page = Arc::new(Page::zeroed());
            if let Some(page) = Arc::get_mut(&mut page) {
                shared.read(index * PAGE as u64, &mut page.0[..]);
            }
            return PageContent::Page(page);
        }
        match (self.pages.get(&index), self.lower_page(index)) {
            (Some(Some(page)), _) => PageContent::Page(page.clone()),
            (_, []) => PageContent::Hole,
            (_, lower) => PageContent::Archive(lower),
        }
    }

    /// The page at `index` for writing, made if it is absent.
    fn page_mut(&mut self, budget: &mut PageBudget, index: u64) -> Result<&mut [u8; PAGE]> {
        let lower = self.lower;
        // Looked for once: mostly it is there.
        let slot = match self.pages.entry(index) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(absent) => {
                budget.charge()?;
                absent.insert(None)
            }
        };
        let page = slot.get_or_insert_with(|| {
            let mut page = Arc::new(Page::zeroed());
            if let Some(page) = Arc::get_mut(&mut page) {
                let lower = page_of(lower, index);
                page.0[..lower.len()].copy_from_slice(lower);
            }
            page
        });
        Ok(&mut Arc::make_mut(page).0)
    }

    /// Pays for the page at `index`, if nobody has.
    fn reserve(&mut self, budget: &mut PageBudget, index: u64) -> Result<()> {
        if let Entry::Vacant(absent) = self.pages.entry(index) {
            budget.charge()?;
            absent.insert(None);
        }
        Ok(())
    }

    /// Reads from `pos` to the end of the file or of the sink.
    pub fn read(&self, pos: u64, sink: &mut dyn Sink) -> Result<usize> {
        let left = self.size.saturating_sub(pos);
        let total = left.min(sink.remaining() as u64) as usize;
        if let Some(shared) = &self.shared {
            return read_shared(shared, pos, total, sink);
        }
        in_pieces(total, |done| {
            let at = pos + done as u64;
            let (index, offset) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let want = (total - done).min(PAGE - offset);
            let bytes = match self.pages.get(&index) {
                Some(Some(page)) => &page.0[offset..],
                _ => match self.lower_page(index).get(offset..) {
                    Some(bytes) if !bytes.is_empty() => bytes,
                    _ => &ZERO[offset..],
                },
            };
            let want = want.min(bytes.len());
            (want, sink.put(&bytes[..want]))
        })
    }

    /// Writes at `pos`, growing the file. Stops at the first page that cannot be had.
    pub fn write(
        &mut self,
        budget: &mut PageBudget,
        pos: u64,
        source: &mut dyn Source,
    ) -> Result<usize> {
        self.moving = Moving(None);
        if let Some(shared) = &self.shared {
            return write_shared(shared, &mut self.size, pos, source);
        }
        let total = source.remaining();
        let mut done = 0;
        while done < total {
            let at = pos + done as u64;
            let (index, offset) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let want = (total - done).min(PAGE - offset);
            let page = match self.page_mut(budget, index) {
                Ok(page) => page,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            };
            let n = source.take(&mut page[offset..offset + want]);
            done += n;
            self.size = self.size.max(pos + done as u64);
            if n < want {
                if done == 0 {
                    return Err(Errno::EFAULT);
                }
                break;
            }
        }
        Ok(done)
    }

    /// Cuts or extends the file. What is cut off reads as zero if the file grows again; its pages are the result.
    pub(crate) fn truncate(&mut self, budget: &mut PageBudget, size: u64) -> Result<Pages> {
        self.moving = Moving(None);
        if let Some(shared) = &self.shared {
            shared.resize(size);
            self.size = size;
            return Ok(Pages::new());
        }
        let mut gone = Pages::new();
        if size < self.size {
            let first_gone = size.div_ceil(PAGE as u64);
            gone = self.pages.split_off(&first_gone);
            budget.used = budget.used.saturating_sub(gone.len() as u64);
            let keep = usize::try_from(size)
                .unwrap_or(usize::MAX)
                .min(self.lower.len());
            self.lower = &self.lower[..keep];
            if let Some(Some(page)) = self.pages.get_mut(&(size / PAGE as u64)) {
                Arc::make_mut(page).0[(size % PAGE as u64) as usize..].fill(0);
            }
        }
        self.size = size;
        Ok(gone)
    }

    /// Makes sure that writes to `[start, end)` will find room; grows the file to `end` if `grow`.
    pub fn allocate(
        &mut self,
        budget: &mut PageBudget,
        start: u64,
        end: u64,
        grow: bool,
    ) -> Result<()> {
        self.moving = Moving(None);
        if let Some(shared) = &self.shared {
            if grow && end > self.size {
                shared.resize(end);
                self.size = end;
            }
            let last = end.min(self.size).div_ceil(PAGE as u64);
            for page in start / PAGE as u64..last {
                shared.provide(page).map_err(errno_of)?;
            }
            return Ok(());
        }
        let (first, last) = (start / PAGE as u64, end.div_ceil(PAGE as u64));
        let have = self.pages.range(first..last).count() as u64;
        if last - first - have > budget.max.saturating_sub(budget.used) {
            return Err(Errno::ENOSPC);
        }
        for index in first..last {
            self.reserve(budget, index)?;
        }
        if grow {
            self.size = self.size.max(end);
        }
        Ok(())
    }

    /// Makes `[start, end)` read as zero without changing the size.
    pub fn punch(&mut self, budget: &mut PageBudget, start: u64, end: u64) -> Result<()> {
        self.moving = Moving(None);
        let end = end.min(self.size.next_multiple_of(PAGE as u64));
        let mut at = start;
        if let Some(shared) = &self.shared
            && start < end
        {
            let page = PAGE as u64;
            let (first, last) = (start.next_multiple_of(page), end / page * page);
            shared.punch(first / page, last / page);
            // What is left are parts of pages at both ends.
            for (from, to) in [(start, first.min(end)), (last.max(first).min(end), end)] {
                if from < to && shared.has(from / page) {
                    let zeroes = &ZERO[..(to - from) as usize];
                    shared.write(from, zeroes).map_err(errno_of)?;
                }
            }
            return Ok(());
        }
        while at < end {
            let (index, offset) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let n = (end - at).min((PAGE - offset) as u64) as usize;
            let in_lower = !self.lower_page(index).is_empty();
            if n == PAGE && !in_lower {
                if self.pages.remove(&index).is_some() {
                    budget.used = budget.used.saturating_sub(1);
                }
                // Skip to the next page that exists, whichever kind.
                let next = self
                    .pages
                    .range(index..)
                    .next()
                    .map_or(u64::MAX, |(&i, _)| i);
                let next = next.max(index + 1).saturating_mul(PAGE as u64);
                let in_archive = (self.lower.len() as u64).next_multiple_of(PAGE as u64);
                at = if at < in_archive {
                    at + PAGE as u64
                } else {
                    next
                };
                continue;
            }
            if in_lower || matches!(self.pages.get(&index), Some(Some(_))) {
                self.page_mut(budget, index)?[offset..offset + n].fill(0);
            }
            at += n as u64;
        }
        Ok(())
    }

    /// The next data (`hole` false) or hole (`hole` true) at or after `pos`, for `lseek`.
    pub fn seek_extent(&self, pos: u64, hole: bool) -> Result<u64> {
        if pos >= self.size {
            return Err(Errno::ENXIO);
        }
        let lower_pages = (self.lower.len() as u64).div_ceil(PAGE as u64);
        let mut index = pos / PAGE as u64;
        let is_own = |index| match &self.shared {
            Some(shared) => shared.has(index),
            None => matches!(self.pages.get(&index), Some(Some(_))),
        };
        let is_data = |index| index < lower_pages || is_own(index);
        if hole {
            while index * (PAGE as u64) < self.size && is_data(index) {
                index += 1;
            }
        } else if !is_data(index) {
            let mut own = self.pages.range(index..).filter(|(_, page)| page.is_some());
            let next = match &self.shared {
                Some(shared) => shared.next_page(index),
                None => own.next().map(|(&next, _)| next),
            };
            index = next.ok_or(Errno::ENXIO)?;
        }
        let found = (index * PAGE as u64).max(pos);
        match hole {
            true => Ok(found.min(self.size)),
            false if found >= self.size => Err(Errno::ENXIO),
            false => Ok(found),
        }
    }

    /// Gives its pages back to the budget, and as the result: the file is gone.
    pub(crate) fn discard(&mut self, budget: &mut PageBudget) -> Pages {
        let pages = core::mem::take(&mut self.pages);
        budget.used = budget.used.saturating_sub(pages.len() as u64);
        self.lower = &[];
        self.size = 0;
        // Whoever has it mapped keeps the pages.
        self.shared = None;
        self.moving = Moving(None);
        pages
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn budget() -> PageBudget {
        PageBudget { used: 0, max: 4 }
    }

    fn content(data: &FileData) -> Vec<u8> {
        let mut bytes = vec![0xee; data.size() as usize];
        assert_eq!(data.read(0, &mut &mut bytes[..]), Ok(bytes.len()));
        bytes
    }

    #[test]
    fn a_file_over_the_archive_owns_only_the_pages_written() {
        static LOWER: [u8; 10_000] = [7; 10_000];
        let (mut data, mut budget) = (FileData::over(&LOWER), budget());
        data.write(&mut budget, 5000, &mut &b"xyz"[..]).unwrap();
        let mut expected = LOWER.to_vec();
        expected[5000..5003].copy_from_slice(b"xyz");
        assert_eq!(content(&data), expected);
        assert_eq!((data.own_pages(), budget.used), (1, 1));
    }

    #[test]
    fn what_was_cut_off_reads_as_zero_after_growing_again() {
        static LOWER: [u8; 10_000] = [7; 10_000];
        let (mut data, mut budget) = (FileData::over(&LOWER), budget());
        data.write(&mut budget, 0, &mut &[1u8; 100][..]).unwrap();
        data.truncate(&mut budget, 50).unwrap();
        data.truncate(&mut budget, 9000).unwrap();
        let bytes = content(&data);
        assert!(bytes[..50].iter().all(|&b| b == 1) && bytes[50..].iter().all(|&b| b == 0));
    }

    #[test]
    fn a_write_stops_at_the_limit_and_removal_gives_everything_back() {
        let (mut data, mut budget) = (FileData::default(), budget());
        let big = vec![1; 30_000];
        assert_eq!(
            data.write(&mut budget, 100, &mut &big[..]),
            Ok(4 * PAGE - 100)
        );
        assert_eq!(
            data.write(&mut budget, 1 << 20, &mut &b"x"[..]),
            Err(Errno::ENOSPC)
        );
        data.discard(&mut budget);
        assert_eq!(budget.used, 0);
    }

    #[test]
    fn a_move_to_shared_pages_begins_anew_when_the_file_changes_and_is_none_of_a_clone_s() {
        let mut budget = PageBudget { used: 0, max: 100 };
        let mut data = FileData::over(&[7; 3 * PAGE]);
        data.write(&mut budget, 5 * PAGE as u64, &mut &b"end"[..])
            .unwrap();
        data.moving = Moving(Some((Shared::new(&Quota::new(10), 0), 2)));
        assert!(data.clone().moving.0.is_none());
        data.truncate(&mut budget, 100).unwrap();
        assert!(data.moving.0.is_none());
    }

    #[test]
    fn clones_share_pages_until_one_writes() {
        let (mut data, mut budget) = (FileData::default(), budget());
        data.write(&mut budget, 0, &mut &[1u8; 5000][..]).unwrap();
        let copy = data.clone();
        data.write(&mut budget, 0, &mut &[2u8; 1][..]).unwrap();
        assert_eq!((content(&data)[0], content(&copy)[0]), (2, 1));
        let shared = |d: &FileData| match d.page(1) {
            PageContent::Page(page) => Arc::strong_count(&page),
            _ => 0,
        };
        assert_eq!(shared(&data), 3, "both files and the temporary");
    }

    #[test]
    fn holes_are_found_and_punched() {
        let (mut data, mut budget) = (FileData::default(), budget());
        data.truncate(&mut budget, 5 * PAGE as u64).unwrap();
        data.write(&mut budget, 2 * PAGE as u64 + 5, &mut &b"data"[..])
            .unwrap();
        assert_eq!(data.seek_extent(0, false), Ok(2 * PAGE as u64));
        assert_eq!(
            data.seek_extent(2 * PAGE as u64 + 9, true),
            Ok(3 * PAGE as u64)
        );
        assert_eq!(data.seek_extent(3 * PAGE as u64, false), Err(Errno::ENXIO));
        data.punch(&mut budget, 0, 1 << 40).unwrap();
        assert_eq!(
            (data.own_pages(), budget.used, data.size()),
            (0, 0, 5 * PAGE as u64)
        );
    }
}
