//! Objects as a whole: /proc and devices, limits, clones.

use alloc::{vec, vec::Vec};

use super::{
    Limits, Objects,
    env::Env,
    epoll::{Control, EpollEvent},
    errno::{Errno, Result},
    fd::Fd,
    flags::{AT_FDCWD, AtFlags, OpenFlags},
    testing::{World, archive, objects, open},
    vfs::{Entries, Opened, data::PageContent},
    wait::Events,
};

fn read_all(o: &mut Objects, w: &World, path: &[u8]) -> Result<Vec<u8>> {
    let fd = open(o, w, path, 0)?;
    let mut all = Vec::new();
    let mut buffer = [0; 100];
    loop {
        match o.read(w, fd, &mut &mut buffer[..])? {
            0 => break,
            n => all.extend_from_slice(&buffer[..n]),
        }
    }
    o.close(fd)?;
    Ok(all)
}

fn names(o: &mut Objects, w: &World, path: &[u8]) -> Vec<Vec<u8>> {
    let fd = open(o, w, path, OpenFlags::DIRECTORY.bits()).unwrap();
    let mut names = Vec::new();
    let mut buffer = [0; 512];
    loop {
        let n = o
            .getdents(w, fd, Entries::New, &mut &mut buffer[..])
            .unwrap();
        let mut rest = &buffer[..n];
        if n == 0 {
            break;
        }
        while !rest.is_empty() {
            let size = u16::from_le_bytes([rest[16], rest[17]]) as usize;
            let end = rest[19..].iter().position(|&b| b == 0).unwrap();
            names.push(rest[19..19 + end].to_vec());
            rest = &rest[size..];
        }
    }
    o.close(fd).unwrap();
    names
}

#[test]
fn every_file_of_proc_and_sys_can_be_found_listed_and_read() {
    let (mut o, w) = (objects(), World::default());
    o.open_console(&w, false).unwrap();
    let mut dirs = vec![b"/proc".to_vec(), b"/sys".to_vec()];
    let mut files = 0;
    while let Some(dir) = dirs.pop() {
        for name in names(&mut o, &w, &dir) {
            if name == b"." || name == b".." {
                continue;
            }
            // The descriptor that the listing itself needed is closed by now.
            if name == b"3" && (dir.ends_with(b"/fd") || dir.ends_with(b"/fdinfo")) {
                continue;
            }
            let path = [&dir[..], b"/", &name].concat();
            let stat = o.stat(&w, AT_FDCWD, &path, AtFlags::SYMLINK_NOFOLLOW);
            let stat = stat.unwrap_or_else(|e| panic!("{}: {e:?}", path.escape_ascii()));
            match stat.mode & 0o170000 {
                0o040000 => dirs.push(path),
                // They are read at addresses, of which this process has none.
                0o100000 if name == b"mem" || name == b"pagemap" => {}
                0o100000 => {
                    read_all(&mut o, &w, &path).unwrap();
                    files += 1;
                }
                _ => {
                    o.readlink(&w, AT_FDCWD, &path).unwrap();
                }
            }
        }
    }
    assert!(files > 60, "{files}");
}

