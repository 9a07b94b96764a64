//! Extended attributes: names, sizes and buffers. The rules are in `object/ops/files/attributes.rs`.

use super::path::path;
use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::object::vfs::{AttributeFlags, Named};
use alloc::vec::Vec;

/// The longest name (`XATTR_NAME_MAX`), in bytes.
const NAME_MAX: usize = 255;
/// The longest value (`XATTR_SIZE_MAX`), and the longest list of names (`XATTR_LIST_MAX`), in bytes.
const SIZE_MAX: u64 = 65_536;

/// How a call names its file in its first argument.
#[derive(Clone, Copy)]
enum How {
    Path,
    Link,
    Fd,
}

/// Runs `f` with what the first argument names.
fn with_named(
    call: &Call<'_>,
    how: How,
    f: impl FnOnce(&Call<'_>, Named<'_>) -> Outcome,
) -> Outcome {
    match how {
        How::Path => f(call, Named::Path(&path(call, call.args[0])?)),
        How::Link => f(call, Named::Link(&path(call, call.args[0])?)),
        How::Fd => f(call, Named::Fd(call.fd(0))),
    }
}

/// The name of an attribute, in the second argument.
fn name(call: &Call<'_>) -> Result<Vec<u8>, Stop> {
    let name = call.space().get_string(call.args[1], NAME_MAX + 1)?;
    // Linux says so of an empty one, too.
    name.filter(|name| !name.is_empty())
        .ok_or(Errno::ERANGE.into())
}

/// Gives the guest what it has `size` bytes for at `out`; with none, how many it would take.
fn give(call: &Call<'_>, bytes: &[u8], out: u64, size: u64) -> Outcome {
    let n = bytes.len() as u64;
    if size == 0 {
        return Ok(n);
    }
    if n > size.min(SIZE_MAX) {
        // No buffer would do.
        return Err(match size {
            SIZE_MAX.. => Errno::E2BIG,
            _ => Errno::ERANGE,
        }
        .into());
    }
    call.space().write(out, bytes)?;
    Ok(n)
}

fn set(call: &Call<'_>, how: How) -> Outcome {
    let [_, _, at, size, flags, _] = call.args;
    let flags = AttributeFlags::from_bits(flags as u32).ok_or(Errno::EINVAL)?;
    let name = name(call)?;
    if size > SIZE_MAX {
        return Err(Errno::E2BIG.into());
    }
    let value: Vec<u8> = call.space().get_array(at, size as usize)?;
    with_named(call, how, |call, named| {
        call.on_objects(|o, w| o.set_attribute(w, named, &name, &value, flags))?;
        Ok(0)
    })
}

fn get(call: &Call<'_>, how: How) -> Outcome {
    let [_, _, out, size, ..] = call.args;
    let name = name(call)?;
    with_named(call, how, |call, named| {
        let value = call.on_objects(|o, w| o.attribute(w, named, &name))?;
        give(call, &value, out, size)
    })
}

fn list(call: &Call<'_>, how: How) -> Outcome {
    let [_, out, size, ..] = call.args;
    with_named(call, how, |call, named| {
        let names = call.on_objects(|o, w| o.attribute_names(w, named))?;
        give(call, &names, out, size)
    })
}

fn remove(call: &Call<'_>, how: How) -> Outcome {
    let name = name(call)?;
    with_named(call, how, |call, named| {
        call.on_objects(|o, w| o.remove_attribute(w, named, &name))?;
        Ok(0)
    })
}

pub fn setxattr(call: &Call<'_>) -> Outcome {
    set(call, How::Path)
}

pub fn lsetxattr(call: &Call<'_>) -> Outcome {
    set(call, How::Link)
}

pub fn fsetxattr(call: &Call<'_>) -> Outcome {
    set(call, How::Fd)
}

pub fn getxattr(call: &Call<'_>) -> Outcome {
    get(call, How::Path)
}

pub fn lgetxattr(call: &Call<'_>) -> Outcome {
    get(call, How::Link)
}

pub fn fgetxattr(call: &Call<'_>) -> Outcome {
    get(call, How::Fd)
}

pub fn listxattr(call: &Call<'_>) -> Outcome {
    list(call, How::Path)
}

pub fn llistxattr(call: &Call<'_>) -> Outcome {
    list(call, How::Link)
}

pub fn flistxattr(call: &Call<'_>) -> Outcome {
    list(call, How::Fd)
}

pub fn removexattr(call: &Call<'_>) -> Outcome {
    remove(call, How::Path)
}

pub fn lremovexattr(call: &Call<'_>) -> Outcome {
    remove(call, How::Link)
}

pub fn fremovexattr(call: &Call<'_>) -> Outcome {
    remove(call, How::Fd)
}
