//! What /proc tells of a process's mappings: `maps`, `smaps`, `smaps_rollup` (proc_pid_maps(5), proc_pid_smaps(5)).

use crate::image::note;
use crate::object::vfs::{MEMFD_DEV, ROOT_DEV};
use crate::state::policy::Policy;
use crate::state::process::Process;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use ebb_mem::space::{Area, Backing, Flags, GUEST_END, PAGE, Usage};

struct Text<'a>(&'a mut Vec<u8>);

impl Write for Text<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}

/// Appends to a buffer, which cannot fail.
macro_rules! put {
    ($out:expr, $($arguments:tt)*) => {
        let _ = write!(Text($out), $($arguments)*);
    };
}

fn is_shared(area: &Area) -> bool {
    matches!(area.backing, Backing::Shared(_)) || area.flags.has(Flags::SHOWN_SHARED)
}

/// The line of an area.
fn line(process: &Process, area: &Area, out: &mut Vec<u8>) {
    let p = area.protection;
    let name = process.area_name(area.note);
    let is_file = name.first() == Some(&b'/');
    let inode = process.area_file(area.note).inode;
    let start = out.len();
    let letter = |is: bool, letter| if is { letter } else { '-' };
    put!(
        out,
        "{:08x}-{:08x} {}{}{}{} {:08x} 00:{:02x} {}",
        area.start,
        area.end,
        letter(p.read, 'r'),
        letter(p.write, 'w'),
        letter(p.execute, 'x'),
        if is_shared(area) { 's' } else { 'p' },
        if is_file { area.offset } else { 0 },
        match &name[..] {
            _ if !is_file => 0,
            name if name.starts_with(b"/memfd:") => MEMFD_DEV,
            _ => ROOT_DEV,
        },
        inode,
    );
    // Memory that processes share is a file without a name on Linux.
    let name = match &area.backing {
        Backing::Shared(_) if name.is_empty() => b"/dev/zero (deleted)".to_vec(),
        _ => name,
    };
    if !name.is_empty() {
        while out.len() - start < 73 {
            out.push(b' ');
        }
        for byte in name {
            // A line is a line.
            match byte {
                b'\n' => out.extend_from_slice(b"\\012"),
                byte => out.push(byte),
            }
        }
    }
    out.push(b'\n');
}

pub fn maps(process: &Process, out: &mut Vec<u8>) {
    let memory = process.memory();
    let space = memory.space.borrow();
    for area in space.areas() {
        line(process, area, out);
    }
}

/// What is there of each page from `page` on, as proc_pid_pagemap(5) says: frames are nobody's affair, as without
/// `CAP_SYS_ADMIN`. Nothing is kept of which pages have changed, so all have (`SOFT_DIRTY`).
pub fn page_map(process: &Process, page: u64, to: &mut [u8]) -> usize {
    const PRESENT: u64 = 1 << 63;
    const FILE_OR_SHARED: u64 = 1 << 61;
    const ALONE: u64 = 1 << 56;
    const SOFT_DIRTY: u64 = 1 << 55;
    let memory = process.memory();
    let space = memory.space.borrow();
    let end = GUEST_END / PAGE;
    let mut done = 0;
    for (entry, page) in to.chunks_exact_mut(8).zip(page..end) {
        let value = match space.page_in_memory(page * PAGE) {
            None if space.area(page * PAGE).is_some() => SOFT_DIRTY,
            None => 0,
            Some(false) => PRESENT | SOFT_DIRTY | ALONE,
            Some(true) => PRESENT | SOFT_DIRTY | FILE_OR_SHARED,
        };
        entry.copy_from_slice(&value.to_le_bytes());
        done += 8;
    }
    done
}

/// `numa_maps`: every page is on the one node that there is. An area without a policy has the first thread's.
pub fn numa_maps(process: &Process, out: &mut Vec<u8>) {
    let memory = process.memory();
    let space = memory.space.borrow();
    let first = process
        .threads
        .borrow()
        .get(0)
        .map_or(0, |t| t.memory_policy);
    let policies = process.state.borrow().policies.clone();
    for area in space.areas() {
        let usage = space.usage(area);
        let name = process.area_name(area.note);
        let number = match area.flags.mark() {
            0 => first,
            own => own,
        };
        let policy = policies.get(number).map_or("default".into(), Policy::name);
        put!(out, "{:08x} {policy}", area.start);
        match &name[..] {
            b"[heap]" => out.extend_from_slice(b" heap"),
            b"[stack]" => out.extend_from_slice(b" stack"),
            [b'/', ..] => {
                out.extend_from_slice(b" file=");
                out.extend(name);
            }
            _ => {}
        }
        let file = (usage.file + usage.object) / PAGE;
        let anonymous = usage.anonymous / PAGE;
        for (what, pages) in [
            ("anon", anonymous),
            ("dirty", anonymous),
            ("mapped", file),
            ("N0", anonymous + file),
        ] {
            if pages > 0 {
                put!(out, " {what}={pages}");
            }
        }
        put!(out, " kernelpagesize_kB=4\n");
    }
}