#[test]
fn proc_self_leads_to_the_process_and_its_descriptors() {
    let (mut o, w) = (objects(), World::default());
    o.open_console(&w, false).unwrap();
    let readlink = |o: &Objects, path: &[u8]| o.readlink(&w, AT_FDCWD, path);
    assert_eq!(readlink(&o, b"/proc/self").unwrap(), b"7");
    assert_eq!(readlink(&o, b"/proc/self/exe").unwrap(), b"/bin/prog");
    assert_eq!(read_all(&mut o, &w, b"/proc/self/exe").unwrap(), b"\x7fELF");
    let fd = open(&mut o, &w, b"/lib/libc.so", 0).unwrap();
    let link = alloc::format!("/proc/self/fd/{fd}");
    assert_eq!(
        o.readlink(&w, AT_FDCWD, link.as_bytes()).unwrap(),
        b"/usr/lib/libc.so"
    );
    assert_eq!(
        read_all(&mut o, &w, link.as_bytes()).unwrap(),
        [0xcc; 10_000]
    );
    assert_eq!(read_all(&mut o, &w, b"/proc/8/stat"), Err(Errno::ENOENT));
    let status = read_all(&mut o, &w, b"/proc/thread-self/status").unwrap();
    assert!(status.starts_with(b"Name:\tprog\n"));
    let uuid = read_all(&mut o, &w, b"/proc/sys/kernel/random/uuid").unwrap();
    assert_eq!((uuid.len(), uuid[14]), (37, b'4'));
    // Standard output, by its other name, is the same pipe.
    let out = open(&mut o, &w, b"/dev/stdout", 1).unwrap();
    assert_eq!(o.write(&w, out, &mut &b"hi"[..]), Ok(2));
    assert!(open(&mut o, &w, b"/proc/self/status", 1).is_err());
}

#[test]
fn devices_do_what_they_are_for() {
    let (mut o, w) = (objects(), World::default());
    let null = open(&mut o, &w, b"/dev/null", 2).unwrap();
    assert_eq!(o.write(&w, null, &mut &[1; 100][..]), Ok(100));
    let mut buffer = [7; 8];
    assert_eq!(o.read(&w, null, &mut &mut buffer[..]), Ok(0));
    let zero = open(&mut o, &w, b"/dev/zero", 0).unwrap();
    assert_eq!(o.read(&w, zero, &mut &mut buffer[..]), Ok(8));
    assert_eq!(buffer, [0; 8]);
    let full = open(&mut o, &w, b"/dev/full", 1).unwrap();
    assert_eq!(o.write(&w, full, &mut &b"x"[..]), Err(Errno::ENOSPC));
    let random = open(&mut o, &w, b"/dev/urandom", 0).unwrap();
    assert_eq!(o.read(&w, random, &mut &mut buffer[..]), Ok(8));
    assert_ne!(buffer, [0; 8]);
    assert_eq!(
        open(&mut o, &w, b"/dev/tty", 0),
        Err(Errno::ENXIO),
        "there is no terminal"
    );
}

#[test]
fn a_mapping_shares_the_archives_bytes_until_the_file_is_written() {
    let (mut o, w) = (objects(), World::default());
    let fd = open(&mut o, &w, b"/usr/lib/libc.so", 2).unwrap();
    let desc = o.lookup_fd(fd).unwrap();
    assert!(matches!(o.mapped_page(desc, 2), Ok(PageContent::Archive(b)) if b.len() == 1808));
    assert_eq!(o.pwrite(&w, fd, 9000, &mut &b"new"[..]), Ok(3));
    assert!(matches!(
        o.mapped_page(desc, 0),
        Ok(PageContent::Archive(_))
    ));
    assert!(matches!(o.mapped_page(desc, 2), Ok(PageContent::Page(p)) if &p.0[808..811] == b"new"));
    assert!(matches!(o.mapped_page(desc, 3), Ok(PageContent::Hole)));
    assert_eq!(o.fs.budget().used, 1);
    o.unlink(&w, AT_FDCWD, b"/lib/libc.so", AtFlags::empty())
        .unwrap();
    assert_eq!(
        o.mapped_size(desc),
        Ok(10_000),
        "an open file outlives its name"
    );
    o.close(fd).unwrap();
    assert_eq!(o.fs.budget().used, 0);
}

