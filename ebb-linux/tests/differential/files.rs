//! The file system: paths, directories, links, opening, reading and writing, over files that the
//! objects have from the archive and the host really has.

use ebb_linux::object::{
    Objects,
    flags::{AT_FDCWD, AtFlags},
    transfer::Whence,
    vfs::{Entries, Opened, RenameFlags, stat::Stat},
};

use crate::{Outcome, compare, host, model, random::Random};

pub const SLOTS: usize = 6;
const NONBLOCK: u32 = 0o4000;

pub type Path = Vec<u8>;

#[derive(Clone, Debug)]
pub enum Op {
    Open(usize, usize, Path, u32),
    Close(usize),
    Read(usize, usize),
    Write(usize, usize),
    Pread(usize, usize, i64),
    Pwrite(usize, usize, i64),
    Seek(usize, i64, u32),
    Truncate(Path, i64),
    Ftruncate(usize, i64),
    Fallocate(usize, u32, i64, i64),
    Stat(usize, Path, u32),
    Mkdir(usize, Path),
    Unlink(usize, Path, u32),
    Rename(Path, Path, u32),
    Link(Path, Path, u32),
    Symlink(Path, Path),
    Readlink(Path),
    Access(Path, u32),
    Chmod(Path, u32),
    List(usize),
    Chdir(Path),
    Fchdir(usize),
    Getcwd,
    Mkfifo(Path),
    Copy(usize, usize, usize),
    Sendfile(usize, usize, usize),
}

pub fn path(r: &mut Random) -> Path {
    let names: [&[u8]; 14] = [
        b"a", b"b", b"c", b"d", b"x", b"y", b"l", b"up", b"loop", b".", b"..", b"a", b"d", b"new",
    ];
    if r.chance(1) {
        return r.pick(&[
            Vec::new(),
            vec![b'n'; 255],
            vec![b'n'; 256],
            vec![b'/'; 5000],
            b"/".to_vec(),
            b"c/".to_vec(),
        ]);
    }
    let mut path = if r.chance(10) {
        b"/w/".to_vec()
    } else {
        Vec::new()
    };
    for part in 0..r.below(3) + 1 {
        if part > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(r.pick(&names));
    }
    if r.chance(12) {
        path.extend_from_slice(if r.chance(50) { b"/" } else { b"//" });
    }
    path
}

fn slot(r: &mut Random) -> usize {
    r.below(SLOTS as u64) as usize
}

/// A descriptor to start from, or `SLOTS` for the working directory.
fn base(r: &mut Random) -> usize {
    if r.chance(15) { slot(r) } else { SLOTS }
}

fn open_flags(r: &mut Random) -> u32 {
    let mut flags = r.pick(&[0, 0, 1, 2, 2, 2, 3]);
    for (bit, percent) in [
        (0o100, 50),     // CREAT
        (0o200, 12),     // EXCL
        (0o1000, 15),    // TRUNC
        (0o2000, 12),    // APPEND
        (0o200000, 15),  // DIRECTORY
        (0o400000, 12),  // NOFOLLOW
        (0o10000000, 6), // PATH
        (0o20200000, 3), // TMPFILE
        (0o20000000, 1), // half of it
    ] {
        if r.chance(percent) {
            flags |= bit;
        }
    }
    flags | NONBLOCK
}

pub fn op(r: &mut Random) -> Op {
    let sizes = [0, 1, 10, 4096, 5000, 9000];
    let offsets = [0, 1, 5, 4095, 4096, 8192, 9001, 20_000, -1, i64::MAX];
    match r.below(100) {
        0..18 => Op::Open(slot(r), base(r), path(r), open_flags(r)),
        18..22 => Op::Close(slot(r)),
        22..27 => Op::Read(slot(r), r.pick(&sizes)),
        27..34 => Op::Write(slot(r), r.pick(&sizes)),
        34..36 => Op::Pread(slot(r), r.pick(&sizes), r.pick(&offsets)),
        36..38 => Op::Pwrite(slot(r), r.pick(&sizes), r.pick(&offsets)),
        38..42 => Op::Seek(slot(r), r.pick(&offsets), r.pick(&[0, 1, 2, 3, 4])),
        42..43 => Op::Truncate(path(r), r.pick(&[0, 3, 5000, -1])),
        43..45 => Op::Ftruncate(slot(r), r.pick(&[0, 3, 5000, 10_000, -1])),
        45..46 => Op::Fallocate(
            slot(r),
            r.pick(&[0, 1, 3, 3, 2, 16]),
            r.pick(&offsets),
            5000,
        ),
        46..54 => Op::Stat(base(r), path(r), r.pick(&[0, 0x100, 0x1000])),
        54..59 => Op::Mkdir(base(r), path(r)),
        59..66 => Op::Unlink(base(r), path(r), r.pick(&[0, 0x200])),
        66..76 => Op::Rename(path(r), path(r), r.pick(&[0, 0, 0, 0, 1, 2, 3])),
        76..80 => Op::Link(path(r), path(r), r.pick(&[0, 0x400])),
        80..83 => Op::Symlink(path(r), path(r)),
        83..85 => Op::Readlink(path(r)),
        85..87 => Op::Access(path(r), r.pick(&[0, 1, 4, 7, 8])),
        87..88 => Op::Chmod(path(r), r.pick(&[0o644, 0o755, 0o000])),
        88..93 => Op::List(slot(r)),
        93..95 => Op::Chdir(path(r)),
        95..96 => Op::Fchdir(slot(r)),
        96..97 => Op::Getcwd,
        97..98 => Op::Mkfifo(path(r)),
        98..99 => Op::Copy(slot(r), slot(r), r.pick(&sizes)),
        _ => Op::Sendfile(slot(r), slot(r), r.pick(&sizes)),
    }
}

