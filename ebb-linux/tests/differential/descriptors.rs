//! Pipes, eventfd, epoll, poll, socket pairs, descriptors and their flags.

use ebb_linux::object::{
    Objects,
    epoll::{Control, EpollEvent},
    fd::Fcntl,
    poll::PollFd,
    socket::message::MessageFlags,
    transfer::Whence,
    wait::Events,
};

use crate::{Outcome, compare, host, model, random::Random};

const SLOTS: usize = 10;
const NONBLOCK: u32 = 0o4000;

#[derive(Clone, Debug)]
enum Op {
    Pipe(usize, usize, u32),
    EventFd(usize, u32, u32),
    Epoll(usize, u32),
    SocketPair(usize, usize, u32),
    TimerFd(usize),
    Close(usize),
    Dup(usize, usize),
    Read(usize, usize),
    Write(usize, usize),
    /// A write to an eventfd that may overflow it.
    Add(usize, u64),
    Control(usize, usize, i32, u32),
    Wait(usize, i32),
    Poll(usize, u16),
    GetFlags(usize),
    SetFlags(usize, u32),
    PipeSize(usize, Option<u32>),
    Available(usize),
    Shutdown(usize, u32),
    Seek(usize, i64),
    Truncate(usize, i64),
    Peek(usize, usize),
}

fn slot(r: &mut Random) -> usize {
    r.below(SLOTS as u64) as usize
}

fn events(r: &mut Random) -> u32 {
    let mut bits = 0;
    for (bit, percent) in [
        (0x1, 70),
        (0x4, 60),
        (0x2000, 20),
        (0x2, 5),
        (0x40, 10),
        (0x100, 10),
        (1 << 31, 35),
        (1 << 30, 20),
        (1 << 28, 5),
    ] {
        if r.chance(percent) {
            bits |= bit;
        }
    }
    bits
}

fn op(r: &mut Random) -> Op {
    let sizes = [0, 1, 7, 8, 9, 100, 4095, 4096, 4097, 5000, 40_000, 70_000];
    match r.below(100) {
        0..5 => Op::Pipe(slot(r), slot(r), if r.chance(20) { 0o40000 } else { 0 }),
        5..9 => Op::EventFd(slot(r), r.pick(&[0, 1, 5, u32::MAX]), r.pick(&[0, 0, 1, 2])),
        9..13 => Op::Epoll(slot(r), r.pick(&[0, 0, 0o2000000, 4])),
        13..17 => Op::SocketPair(slot(r), slot(r), r.pick(&[1, 1, 2, 5])),
        17..18 => Op::TimerFd(slot(r)),
        18..22 => Op::Close(slot(r)),
        22..24 => Op::Dup(slot(r), slot(r)),
        24..38 => Op::Read(slot(r), r.pick(&sizes)),
        38..54 => Op::Write(slot(r), r.pick(&sizes)),
        54..56 => Op::Add(
            slot(r),
            r.pick(&[0, 1, u64::MAX, u64::MAX - 1, u64::MAX - 6]),
        ),
        56..70 => Op::Control(slot(r), slot(r), r.pick(&[1, 1, 1, 2, 3, 3, 4]), events(r)),
        70..84 => Op::Wait(slot(r), r.pick(&[1, 2, 16, 16, 0, -1])),
        84..90 => Op::Poll(slot(r), events(r) as u16),
        90..91 => Op::GetFlags(slot(r)),
        91..92 => Op::SetFlags(slot(r), NONBLOCK | r.pick(&[0, 0o2000, 0o40000])),
        92..94 => Op::PipeSize(
            slot(r),
            r.pick(&[None, Some(0), Some(5000), Some(20_000), Some(1 << 20)]),
        ),
        94..96 => Op::Available(slot(r)),
        96..97 => Op::Shutdown(slot(r), r.pick(&[0, 1, 2, 3])),
        97..98 => Op::Seek(slot(r), r.pick(&[0, 5])),
        98..99 => Op::Truncate(slot(r), r.pick(&[0, -1])),
        _ => Op::Peek(slot(r), r.pick(&sizes)),
    }
}

