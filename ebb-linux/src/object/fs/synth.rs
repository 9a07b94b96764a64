//! /proc and /sys: trees whose files are made when they are read.
//!
//! The trees are one table of paths ([`super::rows`]). What cannot be in a table (the entries of `fd` and `task`) has
//! node variants of its own. [`super::text`] makes the text of files.

use alloc::{format, vec::Vec};

use super::{
    NodeKind,
    rows::{
        TREE,
        What::{self, Dir, File, Fixed, Settable},
    },
};
use crate::object::id::SynthNode;

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
            SynthNode::Row(_) | SynthNode::NameSpace(_) => None,
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
            (SynthNode::FdInfo(..) | SynthNode::NameSpace(_), _) => NodeKind::File,
            (SynthNode::Task(..), _) => NodeKind::Dir,
            (_, Some(Dir | What::Fds | What::FdInfos | What::Tasks)) => NodeKind::Dir,
            (
                _,
                Some(File(_) | Fixed(_) | Settable(..) | What::Memory | What::Pages | What::Locks),
            ) => NodeKind::File,
            _ => NodeKind::Symlink,
        }
    }

    pub(crate) fn mode(self) -> u32 {
        match self.kind() {
            NodeKind::Symlink => 0o777,
            NodeKind::Dir if self.is_private() => 0o500,
            NodeKind::Dir if self.tree() == 1 => 0o755,
            NodeKind::Dir => 0o555,
            _ if self.is_memory() => 0o600,
            _ if self.writable() => 0o644,
            _ if self.is_private() => 0o400,
            _ => 0o444,
        }
    }

    /// Whether it is its process' owner's only.
    fn is_private(self) -> bool {
        let Some((path, what)) = self.row() else {
            return false;
        };
        let name = path
            .strip_prefix(PID)
            .and_then(|rest| rest.strip_prefix('/'));
        matches!(what, What::Fds | What::Memory | What::Pages)
            || matches!(
                name,
                Some("auxv" | "environ" | "io" | "personality" | "stack" | "syscall")
            )
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
            || matches!(
                row,
                Some((
                    _,
                    What::Cwd | What::RootLink | What::Exe | What::NameSpace(_)
                ))
            )
    }

    /// Whether writes are accepted.
    pub(crate) fn writable(self) -> bool {
        matches!(self.row(), Some((_, Settable(..) | What::Memory)))
    }

    /// Whether it is the memory of a process.
    pub(crate) fn is_memory(self) -> bool {
        matches!(self.row(), Some((_, What::Memory)))
    }

    pub(crate) fn ino(self) -> u64 {
        let (kind, number) = match self {
            SynthNode::Row(at) => return 0x1_0000 + u64::from(at),
            SynthNode::NameSpace(_) => return self.name_space().map_or(0, |(_, number)| number),
            SynthNode::Of(_, at) => (1, u64::from(at)),
            SynthNode::Fd(_, fd) => (2, fd as u64),
            SynthNode::FdInfo(_, fd) => (3, fd as u64),
            SynthNode::Task(_, tid) => (4, u64::from(tid)),
            SynthNode::TaskFile(_, tid, at) => (5 + u64::from(at), u64::from(tid)),
        };
        // A process's number has 22 bits, a descriptor's 20.
        u64::from(self.pid().unwrap_or(0)) << 40 | kind << 24 | number
    }

    /// What links to a name space say.
    pub(crate) fn name_space_text(self) -> Option<&'static str> {
        match self {
            SynthNode::NameSpace(at) => match TREE.get(at as usize)?.1 {
                What::NameSpace(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// The kind of a name space, and its number.
    pub(crate) fn name_space(self) -> Option<(&'static str, u64)> {
        let (kind, number) = self.name_space_text()?.split_once(":[")?;
        Some((kind, number.strip_suffix(']')?.parse().ok()?))
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
            SynthNode::NameSpace(_) => None,
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
            SynthNode::NameSpace(_) => self.name_space_text().unwrap_or("").into(),
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
