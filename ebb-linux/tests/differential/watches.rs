//! inotify: what is told of changes of files, over the same random changes on both sides.

use ebb_linux::object::{Objects, flags::AT_FDCWD};

use crate::{
    Outcome, compare,
    files::{self, Path, SLOTS},
    host, model,
    random::Random,
};

/// Instances.
const INSTANCES: usize = 2;

#[derive(Clone, Debug)]
enum Op {
    /// A change of files.
    Files(files::Op),
    /// A watch: instance, path, events.
    Add(usize, Path, u32),
    /// No watch any more: instance, number.
    Remove(usize, i32),
    /// What has happened, read into a buffer of so many bytes.
    Events(usize, usize),
}

fn op(r: &mut Random) -> Op {
    let instance = r.below(INSTANCES as u64) as usize;
    match r.below(100) {
        0..60 => loop {
            match files::op(r) {
                // Who reads a directory, and how often, is the other tests' affair; the names of a file with several are
                // the last one's here, and a file that never had one is told of by no name.
                files::Op::List(_) | files::Op::Link(..) => {}
                files::Op::Open(.., flags) if flags & 0o20000000 != 0 => {}
                op => break Op::Files(op),
            }
        },
        60..78 => {
            let mut mask = r.pick(&[0xfff, 0xfff, 0xfff, 0xfc0, 0x2, 0x38, 0x404, 0x800, 0]);
            for (bit, percent) in [
                (0x0100_0000, 5),  // ONLYDIR
                (0x0200_0000, 10), // DONT_FOLLOW
                (0x0400_0000, 10), // EXCL_UNLINK
                (0x1000_0000, 5),  // MASK_CREATE
                (0x2000_0000, 10), // MASK_ADD
                (0x8000_0000, 5),  // ONESHOT
            ] {
                if r.chance(percent) {
                    mask |= bit;
                }
            }
            let often: [&[u8]; 6] = [b".", b"a", b"c", b"d", b"d/a", b"new"];
            let path = match r.chance(70) {
                true => r.pick(&often).to_vec(),
                false => files::path(r),
            };
            Op::Add(instance, path, mask)
        }
        78..80 => Op::Remove(instance, r.below(4) as i32),
        _ => Op::Events(instance, r.pick(&[4096, 4096, 4096, 4096, 64, 30])),
    }
}

/// Events as text. Cookies are numbered in the order in which they come.
fn events(mut bytes: &[u8]) -> Outcome {
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut out, mut cookies) = (Vec::new(), vec![0]);
    while bytes.len() >= 16 {
        let (watch, mask, cookie) = (word(bytes, 0) as i32, word(bytes, 4), word(bytes, 8));
        let end = 16 + word(bytes, 12) as usize;
        let name = String::from_utf8_lossy(&bytes[16..end]).into_owned();
        let at = cookies.iter().position(|&c| c == cookie);
        let at = at.unwrap_or_else(|| {
            cookies.push(cookie);
            cookies.len() - 1
        });
        out.push(format!("{watch} {mask:x} {at} {name:?}"));
        bytes = &bytes[end..];
    }
    Outcome::Text(out)
}

fn run_model(ops: &[Op]) -> Vec<Outcome> {
    let w = model::World::default();
    let mut o: Objects = model::objects(&w);
    o.chdir(&w, b"/w").unwrap();
    let instances: Vec<i32> = (0..INSTANCES).map(|_| o.inotify(0o4000).unwrap()).collect();
    let mut fds = [-1; SLOTS + 1];
    fds[SLOTS] = AT_FDCWD;
    let step = |(at, op): (usize, &Op)| match op {
        Op::Files(op) => files::step(&mut o, &w, &mut fds, at, op),
        Op::Add(i, path, mask) => model::value(o.inotify_add(&w, instances[*i], path, *mask)),
        Op::Remove(i, watch) => model::done(o.inotify_remove(instances[*i], *watch)),
        Op::Events(i, size) => {
            let mut buffer = vec![0; *size];
            match o.read(&w, instances[*i], &mut &mut buffer[..]) {
                Ok(n) => events(&buffer[..n]),
                Err(errno) => Outcome::Errno(errno.number()),
            }
        }
    };
    ops.iter().enumerate().map(step).collect()
}

fn run_host(ops: &[Op]) -> Vec<Outcome> {
    host::in_root(|| {
        // SAFETY: no memory is passed.
        let instances: Vec<i32> = (0..INSTANCES)
            .map(|_| unsafe { libc::inotify_init1(libc::IN_NONBLOCK) })
            .collect();
        let mut fds = [-1; SLOTS + 1];
        fds[SLOTS] = libc::AT_FDCWD;
        let mut opened = Vec::new();
        let step = |(at, op): (usize, &Op)| match op {
            Op::Files(op) => files::host_step(&mut fds, &mut opened, at, op),
            Op::Add(i, path, mask) => {
                let path = host::c(path);
                // SAFETY: `path` is a C string.
                let watch = unsafe { libc::inotify_add_watch(instances[*i], path.as_ptr(), *mask) };
                host::value(watch.into())
            }
            Op::Remove(i, watch) => {
                // SAFETY: no memory is passed.
                host::value(unsafe { libc::inotify_rm_watch(instances[*i], *watch) }.into())
            }
            Op::Events(i, size) => {
                let mut buffer = vec![0; *size];
                // SAFETY: the buffer is as long as the call is told.
                let n = unsafe { libc::read(instances[*i], buffer.as_mut_ptr().cast(), *size) };
                match host::bytes(n as i64, buffer) {
                    Outcome::Bytes(bytes) => events(&bytes),
                    other => other,
                }
            }
        };
        let out = ops.iter().enumerate().map(step).collect();
        for fd in opened.into_iter().chain(instances) {
            // SAFETY: the descriptor is this run's own.
            unsafe { libc::close(fd) };
        }
        out
    })
}

#[test]
fn what_is_told_of_changes_is_what_linux_tells() {
    if !host::may_chroot() {
        eprintln!("skipped: needs root for a root directory of its own");
        return;
    }
    compare("watches", 60, op, run_model, run_host);
}