#[test]
fn limits_are_errors_and_what_is_freed_can_be_used_again() {
    let w = World::default();
    let limits = Limits {
        file_pages: 3,
        inodes: 40,
        descriptions: 8,
        pipes: 2,
        epoll_items: 2,
        ..Limits::default()
    };
    let mut o = Objects::new(&w, archive(), limits).unwrap();
    for _ in 0..3 {
        let fd = open(&mut o, &w, b"/big", 0o1102).unwrap();
        assert_eq!(o.write(&w, fd, &mut &[1; 20_000][..]), Ok(3 * 4096));
        assert_eq!(o.write(&w, fd, &mut &[1; 1][..]), Err(Errno::ENOSPC));
        o.close(fd).unwrap();
    }
    let mut made = 0;
    while o
        .mkdir(&w, AT_FDCWD, alloc::format!("/d{made}").as_bytes(), 0o755)
        .is_ok()
    {
        made += 1;
    }
    assert!((1..40).contains(&made));
    assert_eq!(o.mkdir(&w, AT_FDCWD, b"/more", 0o755), Err(Errno::ENOSPC));
    o.unlink(&w, AT_FDCWD, b"/d0", AtFlags::REMOVEDIR).unwrap();
    o.mkdir(&w, AT_FDCWD, b"/more", 0o755).unwrap();
    for _ in 0..2 {
        let (a, b) = o.pipe(0).unwrap();
        let (c, d) = o.pipe(0).unwrap();
        assert_eq!(o.pipe(0), Err(Errno::ENFILE));
        let e = o.epoll_create(0).unwrap();
        let add = Control::Add(EpollEvent {
            events: Events::IN,
            data: 0,
        });
        o.epoll_ctl(&w, e, a, add).unwrap();
        o.epoll_ctl(&w, e, b, add).unwrap();
        assert_eq!(o.epoll_ctl(&w, e, c, add), Err(Errno::ENOSPC));
        o.close(b).unwrap();
        o.epoll_ctl(&w, e, c, add).unwrap();
        for fd in [a, c, d, e] {
            o.close(fd).unwrap();
        }
    }
    let mut fds = Vec::new();
    while let Ok(fd) = o.eventfd(0, 0) {
        fds.push(fd);
    }
    assert_eq!((fds.len(), o.eventfd(0, 0)), (8, Err(Errno::ENFILE)));
    for fd in fds {
        o.close(fd).unwrap();
    }
    assert!(o.kinds.eventfds.is_empty() && o.kinds.pipes.is_empty() && o.descriptions.is_empty());
}

#[test]
fn a_fifo_waits_for_its_other_side() {
    let (mut o, w) = (objects(), World::default());
    o.mknod(&w, AT_FDCWD, b"/fifo", 0o010600, 0).unwrap();
    let Opened::Fifo(pending) = o.open(&w, AT_FDCWD, b"/fifo", 0, 0).unwrap() else {
        panic!("nobody writes yet")
    };
    assert_eq!(o.finish_open(pending), Err(Errno::EAGAIN));
    let writer = open(&mut o, &w, b"/fifo", 1).unwrap();
    let reader = o.finish_open(pending).unwrap();
    o.write(&w, writer, &mut &b"x"[..]).unwrap();
    let mut buffer = [0; 4];
    assert_eq!(o.read(&w, reader, &mut &mut buffer[..]), Ok(1));
    o.close(reader).unwrap();
    o.close(writer).unwrap();
    let Opened::Fifo(pending) = o.open(&w, AT_FDCWD, b"/fifo", 1, 0).unwrap() else {
        panic!("nobody reads yet")
    };
    o.abandon_open(pending);
    assert!(o.kinds.pipes.is_empty() && o.descriptions.is_empty());
}

/// A fingerprint of everything a guest can see of a file tree and a pipe.
fn look(o: &mut Objects, w: &World, fds: &[Fd]) -> Vec<Vec<u8>> {
    let mut seen = names(o, w, b"/tmp");
    seen.push(read_all(o, w, b"/tmp/f").unwrap_or_default());
    seen.push(read_all(o, w, b"/etc/hosts").unwrap_or_default());
    seen.push(o.getcwd().unwrap_or_default());
    for &fd in fds {
        let available = o.lookup_fd(fd).and_then(|d| o.bytes_available(w, d));
        seen.push(
            alloc::format!(
                "{available:?} {:?}",
                o.seek(fd, 0, super::transfer::Whence::Current)
            )
            .into(),
        );
    }
    seen
}

