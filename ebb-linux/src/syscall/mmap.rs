//! `mmap`: memory of no file, and files.

use super::advice::{can_lock, may_lock, populate};
use super::file::COPY;
use super::memory::{data_is_full, make_room, space_is_full};
use super::parts::no_room;
use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::abi::flags::OpenFlags;
use crate::image::note;
use crate::object::fd::Fd;
use crate::object::id::{DescId, InodeId, NodeRef};
use crate::state::thread::Work;
use alloc::sync::Arc;
use ebb_mem::space::{
    Backing, Flags, GUEST_END, GUEST_START, Mapping, PAGE, Place, Protection, Shared,
};

const MAP_SHARED: u64 = 1;
const MAP_PRIVATE: u64 = 2;
const MAP_SHARED_VALIDATE: u64 = 3;
const MAP_FIXED: u64 = 0x10;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_32BIT: u64 = 0x40;
const MAP_GROWSDOWN: u64 = 0x100;
const MAP_LOCKED: u64 = 0x2000;
const MAP_POPULATE: u64 = 0x8000;
const MAP_NONBLOCK: u64 = 0x1_0000;
const MAP_HUGETLB: u64 = 0x4_0000;
const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;
/// What every kernel has known: `MAP_SHARED_VALIDATE` refuses everything else (Linux' `LEGACY_MAP_MASK`). The others are
/// DENYWRITE, EXECUTABLE, NORESERVE, STACK, UNINITIALIZED and what says how large huge pages are.
const LEGACY: u64 = 0x3
    | MAP_FIXED
    | MAP_ANONYMOUS
    | MAP_32BIT
    | MAP_GROWSDOWN
    | 0x800
    | 0x1000
    | MAP_LOCKED
    | 0x4000
    | MAP_POPULATE
    | MAP_NONBLOCK
    | 0x2_0000
    | MAP_HUGETLB
    | 0x400_0000
    | 0xfc00_0000;

pub fn mmap(call: &Call<'_>) -> Outcome {
    let [address, len, prot, flags, fd, offset] = call.args;
    // From the second part of bringing its pages in on, the call's work has its place.
    if call.work().at >= GUEST_START {
        return populate(call, call.work().at, len.next_multiple_of(PAGE));
    }
    if !offset.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    let is_anonymous = flags & MAP_ANONYMOUS != 0;
    let id = match is_anonymous {
        true => None,
        false => Some(call.held(fd as i32)?),
    };
    if flags & MAP_HUGETLB != 0 {
        // There is no pool of huge pages: as on a machine that has set none aside.
        return Err(match is_anonymous {
            true => Errno::ENOMEM.into(),
            false => Errno::EINVAL.into(),
        });
    }
    if len == 0 {
        return Err(Errno::EINVAL.into());
    }
    let len = len.checked_next_multiple_of(PAGE).ok_or(Errno::ENOMEM)?;
    if len > GUEST_END {
        return Err(Errno::ENOMEM.into());
    }
    let place = place(address, flags)?;
    let shared = match flags & 0xf {
        MAP_PRIVATE => false,
        MAP_SHARED => true,
        MAP_SHARED_VALIDATE if !is_anonymous => true,
        _ => return Err(Errno::EINVAL.into()),
    };
    // What else it may have said does not concern what is mapped here.
    let protection = Protection {
        read: prot & 1 != 0,
        write: prot & 2 != 0,
        execute: prot & 4 != 0,
    };
    if protection.write && protection.execute && call.process.state.borrow().code_is_fixed != 0 {
        return Err(Errno::EACCES.into());
    }
    check_limits(call, len, protection.write && !shared, flags)?;
    if let Some(id) = id {
        check_file(call, id, offset, len)?;
    }
    if flags & 0xf == MAP_SHARED_VALIDATE && flags & !LEGACY != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let grows = flags & MAP_GROWSDOWN != 0;
    let mut kept = Flags::NONE;
    if flags & MAP_LOCKED != 0 {
        kept = kept.with(Flags::LOCKED);
    }
    let want = Wanted {
        place,
        len,
        protection,
        shared,
        offset,
        grows,
        flags: kept,
    };
    let at = match id {
        Some(id) => map_file(call, &want, fd as i32, id)?,
        None if shared && grows => return Err(Errno::EINVAL.into()),
        None => map_anonymous(call, &want)?,
    };
    let locks = {
        let future = call.space().future();
        kept.with(future).has(Flags::LOCKED) && !future.has(Flags::ON_FAULT)
    };
    if locks || flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE {
        return populate(call, at, len);
    }
    Ok(at)
}

/// Where a mapping is to go.
fn place(address: u64, flags: u64) -> Result<Place, Stop> {
    if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) == 0 {
        return Ok(match flags & MAP_32BIT {
            0 => Place::Near(address),
            _ => Place::Low(address),
        });
    }
    if !address.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL.into());
    }
    if address < GUEST_START {
        return Err(Errno::EPERM.into());
    }
    Ok(match flags & MAP_FIXED_NOREPLACE {
        0 => Place::Fixed(address),
        _ => Place::FixedFree(address),
    })
}

/// Whether the process may have so much more.
fn check_limits(call: &Call<'_>, len: u64, is_data: bool, flags: u64) -> Result<(), Stop> {
    if flags & MAP_LOCKED != 0 && !can_lock(call) {
        return Err(Errno::EPERM.into());
    }
    let (state, space) = (call.process.state.borrow(), call.space());
    let locks = flags & MAP_LOCKED != 0 || space.future().has(Flags::LOCKED);
    if locks && !may_lock(&state, &space, len) {
        return Err(Errno::EAGAIN.into());
    }
    if space_is_full(&state, &space, len) || is_data && data_is_full(&state, &space, len) {
        return Err(Errno::ENOMEM.into());
    }
    Ok(())
}

