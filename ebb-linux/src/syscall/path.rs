//! Calls that take paths.

use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::abi::flags::{AT_FDCWD, AtFlags, OpenFlags};
use crate::object::env::Time;
use crate::object::fd::Fd;
use crate::object::ops::files::Resolve;
use crate::object::vfs::Opened;
use crate::object::vfs::{RenameFlags, SetTime};
use crate::object::wait::Events;
use alloc::vec::Vec;
use ebb_mem::space::PAGE;

const PATH_MAX: usize = 4096;

/// The path at an address.
pub fn path(call: &Call<'_>, address: u64) -> Result<Vec<u8>, Stop> {
    call.space()
        .get_string(address, PATH_MAX)?
        .ok_or(Errno::ENAMETOOLONG.into())
}

fn at(flags: u64) -> AtFlags {
    AtFlags::from_bits_retain(flags as u32)
}

fn open_at(call: &Call<'_>, dirfd: Fd, address: u64, flags: u64, mode: u64) -> Outcome {
    open_resolved(call, (dirfd, address), flags, mode, Resolve::empty())
}

fn open_resolved(
    call: &Call<'_>,
    (dirfd, address): (Fd, u64),
    flags: u64,
    mode: u64,
    resolve: Resolve,
) -> Outcome {
    let pending = call.waited(|w| w.rare.as_mut()?.fifo.take()).flatten();
    let opened = match pending {
        Some(pending) => Opened::Fifo(pending),
        None => {
            let path = path(call, address)?;
            call.on_objects(|o, w| {
                o.open_in(w, (dirfd, &path), flags as u32, mode as u32, resolve)
            })?
        }
    };
    match opened {
        Opened::Fd(fd) => Ok(fd as u64),
        Opened::Fifo(pending) => {
            let desc = pending.desc;
            let result = call.objects().finish_open(pending);
            match result {
                Ok(fd) => Ok(fd as u64),
                Err(Errno::EAGAIN) => {
                    let mut objects = call.objects();
                    let queue = objects.queue_of(desc)?.ok_or(Errno::ENXIO)?;
                    call.thread(|t| {
                        let waiting = t.waiting.get_or_insert_default();
                        waiting.rare_mut().fifo = Some(pending);
                        objects.register_queue(
                            queue,
                            Events::all(),
                            &mut t.registration,
                            call.waker,
                        );
                    })?;
                    Err(Stop::Wait)
                }
                Err(errno) => Err(errno.into()),
            }
        }
    }
}

pub fn open(call: &Call<'_>) -> Outcome {
    open_at(call, AT_FDCWD, call.args[0], call.args[1], call.args[2])
}

pub fn openat(call: &Call<'_>) -> Outcome {
    open_at(call, call.fd(0), call.args[1], call.args[2], call.args[3])
}

pub fn openat2(call: &Call<'_>) -> Outcome {
    let [_, address, how, size, ..] = call.args;
    if size < 24 {
        return Err(Errno::EINVAL.into());
    }
    if size > PAGE {
        return Err(Errno::E2BIG.into());
    }
    let [flags, mode, resolve]: [u64; 3] = call.space().get(how)?;
    // A later, longer structure: what is not known here must not be asked for.
    let more: Vec<u8> = call.space().get_array(how + 24, size as usize - 24)?;
    if more.iter().any(|&b| b != 0) {
        return Err(Errno::E2BIG.into());
    }
    let known = u64::from(OpenFlags::KNOWN.bits());
    let with_path =
        OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::CLOEXEC;
    let open = OpenFlags::from_bits_retain(flags as u32);
    let makes = open.intersects(OpenFlags::CREAT | OpenFlags::TMPFILE);
    let resolve = u32::try_from(resolve).ok().and_then(Resolve::from_bits);
    let both = Resolve::BENEATH | Resolve::IN_ROOT;
    let Some(resolve) = resolve.filter(|r| !r.contains(both)) else {
        return Err(Errno::EINVAL.into());
    };
    if flags & !known != 0
        || mode & !0o7777 != 0
        || mode != 0 && !makes
        || open.contains(OpenFlags::PATH) && !with_path.contains(open)
    {
        return Err(Errno::EINVAL.into());
    }
    if resolve.contains(Resolve::CACHED) && (makes || open.contains(OpenFlags::TRUNC)) {
        return Err(Errno::EAGAIN.into());
    }
    open_resolved(call, (call.fd(0), address), flags, mode, resolve)
}

