//! Name spaces: a UC has one of each kind, which processes may open, compare and ask about. Making others, and entering one,
//! takes a capability that no process of a UC has.

use super::{Call, Outcome, Stop};
use crate::abi::clone::{CLONE_FS, CLONE_THREAD};
use crate::abi::errno::Errno;
use crate::object::id::DescId;

pub const NEWTIME: u64 = 0x80;
const NEWNS: u64 = 0x2_0000;
const NEWCGROUP: u64 = 0x200_0000;
const NEWUTS: u64 = 0x400_0000;
const NEWIPC: u64 = 0x800_0000;
const NEWUSER: u64 = 0x1000_0000;
const NEWPID: u64 = 0x2000_0000;
const NEWNET: u64 = 0x4000_0000;
/// The flags of `clone` that ask for a new name space. `NEWTIME` is among the numbers of signals there.
const NEW: u64 = NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET;

/// `ioctl` of name spaces: the one of users that it belongs to, the one around it, its kind, and its owner.
const GET_USERNS: u32 = 0xb701;
const GET_PARENT: u32 = 0xb702;
const GET_NSTYPE: u32 = 0xb703;
const GET_OWNER_UID: u32 = 0xb704;

/// Refuses a new process or thread with name spaces of its own.
///
/// # Errors
/// `EINVAL` for what excludes one another, else `EPERM`.
pub fn check_clone(flags: u64) -> Result<(), Stop> {
    let has = |all| flags & all == all;
    if has(NEWNS | CLONE_FS)
        || has(NEWUSER | CLONE_FS)
        || has(CLONE_THREAD) && flags & (NEWUSER | NEWPID) != 0
    {
        return Err(Errno::EINVAL.into());
    }
    match flags & (NEW | NEWTIME) {
        0 => Ok(()),
        _ => Err(Errno::EPERM.into()),
    }
}

/// Whether `unshare` is asked for a new name space.
pub const fn is_new(flags: u64) -> bool {
    flags & (NEW | NEWTIME) != 0
}

/// Takes what asks for new name spaces out of flags.
pub const fn without_new(flags: u64) -> u64 {
    flags & !(NEW | NEWTIME)
}

/// The flag of a kind of name space by the name that its file begins with.
fn flag(kind: &str) -> u64 {
    match kind {
        "cgroup" => NEWCGROUP,
        "ipc" => NEWIPC,
        "mnt" => NEWNS,
        "net" => NEWNET,
        "pid" => NEWPID,
        "time" => NEWTIME,
        "user" => NEWUSER,
        _ => NEWUTS,
    }
}

/// `setns`, by a file of /proc/PID/ns or a descriptor of a process.
pub fn setns(call: &Call<'_>) -> Outcome {
    let wanted = u64::from(call.args[1] as u32);
    let id = call.objects().lookup_fd(call.fd(0))?;
    let kind = call.objects().name_space_of(id);
    let asked = match kind {
        Some(kind) if wanted == 0 || wanted == flag(kind) => flag(kind),
        Some(_) => return Err(Errno::EINVAL.into()),
        None => {
            call.objects()
                .process_of(call.fd(0))
                .map_err(|_| Errno::EINVAL)?;
            if wanted == 0 || without_new(wanted) != 0 {
                return Err(Errno::EINVAL.into());
            }
            wanted
        }
    };
    // Nobody enters the name space of users that they are in.
    match asked & NEWUSER {
        0 => Err(Errno::EPERM.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// A request of a name space; `None` for other descriptors and requests.
pub fn ioctl(call: &Call<'_>, id: DescId, request: u32) -> Option<Outcome> {
    let kind = call.objects().name_space_of(id)?;
    match (request, kind) {
        (GET_NSTYPE, kind) => Some(Ok(flag(kind))),
        (GET_PARENT, "pid" | "user") | (GET_USERNS, "user") => Some(Err(Errno::EPERM.into())),
        (GET_USERNS, _) => {
            let opened = call.on_objects(|o, w| o.open_name_space(w, "user"));
            Some(opened.map(|fd| fd as u64))
        }
        (GET_OWNER_UID, "user") => {
            let told = call.space().put(call.args[2], 0u32);
            Some(told.map(|()| 0).map_err(Stop::from))
        }
        (GET_PARENT | GET_OWNER_UID, _) => Some(Err(Errno::EINVAL.into())),
        _ => None,
    }
}
