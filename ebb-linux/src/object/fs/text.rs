//! The text of the files in /proc and /sys, in the formats of proc(5).

use alloc::vec::Vec;
use core::fmt::{self, Write};

use crate::object::{
    arena::Arena,
    env::{Env, ProcInfo},
    files::{Files, MAX_NOFILE},
    kind::{pipe, socket::Socket},
};

/// Whose files are read.
pub(crate) struct Subject<'a> {
    pub(crate) env: &'a dyn Env,
    pub(crate) process: &'a dyn ProcInfo,
    /// The thread: the first, if not one of `task`.
    pub(crate) tid: u32,
    /// The file's path in the table.
    pub(crate) path: &'static str,
    /// The process' descriptors and the rest.
    pub(crate) files: Option<&'a Files>,
    /// The UC's sockets.
    pub(crate) sockets: &'a Arena<Socket>,
    /// Open descriptions of the UC.
    pub(crate) open: usize,
    /// Pages in writable files.
    pub(crate) file_pages: u64,
    pub(crate) boot_id: u128,
}

/// Appends the text of a file.
pub(crate) type Make = fn(&Subject<'_>, &mut Vec<u8>);

pub(crate) struct Text<'a>(pub(crate) &'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}

/// Appends formatted text; appending to a vector cannot fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => { let _ = write!(Text($out), $($arg)*); };
}

pub(crate) const PAGE: u64 = 4096;
/// Clock ticks per second (`USER_HZ`).
const HZ: u64 = 100;

const fn ticks(ns: u64) -> u64 {
    ns / (1_000_000_000 / HZ)
}

macro_rules! fixed {
    ($($name:ident = $text:expr;)*) => {
        $(pub(crate) fn $name(_: &Subject<'_>, out: &mut Vec<u8>) {
            put!(out, "{}\n", $text);
        })*
    };
}

fixed! {
    file_max = i64::MAX;
    nr_open = MAX_NOFILE;
    pipe_max_size = pipe::MAX_SLOTS * pipe::SLOT;
    kernel_version = VERSION;
    mounts = "none / tmpfs rw 0 0\nproc /proc proc rw 0 0\nsysfs /sys sysfs ro 0 0\n\
              cgroup2 /sys/fs/cgroup cgroup2 ro 0 0";
    mountinfo = "1 0 0:18 / / rw - tmpfs none rw\n2 1 0:19 / /proc rw - proc proc rw\n\
                 3 1 0:20 / /sys ro - sysfs sysfs ro\n\
                 4 3 0:21 / /sys/fs/cgroup ro - cgroup2 cgroup2 ro";
}

/// The file systems, none of which needs a device.
pub const FILE_SYSTEMS: [&str; 7] = [
    "sysfs", "tmpfs", "proc", "cgroup2", "sockfs", "pipefs", "devpts",
];

pub(crate) fn filesystems(_: &Subject<'_>, out: &mut Vec<u8>) {
    for name in FILE_SYSTEMS {
        put!(out, "nodev\t{name}\n");
    }
}

/// The build as `uname -v` gives it.
const VERSION: &str = "#1 SMP ebb";

pub(crate) fn auxv(s: &Subject<'_>, out: &mut Vec<u8>) {
    out.extend(s.process.auxv());
}

pub(crate) fn cmdline(s: &Subject<'_>, out: &mut Vec<u8>) {
    out.extend(s.process.cmdline());
}

/// No file is behind a device, so nothing is read from one or written to it.
pub(crate) fn io(s: &Subject<'_>, out: &mut Vec<u8>) {
    let [read, written, reads, writes] = s.process.moved();
    put!(
        out,
        "rchar: {read}\nwchar: {written}\nsyscr: {reads}\nsyscw: {writes}\n"
    );
    put!(
        out,
        "read_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n"
    );
}

pub(crate) fn environ(s: &Subject<'_>, out: &mut Vec<u8>) {
    out.extend(s.process.environ());
}

/// System V objects: the file's name says which.
pub(crate) fn sysvipc(s: &Subject<'_>, out: &mut Vec<u8>) {
    let kind = s.path.rsplit('/').next().unwrap_or("");
    out.extend_from_slice(s.env.ipc(kind).as_bytes());
}

pub(crate) fn maps(s: &Subject<'_>, out: &mut Vec<u8>) {
    s.process.maps(out);
}

pub(crate) fn smaps(s: &Subject<'_>, out: &mut Vec<u8>) {
    s.process.smaps(out);
}