/// Whether a descriptor is of more than a place, and its bytes can be counted so far.
fn check_file(call: &Call<'_>, id: DescId, offset: u64, len: u64) -> Result<(), Stop> {
    if call
        .objects()
        .description(id)?
        .flags
        .contains(OpenFlags::PATH)
    {
        return Err(Errno::EBADF.into());
    }
    match offset.checked_add(len) {
        Some(end) if i64::try_from(end).is_ok() => Ok(()),
        _ => Err(Errno::EOVERFLOW.into()),
    }
}

/// A mapping that was asked for.
struct Wanted {
    place: Place,
    len: u64,
    protection: Protection,
    shared: bool,
    offset: u64,
    grows: bool,
    flags: Flags,
}

impl Wanted {
    /// Makes it of this.
    fn map(&self, call: &Call<'_>, backing: Backing, note: u32, flags: Flags) -> Outcome {
        let what = Mapping {
            protection: self.protection,
            offset: match backing {
                Backing::Anonymous => 0,
                _ => self.offset,
            },
            backing,
            note,
            flags: self.flags.with(flags),
        };
        call.space()
            .map_as(self.place, self.len, what)
            .map_err(no_room)
    }
}

fn map_anonymous(call: &Call<'_>, want: &Wanted) -> Outcome {
    make_room(call, want.place, want.len)?;
    let backing = match want.shared {
        false => Backing::Anonymous,
        // Files and memory that processes share are counted together.
        true => Backing::Shared(Shared::new(call.objects().fs.quota(), want.len)),
    };
    let flags = match want.grows {
        true => Flags::GROWS_DOWN,
        false => Flags::NONE,
    };
    let want = Wanted { offset: 0, ..*want };
    want.map(call, backing, note::NONE, flags)
}

/// Maps a file. What lies unchanged in the boot archive stays there; everything else is pages that mappings can share.
fn map_file(call: &Call<'_>, want: &Wanted, fd: Fd, id: DescId) -> Outcome {
    let objects = call.objects();
    let description = objects.description(id)?;
    let flags = description.flags;
    let shared = want.shared;
    if !flags.readable() || shared && want.protection.write && !flags.writable() {
        return Err(Errno::EACCES.into());
    }
    // What has no place among the files, and what /proc makes up, is never run.
    if want.protection.execute && objects.never_runs(id)? {
        return Err(Errno::EPERM.into());
    }
    let size = objects.mapped_size(id)?;
    if want.grows {
        return Err(Errno::EINVAL.into());
    }
    drop(objects);
    make_room(call, want.place, want.len)?;
    let mut objects = call.objects();
    let name = objects.path_of_description(id).unwrap_or_default();
    let note = if name.is_empty() {
        note::NONE
    } else {
        let node = objects.description(id)?.node;
        let inode = node.map_or(0, |node| objects.ino(&call.world(), node));
        call.process.note_of(&name, inode)
    };
    let is_sealed = objects.is_sealed(id);
    let never = match shared && (!flags.writable() || is_sealed) {
        true => Flags::NEVER_WRITE,
        false => Flags::NONE,
    };
    if shared && want.protection.write && is_sealed {
        return Err(Errno::EPERM.into());
    }
    if size == u64::MAX {
        // /dev/zero.
        let backing = match shared {
            true => Backing::Shared(Shared::new(objects.fs.quota(), want.len)),
            false => Backing::Anonymous,
        };
        drop(objects);
        let want = Wanted { offset: 0, ..*want };
        return want.map(call, backing, note, never);
    }
    // A file of the archive that nobody may write to through this mapping stays where it is.
    let archived = objects
        .archived(id)
        .filter(|_| !shared || !flags.writable());
    if let Some(bytes) = archived
        && let Some(start) = ebb_mem::virt_to_phys(bytes.as_ptr())
        && start.is_aligned(PAGE)
        && !bytes.is_empty()
    {
        let len = bytes.len() as u64;
        drop(objects);
        let shown = match shared {
            true => never.with(Flags::SHOWN_SHARED),
            false => never,
        };
        return want.map(call, Backing::Image { start, len }, note, shown);
    }
    // Others may write to the file between two parts; after some attempts all of it is moved at once.
    let most = if call.work().at < 1000 {
        COPY as u64 / PAGE
    } else {
        u64::MAX
    };
    let Some(pages) = objects.share_pages(id, most, shared)? else {
        drop(objects);
        call.keep_open(fd)?;
        let at = call.work().at + 1;
        return call.next_part(Work { done: 0, at });
    };
    drop(objects);
    let backing = match shared {
        true => Backing::Shared(pages),
        false => Backing::Private(pages),
    };
    want.map(call, backing, note, never)
}

/// A file is not what the boot archive has any more: whoever maps that follows.
pub fn leave_archive(call: &Call<'_>, bytes: &'static [u8], file: InodeId) {
    let Some(from) = ebb_mem::virt_to_phys(bytes.as_ptr()) else {
        return;
    };
    let processes = call.uc.processes.borrow();
    let is_mapped = processes
        .live
        .iter()
        .any(|p| p.memory().space.borrow().shows_image(from));
    if !is_mapped {
        return;
    }
    // Without memory for its pages the mappings stay as they are.
    let pages = call
        .objects()
        .fs
        .share_file(NodeRef::Upper(file), u64::MAX, true);
    if let Ok(Some(pages)) = pages {
        for process in &processes.live {
            let memory = process.memory();
            let _ = memory
                .space
                .borrow_mut()
                .exchange_image(from, &Arc::clone(&pages));
        }
    }
}