fn pattern(n: usize, salt: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 7 + salt) as u8).collect()
}

/// What of a `stat` must agree. The sizes of directories and the links of those with archived
/// entries are the file system's own affair.
fn show(mode: u32, nlink: u64, size: u64) -> Outcome {
    let dir = mode & 0o170000 == 0o040000;
    let size = if dir { 0 } else { size };
    Outcome::Text(vec![
        format!("{mode:o}"),
        format!("{nlink}"),
        format!("{size}"),
    ])
}

/// The names and types in a buffer of directory entries.
fn entries(mut bytes: &[u8], out: &mut Vec<String>) {
    while bytes.len() > 19 {
        let size = u16::from_le_bytes([bytes[16], bytes[17]]) as usize;
        let name = &bytes[19..size];
        let end = name.iter().position(|&b| b == 0).unwrap();
        out.push(format!(
            "{} {}",
            String::from_utf8_lossy(&name[..end]),
            bytes[18]
        ));
        bytes = &bytes[size..];
    }
}

fn run_model(ops: &[Op]) -> Vec<Outcome> {
    let w = model::World::default();
    let mut o: Objects = model::objects(&w);
    o.chdir(&w, b"/w").unwrap();
    let mut fds = [-1; SLOTS + 1];
    fds[SLOTS] = AT_FDCWD;
    ops.iter()
        .enumerate()
        .map(|(at, op)| step(&mut o, &w, &mut fds, at, op))
        .collect()
}