pub(crate) fn smaps_rollup(s: &Subject<'_>, out: &mut Vec<u8>) {
    s.process.smaps_rollup(out);
}

pub(crate) fn comm(s: &Subject<'_>, out: &mut Vec<u8>) {
    out.extend(s.process.comm(s.tid));
    out.push(b'\n');
}

pub(crate) fn hostname(s: &Subject<'_>, out: &mut Vec<u8>) {
    out.extend(s.process.hostname());
    out.push(b'\n');
}

pub(crate) fn osrelease(s: &Subject<'_>, out: &mut Vec<u8>) {
    put!(out, "{}\n", s.process.release());
}

pub(crate) fn version(s: &Subject<'_>, out: &mut Vec<u8>) {
    put!(
        out,
        "Linux version {} (ebb@ebb) (rustc) {VERSION}\n",
        s.process.release()
    );
}

pub(crate) fn cgroup_procs(s: &Subject<'_>, out: &mut Vec<u8>) {
    for pid in s.env.processes() {
        put!(out, "{pid}\n");
    }
}

pub(crate) fn cpu_range(s: &Subject<'_>, out: &mut Vec<u8>) {
    match s.process.cpus() {
        0 | 1 => {
            put!(out, "0\n");
        }
        n => {
            put!(out, "0-{}\n", n - 1);
        }
    }
}

pub(crate) fn cpu_stat(s: &Subject<'_>, out: &mut Vec<u8>) {
    let (user, system) = busy(s);
    put!(out, "usage_usec {}\n", (user + system) / 1000);
    put!(
        out,
        "user_usec {}\nsystem_usec {}\n",
        user / 1000,
        system / 1000
    );
}

pub(crate) fn memory_current(s: &Subject<'_>, out: &mut Vec<u8>) {
    let memory = s.process.memory();
    put!(out, "{}\n", memory.total.saturating_sub(memory.free));
}

pub(crate) fn memory_max(s: &Subject<'_>, out: &mut Vec<u8>) {
    put!(out, "{}\n", s.process.memory().total);
}

/// Processor time of all processes, in nanoseconds: in user mode, in the kernel.
fn busy(s: &Subject<'_>) -> (u64, u64) {
    let mut all = (0, 0);
    for pid in s.env.processes() {
        s.env.visit(pid, &mut |process| {
            let (user, system) = process.cpu_time();
            let (gone_user, gone_system) = process.children_time();
            all = (all.0 + user + gone_user, all.1 + system + gone_system);
        });
    }
    all
}

/// Threads of all processes: those that run, and how many there are.
fn threads(s: &Subject<'_>) -> (usize, usize) {
    let mut all = (0, 0);
    for pid in s.env.processes() {
        s.env.visit(pid, &mut |process| {
            let threads = process.threads();
            let runs = |tid: &&u32| process.state(**tid) == 'R';
            all.0 += threads.iter().filter(runs).count();
            all.1 += threads.len();
        });
    }
    all
}

pub(crate) fn uptime(s: &Subject<'_>, out: &mut Vec<u8>) {
    let now = s.env.monotonic() / 10_000_000;
    let (user, system) = busy(s);
    let idle = now.saturating_sub((user + system) / 10_000_000);
    let [up, idle] = [now, idle].map(|t| alloc::format!("{}.{:02}", t / 100, t % 100));
    put!(out, "{up} {idle}\n");
}

pub(crate) fn loadavg(s: &Subject<'_>, out: &mut Vec<u8>) {
    let (running, all) = threads(s);
    let last = s.env.processes().last().copied().unwrap_or(1);
    for average in s.env.load() {
        // Half a hundredth is rounded up.
        let hundredths = (average * 100 + 1024) / 2048;
        put!(out, "{}.{:02} ", hundredths / 100, hundredths % 100);
    }
    put!(out, "{running}/{all} {last}\n");
}

fn put_uuid(bytes: [u8; 16], out: &mut Vec<u8>) {
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        put!(out, "{byte:02x}");
    }
    out.push(b'\n');
}

