//! `mmap`: memory of no file, and files.

use super::file::COPY;
use super::memory::{make_room, no_room, protection, space_is_full};
use super::{Call, Outcome};
use crate::abi::errno::Errno;
use crate::abi::flags::OpenFlags;
use crate::image::note;
use crate::object::fd::Fd;
use crate::object::vfs::data::PageContent;
use crate::state::thread::Work;
use ebb_mem::space::{Backing, GUEST_START, PAGE, Place, Protection, Shared};

const MAP_SHARED: u64 = 1;
const MAP_PRIVATE: u64 = 2;
const MAP_SHARED_VALIDATE: u64 = 3;
const MAP_FIXED: u64 = 0x10;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;

pub fn mmap(call: &Call<'_>) -> Outcome {
    let [address, len, prot, flags, fd, offset] = call.args;
    let protection = protection(prot)?;
    if len == 0
        || !matches!(flags & 0xf, MAP_SHARED | MAP_PRIVATE | MAP_SHARED_VALIDATE)
        || !offset.is_multiple_of(PAGE)
    {
        return Err(Errno::EINVAL.into());
    }
    let place = if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) != 0 {
        if !address.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL.into());
        }
        if address < GUEST_START {
            return Err(Errno::EPERM.into());
        }
        if flags & MAP_FIXED_NOREPLACE != 0 {
            Place::FixedFree(address)
        } else {
            Place::Fixed(address)
        }
    } else {
        Place::Near(address)
    };
    if space_is_full(&call.process.state.borrow(), &call.space(), len) {
        return Err(Errno::ENOMEM.into());
    }
    if flags & MAP_ANONYMOUS != 0 {
        make_room(call, place, len)?;
        let backing = match flags & 0xf {
            MAP_PRIVATE => Backing::Anonymous,
            // Files and memory that processes share are counted together.
            _ => Backing::Shared(Shared::new(call.objects().fs.quota(), len)),
        };
        return call
            .space()
            .map(place, len, protection, backing, 0, note::NONE)
            .map_err(no_room);
    }
    map_file(
        call,
        place,
        len,
        protection,
        flags & 0xf != MAP_PRIVATE,
        fd as i32,
        offset,
    )
}

/// Maps a file. What lies unchanged in the boot archive is shared; what the guest has written is copied.
fn map_file(
    call: &Call<'_>,
    place: Place,
    len: u64,
    protection: Protection,
    shared: bool,
    fd: Fd,
    offset: u64,
) -> Outcome {
    let id = call.held(fd)?;
    let objects = call.objects();
    let description = objects.description(id)?;
    let flags = description.flags;
    if flags.contains(OpenFlags::PATH) {
        return Err(Errno::EBADF.into());
    }
    if !flags.readable() || shared && protection.write && !flags.writable() {
        return Err(Errno::EACCES.into());
    }
    let size = objects.mapped_size(id)?;
    offset.checked_add(len).ok_or(Errno::EOVERFLOW)?;
    drop(objects);
    make_room(call, place, len)?;
    let mut objects = call.objects();
    let name = objects.path_of_description(id).unwrap_or_default();
    let note = if name.is_empty() {
        note::NONE
    } else {
        call.process.note_of(&name)
    };
    let zero = size == u64::MAX;
    // A file of the archive that nobody may write to through this mapping stays where it is.
    let archived = objects
        .archived(id)
        .filter(|_| !shared || !flags.writable());
    if shared && archived.is_none() {
        if protection.write && objects.is_sealed(id) {
            return Err(Errno::EPERM.into());
        }
        let pages = if zero {
            Shared::new(objects.fs.quota(), len)
        } else {
            // Others may write to the file between two parts; after some attempts all of it is moved at once.
            let most = if call.work().at < 1000 {
                COPY as u64 / PAGE
            } else {
                u64::MAX
            };
            let Some(pages) = objects.share_pages(id, most)? else {
                drop(objects);
                call.keep_open(fd)?;
                let at = call.work().at + 1;
                return call.next_part(Work { done: 0, at });
            };
            pages
        };
        return call
            .space()
            .map(place, len, protection, Backing::Shared(pages), offset, note)
            .map_err(no_room);
    }
    if let Some(bytes) = archived
        && let Some(start) = ebb_mem::virt_to_phys(bytes.as_ptr())
        && start.is_aligned(PAGE)
        && !bytes.is_empty()
    {
        let backing = Backing::Image {
            start,
            len: bytes.len() as u64,
        };
        return call
            .space()
            .map(place, len, protection, backing, offset, note)
            .map_err(no_room);
    }
    let mut work = call.work();
    if work.at == 0 {
        work.done = 0;
        work.at = call
            .space()
            .map(place, len, Protection::WRITE, Backing::Anonymous, 0, note)
            .map_err(no_room)?;
    }
    let (at, end) = (work.at, size.saturating_sub(offset).min(len));
    let part = end.min(work.done + COPY as u64);
    while !zero && work.done < part {
        let to = at + work.done;
        let written = match objects.mapped_page(id, (offset + work.done) / PAGE)? {
            PageContent::Archive(bytes) => call.space().write(to, bytes),
            PageContent::Page(page) => call.space().write(to, &page.0[..]),
            PageContent::Hole => Ok(()),
        };
        written.map_err(|_| Errno::ENOMEM)?;
        work.done += PAGE;
    }
    drop(objects);
    if !zero && work.done < end {
        call.keep_open(fd)?;
        return call.next_part(work);
    }
    call.space().protect(at, len, protection)?;
    Ok(at)
}