#[test]
fn nothing_done_in_a_clone_is_seen_by_its_parent_or_its_siblings() {
    let (mut o, w) = (objects(), World::default());
    let (r, p) = o.pipe(0).unwrap();
    let file = open(&mut o, &w, b"/tmp/f", 0o102).unwrap();
    let (a, b) = o.socketpair(1, 1, 0).unwrap();
    let epoll = o.epoll_create(0).unwrap();
    let add = Control::Add(EpollEvent {
        events: Events::IN,
        data: 9,
    });
    o.epoll_ctl(&w, epoll, r, add).unwrap();
    o.write(&w, file, &mut &[5; 10_000][..]).unwrap();
    let fds = [r, p, file, a, b];
    let mut seed = [0; 1];
    let before = look(&mut o, &w, &fds);
    let parent = o.clone();
    let mut siblings: Vec<Objects> = (0..8).map(|_| parent.clone()).collect();
    for round in 0..400 {
        w.random(&mut seed);
        let o = &mut siblings[round % 7];
        let salt = [seed[0]; 300];
        let _ = match seed[0] % 10 {
            0 => o.write(&w, p, &mut &salt[..]).map(|_| ()),
            1 => o
                .pwrite(&w, file, i64::from(seed[0]) * 40, &mut &salt[..])
                .map(|_| ()),
            2 => o.write(&w, a, &mut &salt[..]).map(|_| ()),
            3 => o.read(&w, r, &mut &mut [0; 100][..]).map(|_| ()),
            4 => o.mkdir(
                &w,
                AT_FDCWD,
                &[b"/tmp/", &[b'a' + seed[0] % 26][..]].concat(),
                0o755,
            ),
            5 => o.truncate(&w, b"/etc/hosts", i64::from(seed[0])),
            6 => o.rename(
                &w,
                (AT_FDCWD, b"/etc"),
                (AT_FDCWD, b"/tmp/etc"),
                Default::default(),
            ),
            7 => o.chdir(&w, b"/tmp"),
            8 => o.ftruncate(&w, file, i64::from(seed[0]) * 100),
            _ => o.unlink(&w, AT_FDCWD, b"/tmp/f", AtFlags::empty()),
        };
    }
    assert_eq!(look(&mut o, &w, &fds), before);
    assert_eq!(look(&mut siblings[7], &w, &fds), before);
    let mut out = Vec::new();
    assert_eq!(o.epoll_wait(&w, epoll, 4, &mut out), Ok(0));
    o.write(&w, p, &mut &b"x"[..]).unwrap();
    assert_eq!(
        o.epoll_wait(&w, epoll, 4, &mut out),
        Ok(1),
        "the set watches on in the clone too"
    );
    siblings[7].write(&w, p, &mut &b"x"[..]).unwrap();
    assert_eq!(siblings[7].epoll_wait(&w, epoll, 4, &mut out), Ok(1));
}

#[test]
fn a_hold_keeps_a_closed_description_and_a_clone_drops_it() {
    let (mut o, w) = (objects(), World::default());
    let (r, p) = o.pipe(0).unwrap();
    let held = o.hold(r).unwrap();
    o.close(r).unwrap();
    assert_eq!(
        o.write(&w, p, &mut &b"x"[..]),
        Ok(1),
        "the reader is still there"
    );
    let mut copy = o.clone();
    assert_eq!(copy.write(&w, p, &mut &b"x"[..]), Err(Errno::EPIPE));
    assert_eq!(o.read_desc(&w, held, &mut &mut [0; 4][..]), Ok(1));
    o.unhold(held);
    assert_eq!(o.write(&w, p, &mut &b"x"[..]), Err(Errno::EPIPE));
}