/// Marks random bytes as a UUID of version 4.
fn uuid4(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

pub(crate) fn uuid(s: &Subject<'_>, out: &mut Vec<u8>) {
    let mut bytes = [0; 16];
    s.env.draw(&mut bytes);
    put_uuid(uuid4(bytes), out);
}

pub(crate) fn boot_id(s: &Subject<'_>, out: &mut Vec<u8>) {
    put_uuid(uuid4(s.boot_id.to_le_bytes()), out);
}

pub(crate) fn meminfo(s: &Subject<'_>, out: &mut Vec<u8>) {
    let memory = s.process.memory();
    let (total, free) = (memory.total / 1024, memory.free / 1024);
    let anon = memory.resident.saturating_sub(memory.shared) / 1024;
    for (name, value) in [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", memory.shared / 1024),
        ("SwapCached", 0),
        ("Active", memory.resident / 1024),
        ("Inactive", 0),
        ("Active(anon)", anon),
        ("Inactive(anon)", 0),
        ("Active(file)", memory.shared / 1024),
        ("Inactive(file)", 0),
        ("Unevictable", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", anon),
        ("Mapped", memory.shared / 1024),
        ("Shmem", s.file_pages * (PAGE / 1024)),
        ("KReclaimable", 0),
        ("Slab", 0),
        ("SReclaimable", 0),
        ("SUnreclaim", 0),
        ("KernelStack", 0),
        ("PageTables", 0),
        ("NFS_Unstable", 0),
        ("Bounce", 0),
        ("WritebackTmp", 0),
        ("CommitLimit", total),
        ("Committed_AS", memory.virtual_size / 1024),
        ("VmallocTotal", 34_359_738_367),
        ("VmallocUsed", 0),
        ("VmallocChunk", 0),
        ("Percpu", 0),
        ("AnonHugePages", 0),
        ("ShmemHugePages", 0),
        ("ShmemPmdMapped", 0),
    ] {
        put!(out, "{:<16}{value:>8} kB\n", alloc::format!("{name}:"));
    }
    put!(
        out,
        "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:               0 kB\n"
    );
}

pub(crate) fn cpuinfo(s: &Subject<'_>, out: &mut Vec<u8>) {
    let process = s.process;
    let model = process.cpu_model();
    let (family, number, stepping) = model.signature;
    for cpu in 0..process.cpus() {
        put!(out, "processor\t: {cpu}\nvendor_id\t: ");
        out.extend_from_slice(&model.vendor);
        put!(
            out,
            "\ncpu family\t: {family}\nmodel\t\t: {number}\nmodel name\t: "
        );
        out.extend_from_slice(&model.name);
        put!(
            out,
            "\nstepping\t: {stepping}\ncpu MHz\t\t: {}.000\n",
            model.mhz
        );
        if model.cache_kib > 0 {
            put!(out, "cache size\t: {} KB\n", model.cache_kib);
        }
        put!(out, "physical id\t: 0\nsiblings\t: {}\n", process.cpus());
        put!(out, "core id\t\t: {cpu}\ncpu cores\t: {}\n", process.cpus());
        put!(out, "apicid\t\t: {cpu}\ninitial apicid\t: {cpu}\n");
        put!(
            out,
            "fpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: {}\nwp\t\t: yes\nflags\t\t: ",
            model.level
        );
        out.extend_from_slice(&model.flags);
        put!(out, "\nbugs\t\t:\nbogomips\t: {}.00\n", model.mhz * 2);
        put!(
            out,
            "clflush size\t: 64\ncache_alignment\t: 64\naddress sizes\t: {} bits physical, {} bits virtual\npower management:\n\n",
            model.address_bits.0,
            model.address_bits.1
        );
    }
}

pub(crate) fn stat(s: &Subject<'_>, out: &mut Vec<u8>) {
    let process = s.process;
    let (user, system) = busy(s);
    let cpus = process.cpus().max(1);
    let up = ticks(s.env.monotonic());
    let busy = ticks(user) + ticks(system);
    let line =
        |user: u64, system: u64, idle: u64| alloc::format!("{user} 0 {system} {idle} 0 0 0 0 0 0");
    let idle = (up * u64::from(cpus)).saturating_sub(busy);
    put!(out, "cpu  {}\n", line(ticks(user), ticks(system), idle));
    // A UC runs on one core; what it used is booked on the first.
    put!(
        out,
        "cpu0 {}\n",
        line(ticks(user), ticks(system), up.saturating_sub(busy))
    );
    for cpu in 1..cpus {
        put!(out, "cpu{cpu} {}\n", line(0, 0, up));
    }
    let booted = s.env.realtime().saturating_sub(s.env.monotonic()) / 1_000_000_000;
    let processes = s.env.processes().len();
    put!(
        out,
        "intr 0\nctxt 0\nbtime {booted}\nprocesses {processes}\n"
    );
    let running = threads(s).0;
    put!(out, "procs_running {running}\nprocs_blocked 0\n");
    put!(out, "softirq 0 0 0 0 0 0 0 0 0 0 0\n");
}

pub(crate) fn process_stat(s: &Subject<'_>, out: &mut Vec<u8>) {
    let process = s.process;
    let (memory, (user, system)) = (process.memory(), process.cpu_time());
    let (group, session) = process.group();
    let (faults, gone_faults) = process.faults();
    put!(out, "{} (", s.tid);
    out.extend(process.comm(s.tid));
    put!(
        out,
        ") {} {} {group} {session} 0 -1 4194560 {faults} {gone_faults} 0 0 ",
        process.state(s.tid),
        process.parent()
    );
    let (nice, gone) = (process.nice(), process.children_time());
    let times = [user, system, gone.0, gone.1].map(ticks);
    for time in times {
        put!(out, "{time} ");
    }
    put!(out, "{} {nice} {} 0 ", 20 + nice, process.threads().len());
    put!(out, "{} {} ", ticks(process.started()), memory.virtual_size);
    put!(out, "{} {} ", memory.resident / PAGE, process.rlimit(5).0);
    // Where code, stack and registers are is not told. The signal sets have 31 bits here.
    put!(out, "0 0 0 0 0 ");
    let [own, _, blocked, ignored, caught] = process.signal_sets(s.tid);
    for set in [own, blocked, ignored, caught] {
        put!(out, "{} ", set & 0x7fff_ffff);
    }
    // wchan to exit_signal, processor to exit_code.
    put!(out, "0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n");
}

pub(crate) fn statm(s: &Subject<'_>, out: &mut Vec<u8>) {
    let m = s.process.memory();
    let pages = [
        m.virtual_size,
        m.resident,
        m.shared,
        m.text,
        0,
        m.data + m.stack,
        0,
    ];
    for (at, bytes) in pages.iter().enumerate() {
        put!(out, "{}{}", if at == 0 { "" } else { " " }, bytes / PAGE);
    }
    out.push(b'\n');
}

pub(crate) fn status(s: &Subject<'_>, out: &mut Vec<u8>) {
    let process = s.process;
    put!(out, "Name:\t");
    out.extend(process.comm(s.tid));
    let state = match process.state(s.tid) {
        'S' => "S (sleeping)",
        'T' => "T (stopped)",
        'Z' => "Z (zombie)",
        _ => "R (running)",
    };
    let umask = s.files.map_or(0, |f| f.umask);
    put!(out, "\nUmask:\t{umask:04o}\nState:\t{state}\n");
    put!(
        out,
        "Tgid:\t{pid}\nNgid:\t0\nPid:\t{}\n",
        s.tid,
        pid = process.pid()
    );
    put!(out, "PPid:\t{}\nTracerPid:\t0\n", process.parent());
    let who = process.credentials();
    for (name, ids) in [("Uid", who.user), ("Gid", who.group)] {
        put!(
            out,
            "{name}:\t{}\t{}\t{}\t{}\n",
            ids.real,
            ids.effective,
            ids.saved,
            ids.files
        );
    }
    put!(
        out,
        "FDSize:\t{}\nGroups:\t",
        s.files
            .map_or(0, |f| f.fds.len())
            .next_power_of_two()
            .max(64)
    );
    for group in who.groups.iter() {
        put!(out, "{group} ");
    }
    if who.groups.is_empty() {
        put!(out, " ");
    }
    let (group, session) = process.group();
    put!(out, "\nNStgid:\t{}\nNSpid:\t{}\n", process.pid(), s.tid);
    put!(out, "NSpgid:\t{group}\nNSsid:\t{session}\n");
    let m = process.memory();
    for (name, bytes) in [
        ("VmPeak", m.virtual_peak),
        ("VmSize", m.virtual_size),
        ("VmLck", m.locked),
        ("VmPin", 0),
        ("VmHWM", m.resident_peak),
        ("VmRSS", m.resident),
        ("RssAnon", m.resident.saturating_sub(m.shared)),
        ("RssFile", m.shared),
        ("RssShmem", 0),
        ("VmData", m.data),
        ("VmStk", m.stack),
        ("VmExe", m.text),
        ("VmLib", 0),
        ("VmPTE", 0),
        ("VmSwap", 0),
        ("HugetlbPages", 0),
    ] {
        put!(out, "{name}:\t{:>8} kB\n", bytes / 1024);
    }
    let [own, shared, blocked, ignored, caught] = process.signal_sets(s.tid);
    put!(out, "CoreDumping:\t0\nTHP_enabled:\t0\n");
    put!(
        out,
        "Threads:\t{}\nSigQ:\t0/31000\n",
        process.threads().len()
    );
    put!(
        out,
        "SigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\n"
    );
    put!(out, "SigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n");
    for (name, set) in [
        ("CapInh", who.inheritable),
        ("CapPrm", who.permitted),
        ("CapEff", who.effective),
        ("CapBnd", who.bounding),
        ("CapAmb", who.ambient),
    ] {
        put!(out, "{name}:\t{set:016x}\n");
    }
    let refuses = u8::from(who.no_new_privileges);
    put!(
        out,
        "NoNewPrivs:\t{refuses}\nSeccomp:\t0\nSeccomp_filters:\t0\n"
    );
    let cpus = process.cpus().clamp(1, 64);
    put!(out, "Cpus_allowed:\t{:x}\n", u64::MAX >> (64 - cpus));
    put!(out, "Cpus_allowed_list:\t");
    cpu_range(s, out);
    put!(out, "Mems_allowed:\t1\nMems_allowed_list:\t0\n");
    let (waits, turns_lost) = process.switches();
    put!(
        out,
        "voluntary_ctxt_switches:\t{waits}\nnonvoluntary_ctxt_switches:\t{turns_lost}\n"
    );
}

pub(crate) fn limits(s: &Subject<'_>, out: &mut Vec<u8>) {
    const ROWS: [(&str, u32, &str); 16] = [
        ("Max cpu time", 0, "seconds"),
        ("Max file size", 1, "bytes"),
        ("Max data size", 2, "bytes"),
        ("Max stack size", 3, "bytes"),
        ("Max core file size", 4, "bytes"),
        ("Max resident set", 5, "bytes"),
        ("Max processes", 6, "processes"),
        ("Max open files", 7, "files"),
        ("Max locked memory", 8, "bytes"),
        ("Max address space", 9, "bytes"),
        ("Max file locks", 10, "locks"),
        ("Max pending signals", 11, "signals"),
        ("Max msgqueue size", 12, "bytes"),
        ("Max nice priority", 13, ""),
        ("Max realtime priority", 14, ""),
        ("Max realtime timeout", 15, "us"),
    ];
    let word = |limit: u64| match limit {
        u64::MAX => alloc::string::String::from("unlimited"),
        limit => alloc::format!("{limit}"),
    };
    put!(
        out,
        "{:<25} {:<20} {:<20} {:<10}\n",
        "Limit",
        "Soft Limit",
        "Hard Limit",
        "Units"
    );
    for (name, resource, unit) in ROWS {
        let (soft, hard) = s.process.rlimit(resource);
        put!(
            out,
            "{name:<25} {:<20} {:<20} {unit:<10}\n",
            word(soft),
            word(hard)
        );
    }
}

pub(crate) fn oom_score_adj(s: &Subject<'_>, out: &mut Vec<u8>) {
    put!(out, "{}\n", s.process.oom_score_adj());
}

/// As Linux computes it: 667 and what memory and adjustment make of it.
pub(crate) fn oom_score(s: &Subject<'_>, out: &mut Vec<u8>) {
    let (memory, adjustment) = (s.process.memory(), i64::from(s.process.oom_score_adj()));
    let share = memory.resident.saturating_mul(1000) / memory.total.max(1);
    let score = match adjustment {
        -1000 => 0,
        adjustment => (1000 + share as i64 + adjustment) * 2 / 3,
    };
    put!(out, "{score}\n");
}

pub(crate) fn timerslack_ns(s: &Subject<'_>, out: &mut Vec<u8>) {
    put!(out, "{}\n", s.process.timer_slack_ns());
}

/// Where in the kernel it waits is not told. As on Linux no line end follows.
pub(crate) fn wchan(_: &Subject<'_>, out: &mut Vec<u8>) {
    out.push(b'0');
}

/// Which system call a thread is in: a number, arguments, stack and instruction pointer.
pub(crate) fn syscall(s: &Subject<'_>, out: &mut Vec<u8>) {
    let Some([number, arguments @ .., stack, instruction]) = s.process.call(s.tid) else {
        put!(out, "running\n");
        return;
    };
    put!(out, "{number}");
    for argument in arguments {
        put!(out, " {argument:#x}");
    }
    put!(out, " {stack:#x} {instruction:#x}\n");
}

/// What of the kernel is on the thread's way: the call that it is in. There is no stack behind a thread.
pub(crate) fn stack(s: &Subject<'_>, out: &mut Vec<u8>) {
    if let Some([number, ..]) = s.process.call(s.tid) {
        put!(out, "[<0>] system_call_{number}\n");
    }
}

/// The children of a process are its first thread's.
pub(crate) fn children(s: &Subject<'_>, out: &mut Vec<u8>) {
    let pid = s.process.pid();
    if s.tid != pid {
        return;
    }
    for child in s.env.processes() {
        s.env.visit(child, &mut |process| {
            if process.parent() == pid && child != pid {
                put!(out, "{child} ");
            }
        });
    }
}

/// As before Linux 2.6.36: from -17 to 15.
pub(crate) fn oom_adj(s: &Subject<'_>, out: &mut Vec<u8>) {
    let adjustment = i32::from(s.process.oom_score_adj());
    let old = match adjustment {
        1000 => 15,
        _ => adjustment * 17 / 1000,
    };
    put!(out, "{old}\n");
}

pub(crate) fn numa_maps(s: &Subject<'_>, out: &mut Vec<u8>) {
    s.process.numa_maps(out);
}

/// Of a user who has not logged in, without a line end.
pub(crate) fn nobody(_: &Subject<'_>, out: &mut Vec<u8>) {
    put!(out, "{}", u32::MAX);
}

pub(crate) fn personality(s: &Subject<'_>, out: &mut Vec<u8>) {
    put!(out, "{:08x}\n", s.process.personality());
}

pub(crate) fn coredump_filter(s: &Subject<'_>, out: &mut Vec<u8>) {
    put!(out, "{:08x}\n", s.process.core_filter());
}

pub(crate) fn sched(s: &Subject<'_>, out: &mut Vec<u8>) {
    let process = s.process;
    out.extend(process.comm(s.tid));
    put!(out, " ({}, #threads: {})\n", s.tid, process.threads().len());
    put!(out, "{:-<67}\n", "");
    let (user, system) = process.cpu_time();
    let ran = user + system;
    let value = alloc::format!("{}.{:06}", ran / 1_000_000, ran % 1_000_000);
    put!(out, "{:<45}:{value:>21}\n", "se.sum_exec_runtime");
    put!(out, "{:<45}:{:>21}\n", "policy", 0);
    put!(out, "{:<45}:{:>21}\n", "prio", 120 + process.nice());
}

/// Time on the core; time that it waited for it and turns are not counted.
pub(crate) fn schedstat(s: &Subject<'_>, out: &mut Vec<u8>) {
    let (user, system) = s.process.cpu_time();
    put!(out, "{} 0 0\n", user + system);
}

pub(crate) fn file_nr(s: &Subject<'_>, out: &mut Vec<u8>) {
    put!(out, "{}\t0\t{}\n", s.open, i64::MAX);
}

pub(crate) fn vmstat(s: &Subject<'_>, out: &mut Vec<u8>) {
    let memory = s.process.memory();
    let anonymous = memory.resident.saturating_sub(memory.shared);
    for (name, pages) in [
        ("nr_free_pages", memory.free / PAGE),
        ("nr_active_anon", anonymous / PAGE),
        ("nr_anon_pages", anonymous / PAGE),
        ("nr_mapped", memory.shared / PAGE),
        ("nr_file_pages", s.file_pages),
        ("nr_shmem", s.file_pages),
        ("nr_dirty", 0),
        ("nr_writeback", 0),
        ("pgpgin", 0),
        ("pgpgout", 0),
        ("pswpin", 0),
        ("pswpout", 0),
        ("pgfault", 0),
        ("pgmajfault", 0),
        ("oom_kill", 0),
    ] {
        put!(out, "{name} {pages}\n");
    }
}

pub(crate) fn zoneinfo(s: &Subject<'_>, out: &mut Vec<u8>) {
    let memory = s.process.memory();
    let (free, total) = (memory.free / PAGE, memory.total / PAGE);
    put!(out, "Node 0, zone   Normal\n  pages free     {free}\n");
    put!(
        out,
        "        min      0\n        low      0\n        high     0\n"
    );
    put!(
        out,
        "        spanned  {total}\n        present  {total}\n        managed  {total}\n"
    );
}
