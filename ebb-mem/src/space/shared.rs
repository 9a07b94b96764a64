//! Pages that several mappings have in common, and that a file may be made of: what is written through one is read through
//! all.
//!
//! What must hold:
//! - the frames are reached through the linear map by whoever has the object, and written by the guests that map them, so no
//!   reference into one is ever made: bytes are copied by pointer;
//! - an object is used by the core of the UC that it belongs to, until it is frozen and belongs to a snapshot and to clones
//!   on any core. Its bytes do not change then; pages of zeroes are still added. The lock is never waited for long.

use super::{Fault, PAGE};
use crate::{PhysAddr, frame, frame::Node, phys_to_virt};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use spin::mutex::SpinMutex;

/// How many pages all shared objects of one owner have together, and may have.
#[derive(Debug)]
pub struct Quota {
    used: AtomicU64,
    max: u64,
}

impl Quota {
    /// At most `max` pages.
    #[must_use]
    pub fn new(max: u64) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicU64::new(0),
            max,
        })
    }

    /// The most pages there may be.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// Pages in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self) -> bool {
        let room = |used: u64| (used < self.max).then_some(used + 1);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room)
            .is_ok()
    }

    fn give(&self, pages: u64) {
        self.used.fetch_sub(pages, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Inner {
    /// Frames by page number; each holds a reference.
    frames: BTreeMap<u64, PhysAddr>,
    /// Bytes; pages that lie beyond cannot be used.
    size: u64,
}

/// Shared pages.
#[derive(Debug)]
pub struct Shared {
    id: u64,
    quota: Arc<Quota>,
    /// Nobody writes to it any more: a snapshot has it, and copies of that.
    frozen: AtomicBool,
    inner: SpinMutex<Inner>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Shared {
    /// `size` bytes of zeroes.
    #[must_use]
    pub fn new(quota: &Arc<Quota>, size: u64) -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            quota: Arc::clone(quota),
            frozen: AtomicBool::new(false),
            inner: SpinMutex::new(Inner {
                frames: BTreeMap::new(),
                size,
            }),
        })
    }

    /// Names it for good; a copy has the same name.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// From now on whoever wants to change it takes a [copy](Self::copy) of it instead. Nobody may have it mapped as shared.
    pub fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
    }

    /// See [`freeze`](Self::freeze).
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Relaxed)
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.inner.lock().size
    }

    /// Pages in memory.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.inner.lock().frames.len() as u64
    }

    /// Whether a page is in memory.
    #[must_use]
    pub fn has(&self, page: u64) -> bool {
        self.inner.lock().frames.contains_key(&page)
    }

    /// The first page in memory at or after one.
    #[must_use]
    pub fn next_page(&self, from: u64) -> Option<u64> {
        self.inner.lock().frames.range(from..).next().map(|f| *f.0)
    }

    /// Whether a page lies within the size.
    #[must_use]
    pub fn reaches(&self, page: u64) -> bool {
        page < self.size().div_ceil(PAGE)
    }

    /// The frame of a page that is in memory.
    #[must_use]
    pub(super) fn frame_of(&self, page: u64) -> Option<PhysAddr> {
        self.inner.lock().frames.get(&page).copied()
    }

    /// The frame of a page, of zeroes if there was none.
    ///
    /// # Errors
    /// [`Fault::BeyondEnd`] beyond the size or the quota, [`Fault::OutOfMemory`].
    pub fn provide(&self, page: u64) -> Result<PhysAddr, Fault> {
        let mut inner = self.inner.lock();
        if page >= inner.size.div_ceil(PAGE) {
            return Err(Fault::BeyondEnd);
        }
        self.frame(&mut inner, page)
    }

    fn frame(&self, inner: &mut Inner, page: u64) -> Result<PhysAddr, Fault> {
        if let Some(frame) = inner.frames.get(&page) {
            return Ok(*frame);
        }
        if !self.quota.take() {
            return Err(Fault::BeyondEnd);
        }
        let Some(frame) = frame::alloc_zeroed(0, Node::LOCAL) else {
            self.quota.give(1);
            return Err(Fault::OutOfMemory);
        };
        inner.frames.insert(page, frame);
        Ok(frame)
    }

    /// Copies bytes out; what is not in memory reads as zero. The caller stays within the size.
    pub fn read(&self, at: u64, to: &mut [u8]) {
        let inner = self.inner.lock();
        for (start, len, page, offset) in pieces(at, to.len()) {
            let to = &mut to[start..start + len];
            match inner.frames.get(&page) {
                // SAFETY: a whole frame of ours in the linear map; `offset + len` lies in it.
                Some(frame) => unsafe {
                    let from = phys_to_virt(*frame).add(offset);
                    core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), len);
                },
                None => to.fill(0),
            }
        }
    }

    /// Copies bytes in, and grows to hold them; how many.
    ///
    /// # Errors
    /// As [`provide`](Self::provide), when not one could be written.
    pub fn write(&self, at: u64, from: &[u8]) -> Result<usize, Fault> {
        let mut inner = self.inner.lock();
        for (start, len, page, offset) in pieces(at, from.len()) {
            let frame = match self.frame(&mut inner, page) {
                Ok(frame) => frame,
                Err(fault) if start == 0 => return Err(fault),
                Err(_) => return Ok(start),
            };
            let from = &from[start..start + len];
            // SAFETY: as in `read`.
            unsafe {
                let to = phys_to_virt(frame).add(offset);
                core::ptr::copy_nonoverlapping(from.as_ptr(), to, len);
            }
            inner.size = inner.size.max(at + (start + len) as u64);
        }
        Ok(from.len())
    }

    /// Sets the size. Pages that are cut off are given up and must be unmapped by whoever maps them
    /// ([`Space::unmap_shared`](super::Space::unmap_shared)).
    pub fn resize(&self, size: u64) {
        let mut inner = self.inner.lock();
        if size < inner.size {
            let gone = inner.frames.split_off(&size.div_ceil(PAGE));
            self.release(gone);
            let (page, offset) = (size / PAGE, (size % PAGE) as usize);
            if offset > 0
                && let Some(frame) = inner.frames.get(&page)
            {
                // SAFETY: as in `read`.
                unsafe {
                    let tail = phys_to_virt(*frame).add(offset);
                    tail.write_bytes(0, PAGE as usize - offset);
                }
            }
        }
        inner.size = size;
    }

    /// Makes whole pages read as zero; they must be unmapped as in [`resize`](Self::resize).
    pub fn punch(&self, first: u64, last: u64) {
        let mut inner = self.inner.lock();
        let mut gone = inner.frames.split_off(&first);
        let mut kept = gone.split_off(&last.max(first));
        inner.frames.append(&mut kept);
        self.release(gone);
    }

    /// Gives up to `left` pages back, counting down; true when none is left. For an object that nobody uses any more.
    pub(super) fn release_part(&self, left: &mut u64) -> bool {
        let mut inner = self.inner.lock();
        let mut gone = BTreeMap::new();
        while *left > 0
            && let Some((page, frame)) = inner.frames.pop_last()
        {
            gone.insert(page, frame);
            *left -= 1;
        }
        self.release(gone);
        inner.frames.is_empty()
    }

    fn release(&self, frames: BTreeMap<u64, PhysAddr>) {
        self.quota.give(frames.len() as u64);
        for frame in frames.into_values() {
            // SAFETY: the reference of the map; who maps the page has its own.
            unsafe { frame::release(frame) };
        }
    }

    /// A copy under the same name, of another owner. `None` when there is no memory for it.
    #[must_use]
    pub fn copy(&self, quota: &Arc<Quota>) -> Option<Arc<Self>> {
        let inner = self.inner.lock();
        let copy = Self {
            id: self.id,
            quota: Arc::clone(quota),
            frozen: AtomicBool::new(false),
            inner: SpinMutex::new(Inner {
                frames: BTreeMap::new(),
                size: inner.size,
            }),
        };
        for (page, frame) in &inner.frames {
            let to = copy.frame(&mut copy.inner.lock(), *page).ok()?;
            // SAFETY: both are whole frames in the linear map; the new one is ours alone.
            unsafe {
                let (from, to) = (phys_to_virt(*frame), phys_to_virt(to));
                core::ptr::copy_nonoverlapping(from, to, PAGE as usize);
            }
        }
        Some(Arc::new(copy))
    }
}

/// The pages that a range of bytes touches: where in the range, how long, the page and the offset in it.
fn pieces(at: u64, len: usize) -> impl Iterator<Item = (usize, usize, u64, usize)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        let position = at + done as u64;
        let offset = (position % PAGE) as usize;
        let n = (PAGE as usize - offset).min(len - done);
        let piece = (done, n, position / PAGE, offset);
        done += n;
        (n > 0).then_some(piece)
    })
}

impl Drop for Shared {
    fn drop(&mut self) {
        let frames = core::mem::take(&mut self.inner.get_mut().frames);
        self.release(frames);
    }
}
