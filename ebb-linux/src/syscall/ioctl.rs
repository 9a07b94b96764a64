//! `ioctl`: what concerns all descriptors and files; terminals and sockets have files of their own.

use super::{Call, Outcome, netdev, terminal};
use crate::abi::errno::Errno;
use crate::object::description::Object;
use crate::object::fd::Fcntl;
use crate::object::kind::device::Device;

/// `FIGETBSZ`: the size of blocks that files are made of.
const FIGETBSZ: u32 = 2;
const BLOCK: i32 = 4096;
/// `FICLONE` and `FICLONERANGE`: files that have their blocks in common.
const FICLONE: u32 = 0x4004_9409;
const FICLONERANGE: u32 = 0x4020_940d;

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
            call.space().put(argument, BLOCK)?;
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
        // RNDGETENTCNT: as much as there ever is.
        0x8004_5200 if is_random(object) => {
            call.space().put(argument, 256)?;
            Ok(0)
        }
        request if netdev::is_known(request) && call.objects().socket_of(id).is_ok() => {
            netdev::ioctl(call, id, request, argument)
        }
        // These know requests of their own, and say so.
        _ if matches!(object, Object::Epoll(_)) || is_random(object) => Err(Errno::EINVAL.into()),
        _ => Err(Errno::ENOTTY.into()),
    }
}

fn is_random(object: Object) -> bool {
    matches!(object, Object::Device(Device::Random | Device::Urandom))
}
