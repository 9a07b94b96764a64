//! Reading and writing a guest's memory on its behalf: page by page through the linear map.
//!
//! What must hold: a page is provided as for a fault of the guest before it is used, so rights are checked and
//! copy-on-write happens; a slice into a frame lives no longer than the borrow of the space.

use super::{Access, Fault, PAGE, Space};
use alloc::vec::Vec;

/// A guest's pointer cannot be used as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

impl From<Fault> for BadAddress {
    fn from(_: Fault) -> Self {
        Self
    }
}

/// Plain data: every pattern of bits is a value.
///
/// # Safety
/// The type has no padding and no invalid values.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($t:ty),*) => {$(
        // SAFETY: integers.
        unsafe impl Plain for $t {}
    )*};
}
plain!(u8, i8, u16, i16, u32, i32, u64, i64, usize, isize);
// SAFETY: an array of plain data has no padding.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Whether a value at an address of the guest's half lies on one page, as most do.
#[inline]
fn lies_on_one_page<T>(address: u64) -> bool {
    address < super::GUEST_END && size_of::<T>() as u64 <= PAGE - address % PAGE
}

impl Space {
    /// Where a page is that may be used so.
    #[inline]
    fn page(&mut self, address: u64, access: Access) -> Result<*mut u8, Fault> {
        match self.tables.usable(address, access == Access::Write) {
            Some(page) => Ok(page),
            None => self.provided(address, access),
        }
    }

    #[cold]
    fn provided(&mut self, address: u64, access: Access) -> Result<*mut u8, Fault> {
        let page = address & !(PAGE - 1);
        self.fault(page, access)?;
        let page = self.tables.usable(page, access == Access::Write);
        page.ok_or(Fault::Denied)
    }

    /// Calls `f` with the pieces of a range, in order, none crossing a page. Stops with an error at the first byte that
    /// cannot be used; the pieces before have been handed out then.
    ///
    /// # Errors
    /// [`BadAddress`], or what `f` gives.
    #[inline]
    fn pieces<E: From<BadAddress>>(
        &mut self,
        address: u64,
        len: usize,
        access: Access,
        mut f: impl FnMut(*mut u8, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = address.checked_add(len as u64).ok_or(BadAddress)?;
        if len > 0 && end <= super::GUEST_END && (address ^ (end - 1)) < PAGE {
            // All on one page, as most are.
            let page = self.page(address, access).map_err(|_| BadAddress)?;
            // SAFETY: `page` is a mapped frame, and the range lies in it.
            return f(unsafe { page.add((address % PAGE) as usize) }, len);
        }
        if len > 0 && end > super::GUEST_END {
            // No area reaches so far: the page that is not there says so, unless it comes at once.
            if address >= super::GUEST_END {
                return Err(BadAddress.into());
            }
        }
        let mut at = address;
        while at < end {
            let page = self.page(at, access).map_err(|_| BadAddress)?;
            let within = (at % PAGE) as usize;
            let n = (PAGE as usize - within).min((end - at) as usize);
            // SAFETY: `page` is a mapped frame, `within` lies in it.
            f(unsafe { page.add(within) }, n)?;
            at += n as u64;
        }
        Ok(())
    }

    /// Copies from the guest.
    ///
    /// # Errors
    /// [`BadAddress`] when a byte cannot be read; the buffer may have been filled in part.
    pub fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), BadAddress> {
        let mut done = 0;
        let len = buffer.len();
        self.pieces(address, len, Access::Read, |piece, n| {
            // SAFETY: `piece` is `n` bytes of a frame that the guest's entry keeps alive, and no reference to it exists.
            unsafe { core::ptr::copy_nonoverlapping(piece, buffer.as_mut_ptr().add(done), n) };
            done += n;
            Ok(())
        })
    }

