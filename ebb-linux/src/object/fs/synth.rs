//! /proc and /sys: trees whose files are made when they are read.
//!
//! The trees are one table of paths. What cannot be in a table (the entries of `fd` and `task`) has
//! node variants of its own. [`super::text`] makes the text of files.

use alloc::{format, vec::Vec};

use super::{NodeKind, net, text};
use crate::object::id::SynthNode;

#[derive(Clone, Copy)]
pub(crate) enum What {
    Dir,
    Fds,
    FdInfos,
    Tasks,
    File(text::Make),
    /// A file that also accepts writes, which change nothing.
    Accepting(text::Make),
    SelfLink,
    ThreadSelfLink,
    Exe,
    Cwd,
    RootLink,
    Link(&'static str),
}

use What::{Accepting, Dir, File, Link};

/// Every fixed node. A directory stands before what is in it; `PID` is the process.
pub(crate) static TREE: &[(&str, What)] = &[
    ("/proc", Dir),
    ("/proc/PID", Dir),
    ("/proc/PID/auxv", File(text::auxv)),
    ("/proc/PID/cgroup", File(text::cgroup)),
    ("/proc/PID/cmdline", File(text::cmdline)),
    ("/proc/PID/comm", Accepting(text::comm)),
    ("/proc/PID/cwd", What::Cwd),
    ("/proc/PID/environ", File(text::environ)),
    ("/proc/PID/exe", What::Exe),
    ("/proc/PID/fd", What::Fds),
    ("/proc/PID/fdinfo", What::FdInfos),
    ("/proc/PID/io", File(text::io)),
    ("/proc/PID/limits", File(text::limits)),
    ("/proc/PID/maps", File(text::maps)),
    ("/proc/PID/mountinfo", File(text::mountinfo)),
    ("/proc/PID/mounts", File(text::mounts)),
    ("/proc/PID/net", Dir),
    ("/proc/PID/net/dev", File(net::dev)),
    ("/proc/PID/net/if_inet6", File(net::if_inet6)),
    ("/proc/PID/net/route", File(net::route)),
    ("/proc/PID/oom_score", File(text::zero)),
    ("/proc/PID/oom_score_adj", Accepting(text::zero)),
    ("/proc/PID/personality", File(text::personality)),
    ("/proc/PID/root", What::RootLink),
    ("/proc/PID/stat", File(text::process_stat)),
    ("/proc/PID/statm", File(text::statm)),
    ("/proc/PID/status", File(text::status)),
    ("/proc/PID/task", What::Tasks),
    ("/proc/cmdline", File(text::kernel_cmdline)),
    ("/proc/cpuinfo", File(text::cpuinfo)),
    ("/proc/filesystems", File(text::filesystems)),
    ("/proc/loadavg", File(text::loadavg)),
    ("/proc/meminfo", File(text::meminfo)),
    ("/proc/mounts", Link("self/mounts")),
    ("/proc/net", Link("self/net")),
    ("/proc/self", What::SelfLink),
    ("/proc/stat", File(text::stat)),
    ("/proc/swaps", File(text::swaps)),
    ("/proc/sys", Dir),
    ("/proc/sys/fs", Dir),
    ("/proc/sys/fs/file-max", File(text::file_max)),
    ("/proc/sys/fs/nr_open", File(text::nr_open)),
    ("/proc/sys/fs/pipe-max-size", File(text::pipe_max_size)),
    ("/proc/sys/kernel", Dir),
    ("/proc/sys/kernel/cap_last_cap", File(text::cap_last_cap)),
    ("/proc/sys/kernel/hostname", File(text::hostname)),
    ("/proc/sys/kernel/ngroups_max", File(text::ngroups_max)),
    ("/proc/sys/kernel/osrelease", File(text::osrelease)),
    ("/proc/sys/kernel/ostype", File(text::ostype)),
    ("/proc/sys/kernel/pid_max", File(text::pid_max)),
    ("/proc/sys/kernel/random", Dir),
    ("/proc/sys/kernel/random/boot_id", File(text::boot_id)),
    (
        "/proc/sys/kernel/random/entropy_avail",
        File(text::entropy_avail),
    ),
    ("/proc/sys/kernel/random/uuid", File(text::uuid)),
    ("/proc/sys/kernel/threads-max", File(text::pid_max)),
    ("/proc/sys/kernel/version", File(text::kernel_version)),
    ("/proc/sys/net", Dir),
    ("/proc/sys/net/core", Dir),
    ("/proc/sys/net/core/somaxconn", File(text::somaxconn)),
    ("/proc/sys/net/ipv4", Dir),
    (
        "/proc/sys/net/ipv4/ip_local_port_range",
        File(text::port_range),
    ),
    ("/proc/sys/vm", Dir),
    ("/proc/sys/vm/max_map_count", File(text::max_map_count)),
    ("/proc/sys/vm/mmap_min_addr", File(text::mmap_min_addr)),
    ("/proc/sys/vm/overcommit_memory", File(text::zero)),
    ("/proc/thread-self", What::ThreadSelfLink),
    ("/proc/uptime", File(text::uptime)),
    ("/proc/version", File(text::version)),
    ("/sys", Dir),
    ("/sys/devices", Dir),
    ("/sys/devices/system", Dir),
    ("/sys/devices/system/cpu", Dir),
    (
        "/sys/devices/system/cpu/kernel_max",
        File(text::cpu_kernel_max),
    ),
    ("/sys/devices/system/cpu/online", File(text::cpu_range)),
    ("/sys/devices/system/cpu/possible", File(text::cpu_range)),
    ("/sys/devices/system/cpu/present", File(text::cpu_range)),
    ("/sys/devices/system/node", Dir),
    ("/sys/devices/system/node/online", File(text::zero)),
    ("/sys/fs", Dir),
    ("/sys/fs/cgroup", Dir),
    (
        "/sys/fs/cgroup/cgroup.controllers",
        File(text::cgroup_controllers),
    ),
    ("/sys/fs/cgroup/cgroup.procs", File(text::cgroup_procs)),
    ("/sys/fs/cgroup/cpu.max", File(text::cpu_max)),
    ("/sys/fs/cgroup/cpu.stat", File(text::cpu_stat)),
    (
        "/sys/fs/cgroup/cpuset.cpus.effective",
        File(text::cpu_range),
    ),
    ("/sys/fs/cgroup/memory.current", File(text::memory_current)),
    ("/sys/fs/cgroup/memory.high", File(text::max)),
    ("/sys/fs/cgroup/memory.max", File(text::memory_max)),
    ("/sys/fs/cgroup/memory.swap.max", File(text::zero)),
    ("/sys/fs/cgroup/pids.max", File(text::max)),
    ("/sys/kernel", Dir),
    ("/sys/kernel/mm", Dir),
    ("/sys/kernel/mm/transparent_hugepage", Dir),
    (
        "/sys/kernel/mm/transparent_hugepage/enabled",
        File(text::hugepage_enabled),
    ),
    (
        "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size",
        File(text::hugepage_size),
    ),
];

/// What a thread's directory in `task` has.
pub(crate) const TASK_FILES: &[&str] = &["comm", "stat", "status", "maps", "cgroup"];

pub(crate) const PID: &str = "/proc/PID";

pub(crate) fn row(path: &str) -> Option<SynthNode> {
    TREE.iter()
        .position(|(p, _)| *p == path)
        .map(|at| SynthNode::Row(at as u16))
}

/// The root of /proc.
pub(crate) fn proc_root() -> SynthNode {
    SynthNode::Row(0)
}

/// The root of /sys.
pub(crate) fn sys_root() -> SynthNode {
    row("/sys").unwrap_or(SynthNode::Row(0))
}

impl SynthNode {
    pub(crate) fn row(self) -> Option<(&'static str, What)> {
        match self {
            SynthNode::Row(at) | SynthNode::Of(_, at) | SynthNode::TaskFile(_, _, at) => {
                TREE.get(at as usize).copied()
            }
            _ => None,
        }
    }