/// Streams of sockets fill up at another point than Linux', which depends on its allocator: writes
/// to them stay small.
const SMALL: usize = 100;

fn pattern(n: usize, salt: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 7 + salt) as u8).collect()
}

fn show(data: u64, events: u32) -> String {
    format!("{data}: {events:#x}")
}

#[derive(Clone, Copy, PartialEq)]
enum Sort {
    Other,
    Socket,
}

fn run_model(ops: &[Op]) -> Vec<Outcome> {
    let world = model::World::default();
    let mut o: Objects = model::objects(&world);
    let mut fds = [-1; SLOTS];
    let mut sorts = [Sort::Other; SLOTS];
    let mut out = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        let outcome = match *op {
            Op::Pipe(a, b, flags) => match o.pipe(flags | NONBLOCK) {
                Ok((r, w)) => {
                    (fds[a], sorts[a]) = (r, Sort::Other);
                    (fds[b], sorts[b]) = (w, Sort::Other);
                    Outcome::Value(0)
                }
                Err(errno) => Outcome::Errno(errno.number()),
            },
            Op::EventFd(a, count, flags) => {
                let made = o.eventfd(count, flags | NONBLOCK);
                if let Ok(fd) = made {
                    (fds[a], sorts[a]) = (fd, Sort::Other);
                }
                model::done(made.map(|_| ()))
            }
            Op::Epoll(a, flags) => {
                let made = o.epoll_create(flags);
                if let Ok(fd) = made {
                    (fds[a], sorts[a]) = (fd, Sort::Other);
                }
                model::done(made.map(|_| ()))
            }
            Op::TimerFd(a) => {
                let made = o.timerfd(1, NONBLOCK);
                if let Ok(fd) = made {
                    (fds[a], sorts[a]) = (fd, Sort::Other);
                }
                model::done(made.map(|_| ()))
            }
            Op::SocketPair(a, b, kind) => match o.socketpair(1, kind | NONBLOCK, 0) {
                Ok((x, y)) => {
                    (fds[a], sorts[a]) = (x, Sort::Socket);
                    (fds[b], sorts[b]) = (y, Sort::Socket);
                    Outcome::Value(0)
                }
                Err(errno) => Outcome::Errno(errno.number()),
            },
            Op::Close(a) => {
                let fd = fds[a];
                forget(&mut fds, fd);
                model::done(o.close(fd))
            }
            Op::Dup(a, b) => {
                let made = o.dup(fds[a]);
                if let Ok(fd) = made {
                    (fds[b], sorts[b]) = (fd, sorts[a]);
                }
                model::done(made.map(|_| ()))
            }
            Op::Read(a, n) => {
                let mut buffer = vec![0; n];
                let result = o.read(&world, fds[a], &mut &mut buffer[..]);
                model::bytes(result.map(|n| buffer[..n].to_vec()))
            }
            Op::Write(a, n) => {
                let n = if sorts[a] == Sort::Socket {
                    n.min(SMALL)
                } else {
                    n
                };
                model::value(o.write(&world, fds[a], &mut &pattern(n, at)[..]))
            }
            Op::Add(a, n) => model::value(o.write(&world, fds[a], &mut &n.to_le_bytes()[..])),
            Op::Control(e, a, what, events) => {
                let event = EpollEvent {
                    events: Events::from_bits_retain(events),
                    data: a as u64,
                };
                let control = match what {
                    1 => Control::Add(event),
                    2 => Control::Delete,
                    3 => Control::Modify(event),
                    _ => {
                        out.push(Outcome::Value(0));
                        continue;
                    }
                };
                model::done(o.epoll_ctl(&world, fds[e], fds[a], control))
            }
            Op::Wait(e, max) => {
                let mut found = Vec::new();
                let result = o.epoll_wait(&world, fds[e], max, &mut found);
                model::text(result.map(|_| {
                    found
                        .iter()
                        .map(|e| show(e.data, e.events.bits()))
                        .collect()
                }))
            }
            Op::Poll(a, events) => {
                let mut list = [PollFd {
                    fd: fds[a],
                    events,
                    revents: 0,
                }];
                o.poll_list(&world, &mut list).unwrap();
                Outcome::Value(list[0].revents.into())
            }
            Op::GetFlags(a) => model::value(o.fcntl(&world, fds[a], Fcntl::GetFl)),
            Op::SetFlags(a, flags) => model::value(o.fcntl(&world, fds[a], Fcntl::SetFl(flags))),
            Op::PipeSize(a, size) => {
                let command = size.map_or(Fcntl::GetPipeSize, Fcntl::SetPipeSize);
                model::value(o.fcntl(&world, fds[a], command))
            }
            Op::Available(a) => {
                let n = o
                    .lookup_fd(fds[a])
                    .and_then(|d| o.bytes_available(&world, d));
                model::value(n)
            }
            Op::Shutdown(a, how) => {
                let desc = o.lookup_fd(fds[a]);
                model::done(desc.and_then(|d| o.shutdown(&world, d, how)))
            }
            Op::Seek(a, n) => model::value(o.seek(fds[a], n, Whence::Set)),
            Op::Truncate(a, n) => model::done(o.ftruncate(&world, fds[a], n)),
            Op::Peek(a, n) => {
                let mut buffer = vec![0; n];
                let desc = o.lookup_fd(fds[a]);
                let got = desc.and_then(|d| {
                    o.receive(&world, d, &mut &mut buffer[..], 0, MessageFlags::PEEK)
                });
                model::bytes(got.map(|r| buffer[..r.len].to_vec()))
            }
        };
        out.push(outcome);
    }
    out
}