    /// Copies to the guest.
    ///
    /// # Errors
    /// [`BadAddress`] when a byte cannot be written; those before it have been.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), BadAddress> {
        let mut done = 0;
        self.pieces(address, bytes.len(), Access::Write, |piece, n| {
            // SAFETY: as in `read`; the frame is this space's alone (`Access::Write`).
            unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr().add(done), piece, n) };
            done += n;
            Ok(())
        })
    }

    /// Fills guest memory with a byte.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn fill(&mut self, address: u64, len: usize, byte: u8) -> Result<(), BadAddress> {
        self.pieces(address, len, Access::Write, |piece, n| {
            // SAFETY: as in `write`.
            unsafe { piece.write_bytes(byte, n) };
            Ok(())
        })
    }

    /// Hands out a range as slices of guest memory to write to, none crossing a page; `f` says how much it used, and less
    /// than the slice ends it. Returns the bytes used.
    ///
    /// # Errors
    /// [`BadAddress`], or what `f` gives; only if nothing was used before.
    pub fn write_with<E: From<BadAddress>>(
        &mut self,
        address: u64,
        len: usize,
        mut f: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let mut done = 0;
        let mut more = true;
        while more && done < len {
            let at = address.checked_add(done as u64).ok_or(BadAddress)?;
            let n = (PAGE - at % PAGE).min((len - done) as u64) as usize;
            let result = self.pieces(at, n, Access::Write, |piece, n| {
                // SAFETY: as in `write`; the slice ends with the call.
                let used = f(unsafe { core::slice::from_raw_parts_mut(piece, n) })?;
                done += used;
                more = used == n;
                Ok(())
            });
            match result {
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
                Ok(()) => {}
            }
        }
        Ok(done)
    }

    /// Where a range is that lies on one page, and can be used so right now: most that system calls move is such a range.
    #[inline]
    fn piece(&self, address: u64, len: usize, write: bool) -> Option<*mut u8> {
        let within = address % PAGE;
        if address >= super::GUEST_END || len as u64 > PAGE - within {
            return None;
        }
        let page = self.tables.usable(address, write)?;
        // SAFETY: `page` is a mapped frame, `within` lies in it.
        Some(unsafe { page.add(within as usize) })
    }

    /// Copies from the guest as far as its memory goes; returns how many bytes.
    #[inline]
    pub fn read_part(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        if let Some(piece) = self.piece(address, buffer.len(), false) {
            // SAFETY: as in `read`.
            unsafe {
                core::ptr::copy_nonoverlapping(piece, buffer.as_mut_ptr(), buffer.len());
            }
            return buffer.len();
        }
        self.read_pieces(address, buffer)
    }

    #[inline(never)]
    fn read_pieces(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        let len = buffer.len();
        let _ = self.pieces(address, len, Access::Read, |piece, n| {
            // SAFETY: as in `read`.
            unsafe { core::ptr::copy_nonoverlapping(piece, buffer.as_mut_ptr().add(done), n) };
            done += n;
            Ok::<_, BadAddress>(())
        });
        done
    }

    /// Copies to the guest as far as its memory goes; returns how many bytes.
    #[inline]
    pub fn write_part(&mut self, address: u64, bytes: &[u8]) -> usize {
        if let Some(piece) = self.piece(address, bytes.len(), true) {
            // SAFETY: as in `write`.
            unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), piece, bytes.len()) };
            return bytes.len();
        }
        self.write_pieces(address, bytes)
    }

    #[inline(never)]
    fn write_pieces(&mut self, address: u64, bytes: &[u8]) -> usize {
        let mut done = 0;
        let _ = self.pieces(address, bytes.len(), Access::Write, |piece, n| {
            // SAFETY: as in `write`.
            unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr().add(done), piece, n) };
            done += n;
            Ok::<_, BadAddress>(())
        });
        done
    }

    /// A value from the guest.
    ///
    /// # Errors
    /// [`BadAddress`].
    #[inline]
    pub fn get<T: Plain>(&mut self, address: u64) -> Result<T, BadAddress> {
        if lies_on_one_page::<T>(address) {
            let page = self.page(address, Access::Read)?;
            // SAFETY: the value lies in the frame, and plain data has a value for every pattern.
            return Ok(unsafe {
                page.add((address % PAGE) as usize)
                    .cast::<T>()
                    .read_unaligned()
            });
        }
        let mut value = core::mem::MaybeUninit::<T>::zeroed();
        // SAFETY: the bytes of the value, zeroed.
        let bytes = unsafe {
            core::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<u8>(), size_of::<T>())
        };
        self.read(address, bytes)?;
        // SAFETY: plain data has a value for every pattern.
        Ok(unsafe { value.assume_init() })
    }

    /// A value to the guest.
    ///
    /// # Errors
    /// [`BadAddress`].
    #[inline]
    pub fn put<T: Plain>(&mut self, address: u64, value: T) -> Result<(), BadAddress> {
        if lies_on_one_page::<T>(address) {
            let page = self.page(address, Access::Write)?;
            // SAFETY: the value lies in the frame, which is this space's alone (`Access::Write`).
            unsafe {
                page.add((address % PAGE) as usize)
                    .cast::<T>()
                    .write_unaligned(value);
            }
            return Ok(());
        }
        // SAFETY: plain data has no padding, so all its bytes are initialised.
        let bytes =
            unsafe { core::slice::from_raw_parts((&raw const value).cast::<u8>(), size_of::<T>()) };
        self.write(address, bytes)
    }

    /// Puts a value on a page that the guest may only read, whatever its area says: for what the kernel tells it there. The
    /// value does not cross a page.
    ///
    /// # Errors
    /// [`Fault::NotMapped`] also for a value that crosses a page, [`Fault::OutOfMemory`].
    pub fn install<T: Plain>(&mut self, address: u64, value: T) -> Result<(), Fault> {
        let page = address & !(PAGE - 1);
        let within = (address % PAGE) as usize;
        let area = self.areas.find(address).ok_or(Fault::NotMapped)?;
        if within + size_of::<T>() > PAGE as usize {
            return Err(Fault::NotMapped);
        }
        self.tables.provide(page, area, true)?;
        let frame = self.tables.usable(page, false).ok_or(Fault::Denied)?;
        // SAFETY: `provide` for writing made the frame this space's alone; the value lies within it. No reference to it
        // exists.
        unsafe {
            frame.add(within).cast::<T>().write_unaligned(value);
        }
        Ok(())
    }

    /// An array from the guest.
    ///
    /// # Errors
    /// [`BadAddress`].
    pub fn get_array<T: Plain>(
        &mut self,
        address: u64,
        count: usize,
    ) -> Result<Vec<T>, BadAddress> {
        let mut values = Vec::new();
        values.try_reserve_exact(count).map_err(|_| BadAddress)?;
        for i in 0..count {
            let at = address
                .checked_add((i * size_of::<T>()) as u64)
                .ok_or(BadAddress)?;
            values.push(self.get(at)?);
        }
        Ok(values)
    }

    /// A string that a zero byte ends, without it; `None` when it has none within `limit` bytes.
    ///
    /// # Errors
    /// [`BadAddress`].
    pub fn get_string(
        &mut self,
        address: u64,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, BadAddress> {
        let mut string = Vec::new();
        let mut at = address;
        while string.len() < limit {
            if at >= super::GUEST_END {
                return Err(BadAddress);
            }
            let within = (at % PAGE) as usize;
            let n = (PAGE as usize - within).min(limit - string.len());
            let page = self.page(at, Access::Read)?;
            // SAFETY: as in `read`; the slice ends with this turn.
            let piece = unsafe { core::slice::from_raw_parts(page.add(within), n) };
            match piece.iter().position(|&b| b == 0) {
                Some(end) => {
                    string.extend_from_slice(&piece[..end]);
                    return Ok(Some(string));
                }
                None => string.extend_from_slice(piece),
            }
            at += n as u64;
        }
        Ok(None)
    }

    /// Whether the byte at an address can be used so.
    ///
    /// # Errors
    /// [`BadAddress`].
    pub fn check(&mut self, address: u64, access: Access) -> Result<(), BadAddress> {
        if address >= super::GUEST_END {
            return Err(BadAddress);
        }
        self.page(address, access)?;
        Ok(())
    }
}