    /// The process that it belongs to.
    pub(crate) const fn pid(self) -> Option<u32> {
        match self {
            SynthNode::Row(_) => None,
            SynthNode::Of(pid, _)
            | SynthNode::Fd(pid, _)
            | SynthNode::FdInfo(pid, _)
            | SynthNode::Task(pid, _)
            | SynthNode::TaskFile(pid, ..) => Some(pid),
        }
    }

    pub(crate) fn kind(self) -> NodeKind {
        match (self, self.row().map(|r| r.1)) {
            (SynthNode::Fd(..), _) => NodeKind::Symlink,
            (SynthNode::FdInfo(..), _) => NodeKind::File,
            (SynthNode::Task(..), _) => NodeKind::Dir,
            (_, Some(Dir | What::Fds | What::FdInfos | What::Tasks)) => NodeKind::Dir,
            (_, Some(File(_) | Accepting(_))) => NodeKind::File,
            _ => NodeKind::Symlink,
        }
    }

    pub(crate) fn mode(self) -> u32 {
        match self.kind() {
            NodeKind::Symlink => 0o777,
            NodeKind::Dir => 0o555,
            _ if self.writable() => 0o644,
            _ => 0o444,
        }
    }

    /// The tree that it is in: a number for each.
    pub(crate) fn tree(self) -> u8 {
        match self.row() {
            Some((path, _)) => u8::from(path.starts_with("/sys")),
            None => 0,
        }
    }