/// What is told of areas, one or all.
#[derive(Default)]
struct Sum {
    usage: Usage,
    anonymous: u64,
    file: u64,
    shared: u64,
    locked: u64,
}

impl Sum {
    fn add(&mut self, area: &Area, more: Usage) {
        let all = &mut self.usage;
        for (sum, part) in [
            (&mut all.anonymous, more.anonymous),
            (&mut all.file, more.file),
            (&mut all.object, more.object),
            (&mut all.proportional, more.proportional),
            (&mut all.private_dirty, more.private_dirty),
            (&mut all.private_clean, more.private_clean),
            (&mut all.shared_dirty, more.shared_dirty),
            (&mut all.shared_clean, more.shared_clean),
        ] {
            *sum += part;
        }
        match area.backing {
            Backing::Anonymous => self.anonymous += more.proportional,
            Backing::Image { .. } => self.file += more.proportional,
            Backing::Shared(_) | Backing::Private(_) => self.shared += more.proportional,
        }
        if area.flags.has(Flags::LOCKED) {
            self.locked += more.proportional;
        }
    }

    fn rows(&self, is_all: bool, out: &mut Vec<u8>) {
        let u = &self.usage;
        let dirty = u.proportional.min(u.private_dirty + u.shared_dirty);
        let mut rows = Vec::from([
            ("Rss", u.resident()),
            ("Pss", u.proportional),
            ("Pss_Dirty", dirty),
        ]);
        if is_all {
            rows.extend([
                ("Pss_Anon", self.anonymous),
                ("Pss_File", self.file),
                ("Pss_Shmem", self.shared),
            ]);
        }
        rows.extend([
            ("Shared_Clean", u.shared_clean),
            ("Shared_Dirty", u.shared_dirty),
            ("Private_Clean", u.private_clean),
            ("Private_Dirty", u.private_dirty),
            ("Referenced", u.resident()),
            ("Anonymous", u.anonymous),
            ("LazyFree", 0),
            ("AnonHugePages", 0),
            ("ShmemPmdMapped", 0),
            ("FilePmdMapped", 0),
            ("Shared_Hugetlb", 0),
            ("Private_Hugetlb", 0),
            ("Swap", 0),
            ("SwapPss", 0),
            ("Locked", self.locked),
        ]);
        for (name, bytes) in rows {
            row(out, name, bytes);
        }
    }
}

fn row(out: &mut Vec<u8>, name: &str, bytes: u64) {
    put!(out, "{name}:{:>w$} kB\n", bytes / 1024, w = 23 - name.len());
}

/// The letters of `VmFlags`.
fn letters(area: &Area, out: &mut Vec<u8>) {
    let (p, has) = (area.protection, |flag| area.flags.has(flag));
    let shared = is_shared(area);
    let grows = has(Flags::GROWS_DOWN) || area.note == note::STACK;
    out.extend_from_slice(b"VmFlags:");
    for (is, letters) in [
        (p.read, "rd"),
        (p.write, "wr"),
        (p.execute, "ex"),
        (shared, "sh"),
        (true, "mr"),
        (!has(Flags::NEVER_WRITE), "mw"),
        (true, "me"),
        (shared, "ms"),
        (grows, "gd"),
        (has(Flags::LOCKED), "lo"),
        (has(Flags::ON_FAULT), "lf"),
        (has(Flags::SEQUENTIAL), "sr"),
        (has(Flags::RANDOM), "rr"),
        (has(Flags::DONT_FORK), "dc"),
        (p.write && !shared, "ac"),
        (has(Flags::WIPE_ON_FORK), "wf"),
        (has(Flags::DONT_DUMP), "dd"),
        (has(Flags::HUGE), "hg"),
        (has(Flags::NOT_HUGE), "nh"),
        (has(Flags::MERGEABLE), "mg"),
    ] {
        if is {
            put!(out, " {letters}");
        }
    }
    out.extend_from_slice(b" \n");
}

pub fn smaps(process: &Process, out: &mut Vec<u8>) {
    let memory = process.memory();
    let space = memory.space.borrow();
    for area in space.areas() {
        line(process, area, out);
        row(out, "Size", area.end - area.start);
        row(out, "KernelPageSize", 4096);
        row(out, "MMUPageSize", 4096);
        let mut sum = Sum::default();
        sum.add(area, space.usage(area));
        sum.rows(false, out);
        out.extend_from_slice(b"THPeligible:           0\n");
        letters(area, out);
    }
}

pub fn rollup(process: &Process, out: &mut Vec<u8>) {
    let memory = process.memory();
    let space = memory.space.borrow();
    let (Some(first), Some(last)) = (space.areas().next(), space.areas().last()) else {
        return;
    };
    let mut sum = Sum::default();
    for area in space.areas() {
        sum.add(area, space.usage(area));
    }
    let (start, end) = (first.start, last.end);
    put!(
        out,
        "{start:08x}-{end:08x} ---p 00000000 00:00 0                              [rollup]\n"
    );
    sum.rows(true, out);
}
