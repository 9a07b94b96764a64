//! File systems by their numbers and names (`ustat`, `sysfs`), and files by handles (`name_to_handle_at`).

use super::path::path;
use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::object::flags::AtFlags;
use crate::object::fs::text::FILE_SYSTEMS;

/// The longest handle that Linux knows.
const MAX_HANDLE: u32 = 128;
/// What a handle is here: the file's number, which no other file of the UC ever has.
const HANDLE: u32 = 8;
/// Its kind (`FILEID_INO32_GEN`).
const HANDLE_TYPE: u32 = 1;

/// Free blocks and free inodes of the file system with a device's number.
pub fn ustat(call: &Call<'_>) -> Outcome {
    let [device, out, ..] = call.args;
    // Major and minor number as `stat` gives them, in 32 bits.
    let device = u64::from(device as u32);
    let (blocks, inodes) = call.objects().room_of(device).ok_or(Errno::EINVAL)?;
    call.space()
        .put(out, [u64::from(blocks as u32), inodes, 0, 0])?;
    Ok(0)
}

/// The file systems that there are: the number of a name, the name of a number, how many.
pub fn sysfs(call: &Call<'_>) -> Outcome {
    let [option, argument, out, ..] = call.args;
    match option as i32 {
        1 => {
            let wanted = path(call, argument)?;
            let at = FILE_SYSTEMS.iter().position(|n| n.as_bytes() == wanted);
            Ok(at.ok_or(Errno::EINVAL)? as u64)
        }
        2 => {
            let name = FILE_SYSTEMS.get(argument as u32 as usize);
            let name = name.ok_or(Errno::EINVAL)?;
            let mut space = call.space();
            space.write(out, name.as_bytes())?;
            space.write(out.wrapping_add(name.len() as u64), &[0])?;
            Ok(0)
        }
        3 => Ok(FILE_SYSTEMS.len() as u64),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// A handle by which a file can be known again, though not opened: that takes a capability that nobody has.
pub fn name_to_handle_at(call: &Call<'_>) -> Outcome {
    let [_, name, handle, mount, flags, _] = call.args;
    let flags = AtFlags::from_bits_retain(flags as u32);
    if !(AtFlags::SYMLINK_FOLLOW | AtFlags::EMPTY_PATH).contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let name = path(call, name)?;
    let (number, mount_id) = call.on_objects(|o, w| o.handle_of(w, call.fd(0), &name, flags))?;
    let mut space = call.space();
    let room: u32 = space.get(handle)?;
    if room > MAX_HANDLE {
        return Err(Errno::EINVAL.into());
    }
    space.put(mount, mount_id)?;
    space.put(handle, HANDLE)?;
    if room < HANDLE {
        return Err(Errno::EOVERFLOW.into());
    }
    space.put(handle.wrapping_add(4), HANDLE_TYPE)?;
    space.put(handle.wrapping_add(8), number)?;
    Ok(0)
}

/// Nobody has the right to mount; what is wrong with the arguments is told before, as Linux does.
pub fn mount(call: &Call<'_>) -> Outcome {
    let [source, target, kind, ..] = call.args;
    for text in [kind, source] {
        if text != 0 {
            path(call, text)?;
        }
    }
    is_there(call, target)?;
    Err(Errno::EPERM.into())
}

pub fn umount2(call: &Call<'_>) -> Outcome {
    // MNT_FORCE, MNT_DETACH, MNT_EXPIRE, UMOUNT_NOFOLLOW
    if call.args[1] as u32 & !15 != 0 {
        return Err(Errno::EINVAL.into());
    }
    is_there(call, call.args[0])?;
    Err(Errno::EPERM.into())
}

pub fn swapon(call: &Call<'_>) -> Outcome {
    // A priority, and how freed pages are discarded.
    const KNOWN: u32 = 0x7_ffff;
    Err(match call.args[1] as u32 & !KNOWN {
        0 => Errno::EPERM.into(),
        _ => Errno::EINVAL.into(),
    })
}

/// Whether a path leads to something.
fn is_there(call: &Call<'_>, at: u64) -> Result<(), Stop> {
    let name = path(call, at)?;
    call.on_objects(|o, w| o.statfs(w, &name)).map(|_| ())
}