    /// Whether it is a link that leads to what it names without a path.
    pub(crate) fn is_magic(self) -> bool {
        let row = self.row();
        matches!(self, SynthNode::Fd(..))
            || matches!(row, Some((_, What::Cwd | What::RootLink | What::Exe)))
    }

    /// Whether writes are accepted.
    pub(crate) fn writable(self) -> bool {
        matches!(self.row(), Some((_, Accepting(_))))
    }

    pub(crate) fn ino(self) -> u64 {
        let (kind, number) = match self {
            SynthNode::Row(at) => return 0x1_0000 + u64::from(at),
            SynthNode::Of(_, at) => (1, u64::from(at)),
            SynthNode::Fd(_, fd) => (2, fd as u64),
            SynthNode::FdInfo(_, fd) => (3, fd as u64),
            SynthNode::Task(_, tid) => (4, u64::from(tid)),
            SynthNode::TaskFile(_, tid, at) => (5 + u64::from(at), u64::from(tid)),
        };
        // A process's number has 22 bits, a descriptor's 20.
        u64::from(self.pid().unwrap_or(0)) << 40 | kind << 24 | number
    }

    /// The directory above; `None` for the root of a tree.
    pub(crate) fn parent(self) -> Option<SynthNode> {
        match self {
            SynthNode::Row(_) | SynthNode::Of(..) => {
                let (path, _) = self.row()?;
                self.relative(&path[..path.rfind('/')?])
            }
            SynthNode::Fd(..) => self.relative("/proc/PID/fd"),
            SynthNode::FdInfo(..) => self.relative("/proc/PID/fdinfo"),
            SynthNode::Task(..) => self.relative("/proc/PID/task"),
            SynthNode::TaskFile(pid, tid, _) => Some(SynthNode::Task(pid, tid)),
        }
    }

    /// The node of a path of the table; of the same process if it is a process's.
    pub(crate) fn relative(self, path: &str) -> Option<SynthNode> {
        match (row(path)?, self.pid()) {
            (SynthNode::Row(at), Some(pid)) if path.starts_with(PID) => {
                Some(SynthNode::Of(pid, at))
            }
            (node, _) => Some(node),
        }
    }

    /// The name in the directory above.
    pub(crate) fn name(self) -> Vec<u8> {
        match self {
            SynthNode::Row(_) | SynthNode::Of(..) | SynthNode::TaskFile(..) => match self.row() {
                Some((PID, _)) => format!("{}", self.pid().unwrap_or(0)).into_bytes(),
                Some((path, _)) => path.rsplit('/').next().unwrap_or("").as_bytes().to_vec(),
                None => Vec::new(),
            },
            SynthNode::Fd(_, n) | SynthNode::FdInfo(_, n) => format!("{n}").into_bytes(),
            SynthNode::Task(_, n) => format!("{n}").into_bytes(),
        }
    }
}

/// The directory of a process.
pub(crate) fn of(pid: u32) -> Option<SynthNode> {
    match row(PID)? {
        SynthNode::Row(at) => Some(SynthNode::Of(pid, at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_in_a_directory_of_the_table() {
        for (at, (path, _)) in TREE.iter().enumerate() {
            let node = SynthNode::Row(at as u16);
            assert_eq!(row(path), Some(node), "{path} is there twice");
            match node.parent() {
                Some(parent) => assert_eq!(parent.kind(), NodeKind::Dir, "{path}"),
                None => assert!(matches!(*path, "/proc" | "/sys"), "{path} hangs in the air"),
            }
        }
    }
}