pub fn creat(call: &Call<'_>) -> Outcome {
    // O_CREAT | O_WRONLY | O_TRUNC
    open_at(call, AT_FDCWD, call.args[0], 0o1101, call.args[1])
}

fn stat_at(call: &Call<'_>, dirfd: Fd, address: u64, out: u64, flags: AtFlags) -> Outcome {
    let path = path(call, address)?;
    let stat = call.on_objects(|o, w| o.stat(w, dirfd, &path, flags))?;
    call.space().put(out, stat.to_bytes())?;
    Ok(0)
}

pub fn stat(call: &Call<'_>) -> Outcome {
    stat_at(call, AT_FDCWD, call.args[0], call.args[1], AtFlags::empty())
}

pub fn lstat(call: &Call<'_>) -> Outcome {
    stat_at(
        call,
        AT_FDCWD,
        call.args[0],
        call.args[1],
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

pub fn newfstatat(call: &Call<'_>) -> Outcome {
    stat_at(
        call,
        call.fd(0),
        call.args[1],
        call.args[2],
        at(call.args[3]),
    )
}

pub fn fstat(call: &Call<'_>) -> Outcome {
    let stat = call.on_objects(|o, w| o.fstat(w, call.fd(0)))?;
    call.space().put(call.args[1], stat.to_bytes())?;
    Ok(0)
}

pub fn statx(call: &Call<'_>) -> Outcome {
    let [_, address, flags, mask, out, _] = call.args;
    // Either as fresh as can be or not, not both.
    let syncs = u64::from(AtFlags::STATX_SYNC.bits());
    if mask & 0x8000_0000 != 0 || flags & syncs == syncs {
        return Err(Errno::EINVAL.into());
    }
    let path = if address == 0 && flags & 0x1000 != 0 {
        Vec::new()
    } else {
        path(call, address)?
    };
    let stat = call.on_objects(|o, w| o.stat(w, call.fd(0), &path, at(flags)))?;
    call.space().put(out, stat.to_statx(mask as u32))?;
    Ok(0)
}

pub fn access(call: &Call<'_>) -> Outcome {
    let path = path(call, call.args[0])?;
    call.on_objects(|o, w| o.access(w, AT_FDCWD, &path, call.args[1] as u32, AtFlags::empty()))?;
    Ok(0)
}

pub fn faccessat(call: &Call<'_>) -> Outcome {
    let path = path(call, call.args[1])?;
    call.on_objects(|o, w| o.access(w, call.fd(0), &path, call.args[2] as u32, AtFlags::empty()))?;
    Ok(0)
}

pub fn faccessat2(call: &Call<'_>) -> Outcome {
    let path = path(call, call.args[1])?;
    call.on_objects(|o, w| o.access(w, call.fd(0), &path, call.args[2] as u32, at(call.args[3])))?;
    Ok(0)
}

fn readlink_at(call: &Call<'_>, dirfd: Fd, address: u64, out: u64, size: u64) -> Outcome {
    if size as i32 <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = path(call, address)?;
    let target = call.on_objects(|o, w| o.readlink(w, dirfd, &path))?;
    let n = target.len().min(size as u32 as usize);
    call.space().write(out, &target[..n])?;
    Ok(n as u64)
}

pub fn readlink(call: &Call<'_>) -> Outcome {
    readlink_at(call, AT_FDCWD, call.args[0], call.args[1], call.args[2])
}

pub fn readlinkat(call: &Call<'_>) -> Outcome {
    readlink_at(call, call.fd(0), call.args[1], call.args[2], call.args[3])
}

pub fn getcwd(call: &Call<'_>) -> Outcome {
    let path = call.on_objects(|o, _| o.getcwd())?;
    if path.len() as u64 > call.args[1] {
        return Err(Errno::ERANGE.into());
    }
    call.space().write(call.args[0], &path)?;
    Ok(path.len() as u64)
}

pub fn chdir(call: &Call<'_>) -> Outcome {
    let path = path(call, call.args[0])?;
    call.on_objects(|o, w| o.chdir(w, &path))?;
    Ok(0)
}

pub fn chroot(call: &Call<'_>) -> Outcome {
    let path = path(call, call.args[0])?;
    call.on_objects(|o, w| o.chroot(w, &path))?;
    Ok(0)
}

pub fn fchdir(call: &Call<'_>) -> Outcome {
    call.on_objects(|o, _| o.fchdir(call.fd(0)))?;
    Ok(0)
}

fn mkdir_at(call: &Call<'_>, dirfd: Fd, address: u64, mode: u64) -> Outcome {
    let path = path(call, address)?;
    call.on_objects(|o, w| o.mkdir(w, dirfd, &path, mode as u32))?;
    Ok(0)
}

pub fn mkdir(call: &Call<'_>) -> Outcome {
    mkdir_at(call, AT_FDCWD, call.args[0], call.args[1])
}

pub fn mkdirat(call: &Call<'_>) -> Outcome {
    mkdir_at(call, call.fd(0), call.args[1], call.args[2])
}

fn mknod_at(call: &Call<'_>, dirfd: Fd, address: u64, mode: u64, device: u64) -> Outcome {
    let path = path(call, address)?;
    call.on_objects(|o, w| o.mknod(w, dirfd, &path, mode as u32, device))?;
    Ok(0)
}

pub fn mknod(call: &Call<'_>) -> Outcome {
    mknod_at(call, AT_FDCWD, call.args[0], call.args[1], call.args[2])
}

pub fn mknodat(call: &Call<'_>) -> Outcome {
    mknod_at(call, call.fd(0), call.args[1], call.args[2], call.args[3])
}

fn unlink_at(call: &Call<'_>, dirfd: Fd, address: u64, flags: AtFlags) -> Outcome {
    let path = path(call, address)?;
    call.on_objects(|o, w| o.unlink(w, dirfd, &path, flags))?;
    Ok(0)
}

pub fn unlink(call: &Call<'_>) -> Outcome {
    unlink_at(call, AT_FDCWD, call.args[0], AtFlags::empty())
}

pub fn rmdir(call: &Call<'_>) -> Outcome {
    unlink_at(call, AT_FDCWD, call.args[0], AtFlags::REMOVEDIR)
}

pub fn unlinkat(call: &Call<'_>) -> Outcome {
    unlink_at(call, call.fd(0), call.args[1], at(call.args[2]))
}

fn rename_at(call: &Call<'_>, old: (Fd, u64), new: (Fd, u64), flags: u64) -> Outcome {
    let (from, to) = (path(call, old.1)?, path(call, new.1)?);
    let flags = RenameFlags::from_bits_retain(flags as u32);
    call.on_objects(|o, w| o.rename(w, (old.0, &from), (new.0, &to), flags))?;
    Ok(0)
}

pub fn rename(call: &Call<'_>) -> Outcome {
    rename_at(call, (AT_FDCWD, call.args[0]), (AT_FDCWD, call.args[1]), 0)
}

pub fn renameat(call: &Call<'_>) -> Outcome {
    rename_at(
        call,
        (call.fd(0), call.args[1]),
        (call.fd(2), call.args[3]),
        0,
    )
}

pub fn renameat2(call: &Call<'_>) -> Outcome {
    rename_at(
        call,
        (call.fd(0), call.args[1]),
        (call.fd(2), call.args[3]),
        call.args[4],
    )
}

fn link_at(call: &Call<'_>, old: (Fd, u64), new: (Fd, u64), flags: AtFlags) -> Outcome {
    let (from, to) = (path(call, old.1)?, path(call, new.1)?);
    call.on_objects(|o, w| o.link(w, (old.0, &from), (new.0, &to), flags))?;
    Ok(0)
}

pub fn link(call: &Call<'_>) -> Outcome {
    link_at(
        call,
        (AT_FDCWD, call.args[0]),
        (AT_FDCWD, call.args[1]),
        AtFlags::empty(),
    )
}

pub fn linkat(call: &Call<'_>) -> Outcome {
    link_at(
        call,
        (call.fd(0), call.args[1]),
        (call.fd(2), call.args[3]),
        at(call.args[4]),
    )
}

fn symlink_at(call: &Call<'_>, target: u64, dirfd: Fd, address: u64) -> Outcome {
    let target = path(call, target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let path = path(call, address)?;
    call.on_objects(|o, w| o.symlink(w, &target, dirfd, &path))?;
    Ok(0)
}

pub fn symlink(call: &Call<'_>) -> Outcome {
    symlink_at(call, call.args[0], AT_FDCWD, call.args[1])
}

pub fn symlinkat(call: &Call<'_>) -> Outcome {
    symlink_at(call, call.args[0], call.fd(1), call.args[2])
}

fn chmod_at(call: &Call<'_>, dirfd: Fd, path: &[u8], mode: u64, flags: AtFlags) -> Outcome {
    call.on_objects(|o, w| o.chmod(w, dirfd, path, mode as u32, flags))?;
    Ok(0)
}

pub fn chmod(call: &Call<'_>) -> Outcome {
    chmod_at(
        call,
        AT_FDCWD,
        &path(call, call.args[0])?,
        call.args[1],
        AtFlags::empty(),
    )
}

pub fn fchmod(call: &Call<'_>) -> Outcome {
    call.objects().check_usable(call.fd(0))?;
    chmod_at(call, call.fd(0), b"", call.args[1], AtFlags::EMPTY_PATH)
}

pub fn fchmodat(call: &Call<'_>) -> Outcome {
    chmod_at(
        call,
        call.fd(0),
        &path(call, call.args[1])?,
        call.args[2],
        AtFlags::empty(),
    )
}

fn chown_at(
    call: &Call<'_>,
    dirfd: Fd,
    path: &[u8],
    uid: u64,
    gid: u64,
    flags: AtFlags,
) -> Outcome {
    call.on_objects(|o, w| o.chown(w, dirfd, path, (uid as u32, gid as u32), flags))?;
    Ok(0)
}

pub fn chown(call: &Call<'_>) -> Outcome {
    let path = path(call, call.args[0])?;
    chown_at(
        call,
        AT_FDCWD,
        &path,
        call.args[1],
        call.args[2],
        AtFlags::empty(),
    )
}

pub fn lchown(call: &Call<'_>) -> Outcome {
    let path = path(call, call.args[0])?;
    chown_at(
        call,
        AT_FDCWD,
        &path,
        call.args[1],
        call.args[2],
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

pub fn fchown(call: &Call<'_>) -> Outcome {
    call.objects().check_usable(call.fd(0))?;
    chown_at(
        call,
        call.fd(0),
        b"",
        call.args[1],
        call.args[2],
        AtFlags::EMPTY_PATH,
    )
}

pub fn fchownat(call: &Call<'_>) -> Outcome {
    let path = path(call, call.args[1])?;
    chown_at(
        call,
        call.fd(0),
        &path,
        call.args[2],
        call.args[3],
        at(call.args[4]),
    )
}

pub fn utimensat(call: &Call<'_>) -> Outcome {
    /// `UTIME_OMIT`.
    const OMIT: i64 = 0x3fff_fffe;
    let [_, address, times, flags, ..] = call.args;
    let set = |sec: i64, nsec: i64| match nsec {
        0x3fff_ffff => Ok(SetTime::Now),
        OMIT => Ok(SetTime::Omit),
        0..1_000_000_000 => Ok(SetTime::To(Time {
            sec,
            nsec: nsec as u32,
        })),
        _ => Err(Stop::Error(Errno::EINVAL)),
    };
    let (atime, mtime) = match times {
        0 => (SetTime::Now, SetTime::Now),
        _ => {
            let [a, b, c, d]: [i64; 4] = call.space().get(times)?;
            // Where nothing is to be set, nothing is looked at.
            if (b, d) == (OMIT, OMIT) {
                return Ok(0);
            }
            (set(a, b)?, set(c, d)?)
        }
    };
    let (path, flags) = match address {
        0 if call.fd(0) == AT_FDCWD => return Err(Errno::EFAULT.into()),
        0 if flags as u32 != 0 => return Err(Errno::EINVAL.into()),
        0 => {
            call.objects().check_usable(call.fd(0))?;
            (Vec::new(), at(flags) | AtFlags::EMPTY_PATH)
        }
        address => (path(call, address)?, at(flags)),
    };
    call.on_objects(|o, w| o.set_times(w, call.fd(0), &path, (atime, mtime), flags))?;
    Ok(0)
}

pub fn utimes(call: &Call<'_>) -> Outcome {
    let [name, times, ..] = call.args;
    set_times_in(call, AT_FDCWD, name, times)
}

pub fn futimesat(call: &Call<'_>) -> Outcome {
    let [_, name, times, ..] = call.args;
    if name == 0 {
        // The descriptor itself.
        call.objects().check_usable(call.fd(0))?;
        let (times, itself) = (micro_times(call, times)?, AtFlags::EMPTY_PATH);
        call.on_objects(|o, w| o.set_times(w, call.fd(0), b"", times, itself))?;
        return Ok(0);
    }
    set_times_in(call, call.fd(0), name, times)
}

fn set_times_in(call: &Call<'_>, dir: Fd, name: u64, times: u64) -> Outcome {
    let times = micro_times(call, times)?;
    let path = path(call, name)?;
    call.on_objects(|o, w| o.set_times(w, dir, &path, times, AtFlags::empty()))?;
    Ok(0)
}

/// Two `struct timeval`, or now.
fn micro_times(call: &Call<'_>, at: u64) -> Result<(SetTime, SetTime), Stop> {
    Ok(match at {
        0 => (SetTime::Now, SetTime::Now),
        at => {
            let [a, b, c, d]: [i64; 4] = call.space().get(at)?;
            let set = |sec, usec: i64| match usec {
                0..1_000_000 => Ok(SetTime::To(Time {
                    sec,
                    nsec: usec as u32 * 1000,
                })),
                _ => Err(Stop::Error(Errno::EINVAL)),
            };
            (set(a, b)?, set(c, d)?)
        }
    })
}

pub fn utime(call: &Call<'_>) -> Outcome {
    let times = match call.args[1] {
        0 => (SetTime::Now, SetTime::Now),
        at => {
            let [a, b]: [i64; 2] = call.space().get(at)?;
            let set = |sec| SetTime::To(Time { sec, nsec: 0 });
            (set(a), set(b))
        }
    };
    let path = path(call, call.args[0])?;
    call.on_objects(|o, w| o.set_times(w, AT_FDCWD, &path, times, AtFlags::empty()))?;
    Ok(0)
}

pub fn truncate(call: &Call<'_>) -> Outcome {
    if (call.args[1] as i64) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = path(call, call.args[0])?;
    call.on_objects(|o, w| o.truncate(w, &path, call.args[1] as i64))?;
    Ok(0)
}

pub fn statfs(call: &Call<'_>) -> Outcome {
    let path = path(call, call.args[0])?;
    let out = call.on_objects(|o, w| o.statfs(w, &path))?;
    call.space().put(call.args[1], out)?;
    Ok(0)
}

pub fn fstatfs(call: &Call<'_>) -> Outcome {
    let out = call.on_objects(|o, _| o.fstatfs(call.fd(0)))?;
    call.space().put(call.args[1], out)?;
    Ok(0)
}

pub fn umask(call: &Call<'_>) -> Outcome {
    let mut objects = call.objects();
    let new = call.args[0] as u32 & 0o777;
    Ok(core::mem::replace(&mut objects.files.umask, new).into())
}

pub fn inotify_init1(call: &Call<'_>) -> Outcome {
    Ok(call.on_objects(|o, _| o.inotify(call.args[0] as u32))? as u64)
}

pub fn inotify_init(call: &Call<'_>) -> Outcome {
    Ok(call.on_objects(|o, _| o.inotify(0))? as u64)
}

pub fn inotify_add_watch(call: &Call<'_>) -> Outcome {
    let path = path(call, call.args[1])?;
    Ok(call.on_objects(|o, w| o.inotify_add(w, call.fd(0), &path, call.args[2] as u32))? as u64)
}

pub fn inotify_rm_watch(call: &Call<'_>) -> Outcome {
    call.on_objects(|o, _| o.inotify_remove(call.fd(0), call.args[1] as i32))?;
    Ok(0)
}