pub fn step(
    o: &mut Objects,
    w: &model::World,
    fds: &mut [i32; SLOTS + 1],
    at: usize,
    op: &Op,
) -> Outcome {
    let at_flags = AtFlags::from_bits_retain;
    match op {
        Op::Open(s, base, path, flags) => match o.open(w, fds[*base], path, *flags, 0o666) {
            Ok(Opened::Fd(fd)) => {
                fds[*s] = fd;
                Outcome::Value(0)
            }
            Ok(Opened::Fifo(pending)) => panic!("{pending:?} although nonblocking"),
            Err(errno) => Outcome::Errno(errno.number()),
        },
        Op::Close(s) => {
            let fd = fds[*s];
            forget(fds, fd);
            model::done(o.close(fd))
        }
        Op::Read(s, n) => {
            let mut buffer = vec![0; *n];
            let result = o.read(w, fds[*s], &mut &mut buffer[..]);
            model::bytes(result.map(|n| buffer[..n].to_vec()))
        }
        Op::Write(s, n) => model::value(o.write(w, fds[*s], &mut &pattern(*n, at)[..])),
        Op::Pread(s, n, pos) => {
            let mut buffer = vec![0; *n];
            let result = o.pread(w, fds[*s], *pos, &mut &mut buffer[..]);
            model::bytes(result.map(|n| buffer[..n].to_vec()))
        }
        Op::Pwrite(s, n, pos) => {
            model::value(o.pwrite(w, fds[*s], *pos, &mut &pattern(*n, at)[..]))
        }
        Op::Seek(s, n, whence) => {
            model::value(o.seek(fds[*s], *n, Whence::from_number(*whence).unwrap()))
        }
        Op::Truncate(path, n) => model::done(o.truncate(w, path, *n)),
        Op::Ftruncate(s, n) => model::done(o.ftruncate(w, fds[*s], *n)),
        Op::Fallocate(s, mode, start, len) => {
            model::done(o.fallocate(w, fds[*s], *mode, *start, *len))
        }
        Op::Stat(base, path, flags) => match o.stat(w, fds[*base], path, at_flags(*flags)) {
            Ok(Stat {
                mode, nlink, size, ..
            }) => show(mode, nlink.into(), size),
            Err(errno) => Outcome::Errno(errno.number()),
        },
        Op::Mkdir(base, path) => model::done(o.mkdir(w, fds[*base], path, 0o777)),
        Op::Unlink(base, path, flags) => {
            model::done(o.unlink(w, fds[*base], path, at_flags(*flags)))
        }
        Op::Rename(from, to, flags) => {
            let flags = RenameFlags::from_bits_retain(*flags);
            model::done(o.rename(w, (AT_FDCWD, from), (AT_FDCWD, to), flags))
        }
        Op::Link(from, to, flags) => {
            model::done(o.link(w, (AT_FDCWD, from), (AT_FDCWD, to), at_flags(*flags)))
        }
        Op::Symlink(target, path) => model::done(o.symlink(w, target, AT_FDCWD, path)),
        Op::Readlink(path) => model::bytes(o.readlink(w, AT_FDCWD, path)),
        Op::Access(path, mode) => model::done(o.access(w, AT_FDCWD, path, *mode, AtFlags::empty())),
        Op::Chmod(path, mode) => model::done(o.chmod(w, AT_FDCWD, path, *mode, AtFlags::empty())),
        Op::List(s) => {
            let _ = o.seek(fds[*s], 0, Whence::Set);
            let mut names = Vec::new();
            let mut buffer = [0; 320];
            loop {
                match o.getdents(w, fds[*s], Entries::New, &mut &mut buffer[..]) {
                    Ok(0) => break,
                    Ok(n) => entries(&buffer[..n], &mut names),
                    Err(errno) if names.is_empty() => return Outcome::Errno(errno.number()),
                    Err(_) => break,
                }
            }
            // Positions between entries are the file system's own affair.
            let _ = o.seek(fds[*s], 0, Whence::Set);
            listed(names)
        }
        Op::Chdir(path) => model::done(o.chdir(w, path)),
        Op::Fchdir(s) => model::done(o.fchdir(fds[*s])),
        Op::Getcwd => model::bytes(o.getcwd()),
        Op::Mkfifo(path) => model::done(o.mknod(w, AT_FDCWD, path, 0o010644, 0)),
        Op::Copy(from, to, n) => {
            model::value(o.copy_file_range(w, (fds[*from], None), (fds[*to], None), *n))
        }
        Op::Sendfile(from, to, n) => model::value(o.sendfile(w, fds[*to], fds[*from], None, *n)),
    }
}

/// A listing without the order, and without what only one of the roots has.
fn listed(mut names: Vec<String>) -> Outcome {
    if names.iter().any(|n| n == "w 4") {
        names.clear();
    }
    names.sort();
    Outcome::Text(names)
}

fn run_host(ops: &[Op]) -> Vec<Outcome> {
    host::in_root(|| {
        let mut fds = [-1; SLOTS + 1];
        fds[SLOTS] = libc::AT_FDCWD;
        let mut opened = Vec::new();
        let step = |(at, op)| host_step(&mut fds, &mut opened, at, op);
        let out = ops.iter().enumerate().map(step).collect();
        for fd in opened {
            // SAFETY: the descriptor is this run's own.
            unsafe { libc::close(fd) };
        }
        out
    })
}