fn run_host(ops: &[Op]) -> Vec<Outcome> {
    let mut fds = [-1; SLOTS];
    let mut sorts = [Sort::Other; SLOTS];
    let mut opened = Vec::new();
    let mut out = Vec::new();
    let nonblock = libc::O_NONBLOCK;
    for (at, op) in ops.iter().enumerate() {
        // SAFETY: every pointer is to a local that is as long as the call is told.
        let outcome = unsafe {
            match *op {
                Op::Pipe(a, b, flags) => {
                    let mut pair = [-1; 2];
                    let result = libc::pipe2(pair.as_mut_ptr(), flags as i32 | nonblock);
                    if result == 0 {
                        (fds[a], sorts[a]) = (pair[0], Sort::Other);
                        (fds[b], sorts[b]) = (pair[1], Sort::Other);
                        opened.extend(pair);
                    }
                    host::value(result.into())
                }
                Op::EventFd(a, count, flags) => {
                    let fd = libc::eventfd(count, flags as i32 | nonblock);
                    if fd >= 0 {
                        (fds[a], sorts[a]) = (fd, Sort::Other);
                        opened.push(fd);
                    }
                    host::value(fd.min(0).into())
                }
                Op::Epoll(a, flags) => {
                    let fd = libc::epoll_create1(flags as i32);
                    if fd >= 0 {
                        (fds[a], sorts[a]) = (fd, Sort::Other);
                        opened.push(fd);
                    }
                    host::value(fd.min(0).into())
                }
                Op::TimerFd(a) => {
                    let fd = libc::timerfd_create(1, nonblock);
                    (fds[a], sorts[a]) = (fd, Sort::Other);
                    opened.push(fd);
                    host::value(fd.min(0).into())
                }
                Op::SocketPair(a, b, kind) => {
                    let mut pair = [-1; 2];
                    let kind = kind as i32 | nonblock;
                    let result = libc::socketpair(1, kind, 0, pair.as_mut_ptr());
                    if result == 0 {
                        (fds[a], sorts[a]) = (pair[0], Sort::Socket);
                        (fds[b], sorts[b]) = (pair[1], Sort::Socket);
                        opened.extend(pair);
                    }
                    host::value(result.into())
                }
                Op::Close(a) => {
                    let fd = fds[a];
                    forget(&mut fds, fd);
                    opened.retain(|&o| o != fd);
                    host::value(libc::close(fd).into())
                }
                Op::Dup(a, b) => {
                    let fd = libc::dup(fds[a]);
                    if fd >= 0 {
                        (fds[b], sorts[b]) = (fd, sorts[a]);
                        opened.push(fd);
                    }
                    host::value(fd.min(0).into())
                }
                Op::Read(a, n) => {
                    let mut buffer = vec![0; n];
                    let fd = fds[a];
                    let result = libc::read(fd, buffer.as_mut_ptr().cast(), n);
                    host::bytes(result as i64, buffer)
                }
                Op::Write(a, n) => {
                    let n = if sorts[a] == Sort::Socket {
                        n.min(SMALL)
                    } else {
                        n
                    };
                    let bytes = pattern(n, at);
                    let fd = fds[a];
                    host::value(libc::write(fd, bytes.as_ptr().cast(), n) as i64)
                }
                Op::Add(a, n) => {
                    let fd = fds[a];
                    host::value(libc::write(fd, (&raw const n).cast(), 8) as i64)
                }
                Op::Control(e, a, what, events) => {
                    if what == 4 {
                        out.push(Outcome::Value(0));
                        continue;
                    }
                    let mut event = libc::epoll_event {
                        events,
                        u64: a as u64,
                    };
                    let (e, a) = (fds[e], fds[a]);
                    host::value(libc::epoll_ctl(e, what, a, &raw mut event).into())
                }
                Op::Wait(e, max) => {
                    let mut found = vec![libc::epoll_event { events: 0, u64: 0 }; 16];
                    let e = fds[e];
                    let n = libc::epoll_wait(e, found.as_mut_ptr(), max, 0);
                    if n < 0 {
                        Outcome::Errno(host::errno())
                    } else {
                        let found = &found[..n as usize];
                        Outcome::Text(found.iter().map(|e| show(e.u64, e.events)).collect())
                    }
                }
                Op::Poll(a, events) => {
                    let fd = fds[a];
                    let mut entry = libc::pollfd {
                        fd,
                        events: events as i16,
                        revents: 0,
                    };
                    libc::poll(&raw mut entry, 1, 0);
                    Outcome::Value(i64::from(entry.revents as u16))
                }
                Op::GetFlags(a) => host::value(libc::fcntl(fds[a], libc::F_GETFL).into()),
                Op::SetFlags(a, flags) => {
                    host::value(libc::fcntl(fds[a], libc::F_SETFL, flags).into())
                }
                Op::PipeSize(a, size) => {
                    let fd = fds[a];
                    host::value(match size {
                        None => libc::fcntl(fd, libc::F_GETPIPE_SZ).into(),
                        Some(size) => libc::fcntl(fd, libc::F_SETPIPE_SZ, size).into(),
                    })
                }
                Op::Available(a) => {
                    let mut n: libc::c_int = 0;
                    let fd = fds[a];
                    match libc::ioctl(fd, libc::FIONREAD, &raw mut n) {
                        0 => Outcome::Value(n.into()),
                        _ => Outcome::Errno(host::errno()),
                    }
                }
                Op::Shutdown(a, how) => host::value(libc::shutdown(fds[a], how as i32).into()),
                Op::Seek(a, n) => host::value(libc::lseek(fds[a], n, 0)),
                Op::Truncate(a, n) => host::value(libc::ftruncate(fds[a], n).into()),
                Op::Peek(a, n) => {
                    let mut buffer = vec![0; n];
                    let fd = fds[a];
                    let result = libc::recv(fd, buffer.as_mut_ptr().cast(), n, libc::MSG_PEEK);
                    host::bytes(result as i64, buffer)
                }
            }
        };
        out.push(outcome);
    }
    for fd in opened {
        // SAFETY: the descriptor is this run's own.
        unsafe { libc::close(fd) };
    }
    out
}

/// A closed number may soon be another's: no slot keeps it.
fn forget(fds: &mut [i32], closed: i32) {
    for fd in fds {
        if *fd == closed {
            *fd = -1;
        }
    }
}

#[test]
fn descriptors_behave_as_on_linux() {
    compare("descriptors", 80, op, run_model, run_host);
}
