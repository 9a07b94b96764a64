//! `ioctl`: what concerns all descriptors and files; terminals and sockets have files of their own.

use super::{Call, Outcome, namespace, netdev, terminal};
use crate::abi::errno::Errno;
use crate::object::description::{DescId, Object};
use crate::object::fd::Fcntl;
use crate::object::kind::device::Device;

/// `FIGETBSZ`: the size of blocks that files are made of.
const FIGETBSZ: u32 = 2;
const BLOCK: i32 = 4096;
const TEXT_BLOCK: i32 = 1024;
/// `FICLONE` and `FICLONERANGE`: files that have their blocks in common.
const FICLONE: u32 = 0x4004_9409;
const FICLONERANGE: u32 = 0x4020_940d;

/// `FIBMAP`: on which block of a disk a file is, which only who may use the disk is told.
const FIBMAP: u32 = 1;
/// `FIFREEZE` and `FITHAW`: a file system for who has a right to it.
const FIFREEZE: u32 = 0xc004_5877;
const FITHAW: u32 = 0xc004_5878;
/// `FS_IOC_FIEMAP`: where on a disk files are.
const FIEMAP: u32 = 0xc020_660b;
/// `FIDEDUPERANGE`: what files have in common.
const FIDEDUPERANGE: u32 = 0xc018_9436;
/// `FS_IOC_GETFLAGS`, `FS_IOC_SETFLAGS`: the flags of `chattr`; and with more beside them, which is always 0 here.
const GETFLAGS: u32 = 0x8008_6601;
const SETFLAGS: u32 = 0x4008_6602;
const FSGETXATTR: u32 = 0x801c_581f;
/// `FS_NODUMP_FL` and `FS_NOATIME_FL`, and what they are called in a `struct fsxattr`.
const XFLAGS: [(u32, u32); 2] = [(0x40, 0x80), (0x80, 0x40)];

pub fn ioctl(call: &Call<'_>) -> Outcome {
    let [_, request, argument, ..] = call.args;
    let object = call.objects().check_usable(call.fd(0))?;
    let id = call.objects().lookup_fd(call.fd(0))?;
    let end = call.objects().terminal_end(id);
    if let Some(end) = end
        && let Some(outcome) = terminal::ioctl(call, id, end, request as u32, argument)
    {
        return outcome;
    }
    match request as u32 {
        // FIOCLEX, FIONCLEX
        0x5451 | 0x5450 => {
            let flag = u32::from(request == 0x5451);
            call.on_objects(|o, w| o.fcntl(w, call.fd(0), Fcntl::SetFd(flag)))?;
            Ok(0)
        }
        // FIONBIO
        0x5421 => {
            let on: i32 = call.space().get(argument)?;
            call.objects().set_nonblocking(id, on != 0)?;
            Ok(0)
        }
        // FIOASYNC
        0x5452 => {
            let on: i32 = call.space().get(argument)?;
            call.objects().set_asynchronous(call.fd(0), on != 0)?;
            if on != 0 {
                crate::signal::ready::start(call.uc);
            }
            Ok(0)
        }
        // FIONREAD
        0x541b => {
            let available = call.on_objects(|o, w| o.bytes_available(w, id))?;
            call.space().put(argument, available as i32)?;
            Ok(0)
        }
        // FIOQSIZE
        0x5460 => {
            let size = call.objects().size_of(id)?;
            call.space().put(argument, size)?;
            Ok(0)
        }
        FIGETBSZ => {
            let block = match object {
                Object::Text => TEXT_BLOCK,
                _ => BLOCK,
            };
            call.space().put(argument, block)?;
            Ok(0)
        }
        FICLONE | FICLONERANGE => {
            let source = match request as u32 {
                FICLONE => argument as i32,
                _ => call.space().get::<i64>(argument)? as i32,
            };
            call.objects().check_clone(id, source)?;
            Ok(0)
        }
        FIBMAP if matches!(object, Object::File | Object::Text) => Err(Errno::EPERM.into()),
        FIFREEZE | FITHAW => Err(Errno::EPERM.into()),
        FIEMAP => Err(Errno::EOPNOTSUPP.into()),
        FIDEDUPERANGE => deduplicate(call, id, object),
        GETFLAGS | SETFLAGS | FSGETXATTR if matches!(object, Object::File | Object::Dir) => {
            file_flags(call, id, request as u32)
        }
        // RNDGETENTCNT: as much as there ever is.
        0x8004_5200 if is_random(object) => {
            call.space().put(argument, 256)?;
            Ok(0)
        }
        request if netdev::is_known(request) && call.objects().socket_of(id).is_ok() => {
            netdev::ioctl(call, id, request, argument)
        }
        0xb701..=0xb70f if let Some(outcome) = namespace::ioctl(call, id, request as u32) => {
            outcome
        }
        // These know requests of their own, and say so.
        _ if matches!(object, Object::Epoll(_)) || is_random(object) => Err(Errno::EINVAL.into()),
        _ => Err(Errno::ENOTTY.into()),
    }
}

/// `FIDEDUPERANGE`: no file here can have its blocks in common with another.
fn deduplicate(call: &Call<'_>, id: DescId, object: Object) -> Outcome {
    // Where it begins, how long it is, the number of others, and two words of nothing.
    let [start, len, counts]: [u64; 3] = call.space().get(call.args[2])?;
    let (others, nothing) = (counts & 0xffff, counts >> 16);
    if 24 + 32 * others > 4096 {
        return Err(Errno::ENOMEM.into());
    }
    let readable = call.objects().description(id)?.flags.readable();
    Err(match object {
        _ if !readable || nothing != 0 || start.checked_add(len).is_none() => Errno::EINVAL,
        Object::Dir => Errno::EISDIR,
        Object::File | Object::Text => Errno::EOPNOTSUPP,
        _ => Errno::EINVAL,
    }
    .into())
}

fn file_flags(call: &Call<'_>, id: DescId, request: u32) -> Outcome {
    let at = call.args[2];
    if request == SETFLAGS {
        let flags: u32 = call.space().get(at)?;
        call.on_objects(|o, w| o.set_file_flags(w, id, flags))?;
        return Ok(0);
    }
    let flags = call.objects().file_flags(id)?;
    if request == GETFLAGS {
        call.space().put(at, flags)?;
        return Ok(0);
    }
    let mut told = [0u32; 7];
    for (flag, name) in XFLAGS {
        told[0] |= if flags & flag != 0 { name } else { 0 };
    }
    call.space().put(at, told)?;
    Ok(0)
}

fn is_random(object: Object) -> bool {
    matches!(object, Object::Device(Device::Random | Device::Urandom))
}
