//! Record locks: of the process and of open file descriptions, which conflict with one another, over random ranges.

use ebb_linux::object::{Objects, errno::Errno, flags::AT_FDCWD, record::FileLock, vfs::Opened};

use crate::{Outcome, compare, host, model, random::Random};

const SLOTS: usize = 5;
const FILES: [&str; 2] = ["c", "a/x"];

#[derive(Clone, Debug)]
enum Op {
    Open(usize, usize, u32),
    Close(usize),
    Dup(usize, usize),
    Seek(usize, i64),
    Set(usize, bool, Wanted),
    Get(usize, bool, Wanted),
    Flock(usize, u32),
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    kind: u16,
    whence: u16,
    start: i64,
    len: i64,
    pid: i32,
}

fn wanted(r: &mut Random, kinds: &[u16]) -> Wanted {
    Wanted {
        kind: r.pick(kinds),
        whence: r.pick(&[0, 0, 0, 1, 2, 3]),
        start: r.pick(&[0, 1, 2, 3, 4, 6, 8, 10, 100, -1, -3, i64::MAX, i64::MAX - 1]),
        len: r.pick(&[0, 0, 1, 2, 3, 5, 100, -1, -2, i64::MAX, i64::MIN]),
        pid: if r.chance(5) { 1 } else { 0 },
    }
}

fn op(r: &mut Random) -> Op {
    let slot = |r: &mut Random| r.below(SLOTS as u64) as usize;
    match r.below(100) {
        0..20 => Op::Open(slot(r), r.below(2) as usize, r.pick(&[2, 2, 2, 0, 1])),
        20..26 => Op::Close(slot(r)),
        26..30 => Op::Dup(slot(r), slot(r)),
        30..33 => Op::Seek(slot(r), r.pick(&[0, 3, 8])),
        33..80 => Op::Set(slot(r), r.chance(60), wanted(r, &[0, 0, 0, 1, 1, 2, 2, 3])),
        80..92 => Op::Get(slot(r), r.chance(60), wanted(r, &[0, 1])),
        _ => Op::Flock(slot(r), 4 | r.pick(&[1, 2, 8, 3])),
    }
}

fn run_model(ops: &[Op]) -> Vec<Outcome> {
    let world = model::World::default();
    let mut o: Objects = model::objects(&world);
    o.chdir(&world, b"/w").unwrap();
    let mut fds = [-1; SLOTS];
    let mut out = Vec::new();
    for op in ops {
        out.push(match *op {
            Op::Open(a, file, flags) => {
                match o.open(&world, AT_FDCWD, FILES[file].as_bytes(), flags, 0) {
                    Ok(Opened::Fd(fd)) => {
                        if fds[a] >= 0 {
                            o.close(fds[a]).unwrap();
                        }
                        fds[a] = fd;
                        Outcome::Value(0)
                    }
                    Ok(Opened::Fifo(pending)) => panic!("{pending:?}"),
                    Err(errno) => Outcome::Errno(errno.number()),
                }
            }
            Op::Close(a) => model::done(o.close(std::mem::replace(&mut fds[a], -1))),
            Op::Dup(a, b) if a != b => match o.dup(fds[a]) {
                Ok(fd) => {
                    let _ = o.close(std::mem::replace(&mut fds[b], fd));
                    Outcome::Value(0)
                }
                Err(errno) => Outcome::Errno(errno.number()),
            },
            Op::Dup(..) => Outcome::Value(0),
            Op::Seek(a, at) => {
                model::value(o.seek(fds[a], at, ebb_linux::object::transfer::Whence::Set))
            }
            Op::Flock(a, operation) => model::done((|| {
                let flock = ebb_linux::object::lock::Flock::from_number(operation);
                let flock = flock.ok_or(Errno::EINVAL)?;
                let id = o.lookup_fd(fds[a])?;
                o.flock(&world, id, flock)
            })()),
            Op::Set(a, ofd, wanted) => model::done((|| {
                let id = o.lookup_fd(fds[a])?;
                let request = o.record_request(id, lock(wanted), 1, ofd)?;
                o.set_record(id, &request)
            })()),
            Op::Get(a, ofd, wanted) => model::value((|| {
                let id = o.lookup_fd(fds[a])?;
                let request = o.record_request(id, lock(wanted), 1, ofd)?;
                Ok(i64::from(o.find_record(&request)?.is_some()))
            })()),
        });
    }
    out
}

fn lock(w: Wanted) -> FileLock {
    FileLock {
        kind: w.kind,
        whence: w.whence,
        start: w.start,
        len: w.len,
        pid: w.pid,
    }
}

fn run_host(ops: &[Op]) -> Vec<Outcome> {
    host::in_root(|| {
        let mut fds = [-1; SLOTS];
        let mut out = Vec::new();
        for op in ops {
            // SAFETY: descriptors of this test alone, and structures that live through the calls.
            let value = unsafe {
                match *op {
                    Op::Open(a, file, flags) => {
                        let fd = libc::open(host::c(FILES[file].as_bytes()).as_ptr(), flags as i32);
                        if fd >= 0 {
                            if fds[a] >= 0 {
                                libc::close(fds[a]);
                            }
                            fds[a] = fd;
                        }
                        fd.min(0)
                    }
                    Op::Close(a) => libc::close(std::mem::replace(&mut fds[a], -1)),
                    Op::Dup(a, b) if a != b => {
                        let fd = libc::dup(fds[a]);
                        if fd >= 0 {
                            let old = std::mem::replace(&mut fds[b], fd);
                            if old >= 0 {
                                libc::close(old);
                            }
                        }
                        fd.min(0)
                    }
                    Op::Dup(..) => 0,
                    Op::Seek(a, at) => libc::lseek(fds[a], at, 0) as i32,
                    Op::Flock(a, operation) => libc::flock(fds[a], operation as i32),
                    Op::Set(a, ofd, wanted) => {
                        let command = if ofd {
                            libc::F_OFD_SETLK
                        } else {
                            libc::F_SETLK
                        };
                        let lock = host_lock(wanted);
                        libc::fcntl(fds[a], command, &raw const lock)
                    }
                    Op::Get(a, ofd, wanted) => {
                        let command = if ofd {
                            libc::F_OFD_GETLK
                        } else {
                            libc::F_GETLK
                        };
                        let mut lock = host_lock(wanted);
                        match libc::fcntl(fds[a], command, &raw mut lock) {
                            0 => i32::from(i32::from(lock.l_type) != libc::F_UNLCK),
                            error => error,
                        }
                    }
                }
            };
            out.push(host::value(value.into()));
        }
        for fd in fds {
            // SAFETY: as above.
            unsafe { libc::close(fd) };
        }
        out
    })
}

fn host_lock(w: Wanted) -> libc::flock {
    libc::flock {
        l_type: w.kind as i16,
        l_whence: w.whence as i16,
        l_start: w.start,
        l_len: w.len,
        l_pid: w.pid,
    }
}

#[test]
fn record_locks_conflict_split_join_and_end_as_on_linux() {
    if !host::may_chroot() {
        println!("not run: needs root");
        return;
    }
    compare("locks", 120, op, run_model, run_host);
}