pub fn host_step(fds: &mut [i32; SLOTS + 1], opened: &mut Vec<i32>, at: usize, op: &Op) -> Outcome {
    let value = |n: i32| host::value(n.into());
    // SAFETY: every pointer is to a local that is as long as the call is told, or a C string.
    unsafe {
        match op {
            Op::Open(s, base, path, flags) => {
                let fd = libc::openat(fds[*base], host::c(path).as_ptr(), *flags as i32, 0o666);
                if fd >= 0 {
                    fds[*s] = fd;
                    opened.push(fd);
                }
                value(fd.min(0))
            }
            Op::Close(s) => {
                let fd = fds[*s];
                forget(fds, fd);
                opened.retain(|&o| o != fd);
                value(libc::close(fd))
            }
            Op::Read(s, n) => {
                let mut buffer = vec![0; *n];
                let n = libc::read(fds[*s], buffer.as_mut_ptr().cast(), *n);
                host::bytes(n as i64, buffer)
            }
            Op::Write(s, n) => {
                host::value(libc::write(fds[*s], pattern(*n, at).as_ptr().cast(), *n) as i64)
            }
            Op::Pread(s, n, pos) => {
                let mut buffer = vec![0; *n];
                let n = libc::pread(fds[*s], buffer.as_mut_ptr().cast(), *n, *pos);
                host::bytes(n as i64, buffer)
            }
            Op::Pwrite(s, n, pos) => {
                let bytes = pattern(*n, at);
                host::value(libc::pwrite(fds[*s], bytes.as_ptr().cast(), *n, *pos) as i64)
            }
            Op::Seek(s, n, whence) => host::value(libc::lseek(fds[*s], *n, *whence as i32)),
            Op::Truncate(path, n) => value(libc::truncate(host::c(path).as_ptr(), *n)),
            Op::Ftruncate(s, n) => value(libc::ftruncate(fds[*s], *n)),
            Op::Fallocate(s, mode, start, len) => {
                value(libc::fallocate(fds[*s], *mode as i32, *start, *len))
            }
            Op::Stat(base, path, flags) => {
                let mut stat: libc::stat = std::mem::zeroed();
                let path = host::c(path);
                let base = fds[*base];
                match libc::fstatat(base, path.as_ptr(), &raw mut stat, *flags as i32) {
                    0 => show(stat.st_mode, stat.st_nlink, stat.st_size as u64),
                    _ => Outcome::Errno(host::errno()),
                }
            }
            Op::Mkdir(base, path) => {
                value(libc::mkdirat(fds[*base], host::c(path).as_ptr(), 0o777))
            }
            Op::Unlink(base, path, flags) => value(libc::unlinkat(
                fds[*base],
                host::c(path).as_ptr(),
                *flags as i32,
            )),
            Op::Rename(from, to, flags) => {
                let (from, to, cwd) = (host::c(from), host::c(to), libc::AT_FDCWD);
                let (from, to) = (from.as_ptr(), to.as_ptr());
                host::value(libc::syscall(
                    libc::SYS_renameat2,
                    cwd,
                    from,
                    cwd,
                    to,
                    *flags,
                ))
            }
            Op::Link(from, to, flags) => {
                let (from, to, cwd) = (host::c(from), host::c(to), libc::AT_FDCWD);
                value(libc::linkat(
                    cwd,
                    from.as_ptr(),
                    cwd,
                    to.as_ptr(),
                    *flags as i32,
                ))
            }
            Op::Symlink(target, path) => value(libc::symlink(
                host::c(target).as_ptr(),
                host::c(path).as_ptr(),
            )),
            Op::Readlink(path) => {
                let mut buffer = vec![0; 5000];
                let path = host::c(path);
                let n = libc::readlink(path.as_ptr(), buffer.as_mut_ptr().cast(), 5000);
                host::bytes(n as i64, buffer)
            }
            Op::Access(path, mode) => value(libc::access(host::c(path).as_ptr(), *mode as i32)),
            Op::Chmod(path, mode) => value(libc::chmod(host::c(path).as_ptr(), *mode)),
            Op::List(s) => {
                libc::lseek(fds[*s], 0, 0);
                let mut names = Vec::new();
                let mut buffer = [0u8; 320];
                loop {
                    let (fd, to) = (fds[*s], buffer.as_mut_ptr());
                    match libc::syscall(libc::SYS_getdents64, fd, to, buffer.len()) {
                        0 => break,
                        n if n > 0 => entries(&buffer[..n as usize], &mut names),
                        _ if names.is_empty() => return Outcome::Errno(host::errno()),
                        _ => break,
                    }
                }
                libc::lseek(fds[*s], 0, 0);
                listed(names)
            }
            Op::Chdir(path) => value(libc::chdir(host::c(path).as_ptr())),
            Op::Fchdir(s) => value(libc::fchdir(fds[*s])),
            Op::Getcwd => {
                let mut buffer = vec![0u8; 5000];
                let n = libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len());
                host::bytes(n, buffer)
            }
            Op::Mkfifo(path) => value(libc::mkfifo(host::c(path).as_ptr(), 0o644)),
            Op::Copy(from, to, n) => {
                let null = std::ptr::null_mut();
                let (from, to) = (fds[*from], fds[*to]);
                host::value(libc::copy_file_range(from, null, to, null, *n, 0) as i64)
            }
            Op::Sendfile(from, to, n) => {
                let null = std::ptr::null_mut();
                host::value(libc::sendfile(fds[*to], fds[*from], null, *n) as i64)
            }
        }
    }
}

/// A closed number may soon be another's: no slot keeps it.
fn forget(fds: &mut [i32; SLOTS + 1], closed: i32) {
    for fd in &mut fds[..SLOTS] {
        if *fd == closed {
            *fd = -1;
        }
    }
}

#[test]
fn files_behave_as_on_a_linux_tmpfs() {
    if !host::may_chroot() {
        // A root directory of its own takes privileges; everything else here does not.
        println!("not run: needs root");
        return;
    }
    compare("files", 60, op, run_model, run_host);
}
