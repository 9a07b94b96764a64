//! Inodes and directories of the writable layer.

use alloc::{collections::BTreeMap, sync::Arc};
use borsh::{BorshDeserialize, BorshSerialize};

use super::{archive::ArchiveNode, data::FileData};
use crate::object::{
    env::Time,
    errno::{Errno, Result},
    id::{Id, InodeId, NodeRef},
    kind::{pipe::Pipe, socket::Socket},
};

/// What an inode holds.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub enum InodeKind {
    /// A regular file.
    File(FileData),
    /// A directory.
    Dir(DirData),
    /// A symbolic link and where it points.
    Symlink(Arc<[u8]>),
    /// A named pipe, and the pipe while it is open.
    Fifo(Option<Id<Pipe>>),
    /// The name of a socket, and the socket while it lives.
    Socket(Option<Id<Socket>>),
    /// A character device by its number.
    Char(u64),
}

/// The extended attributes of a node, by name.
pub(crate) type Attributes = BTreeMap<Arc<[u8]>, Arc<[u8]>>;

/// A node of the writable layer.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct Inode {
    pub(crate) ino: u64,
    pub(crate) kind: InodeKind,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) nlink: u32,
    pub(crate) atime: Time,
    pub(crate) mtime: Time,
    pub(crate) ctime: Time,
    pub(crate) btime: Time,
    /// Descriptions and working directories that refer to it.
    pub(crate) opens: u32,
    /// `F_SEAL_*` of a memfd; `None` for a file that has no seals.
    pub(crate) seals: Option<u32>,
    /// `O_TMPFILE` made it, and it may be given a name.
    pub(crate) linkable: bool,
    /// `FS_*_FL`, as `chattr` sets them.
    pub(crate) flags: u32,
    /// `F_SET_RW_HINT`.
    pub(crate) hint: u8,
    /// Extended attributes, if there are any.
    pub(crate) attributes: Option<Arc<Attributes>>,
    /// The directory of the entry made last, and the entry's name.
    pub(crate) parent: NodeRef,
    pub(crate) name: Arc<[u8]>,
    /// A removed directory keeps its parent alive, for `..`.
    pub(crate) pins_parent: bool,
    /// The archive node whose place it has taken.
    pub(crate) origin: Option<ArchiveNode>,
}

impl Inode {
    pub(crate) fn dir(&self) -> Option<&DirData> {
        match &self.kind {
            InodeKind::Dir(dir) => Some(dir),
            _ => None,
        }
    }

    pub(crate) fn dir_mut(&mut self) -> Result<&mut DirData> {
        match &mut self.kind {
            InodeKind::Dir(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }
}

#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// `None` hides an archive entry of this name.
    pub(crate) node: Option<InodeId>,
    order: u64,
}

/// The entries of a directory that differ from the archive's.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default)]
pub struct DirData {
    pub(crate) lower: Option<ArchiveNode>,
    pub(crate) entries: BTreeMap<Arc<[u8]>, Entry>,
    /// Live entries in the order they were made, so that reading a directory keeps its place.
    order: BTreeMap<u64, Arc<[u8]>>,
    next: u64,
}

impl DirData {
    /// The archive's directory, unchanged so far.
    pub(crate) fn over(lower: ArchiveNode) -> Self {
        Self {
            lower: Some(lower),
            ..Self::default()
        }
    }

    /// How many live entries the writable layer has.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn insert(&mut self, name: Arc<[u8]>, node: InodeId) {
        let order = self.next;
        self.next += 1;
        if let Some(old) = self.entries.insert(
            name.clone(),
            Entry {
                node: Some(node),
                order,
            },
        ) {
            self.order.remove(&old.order);
        }
        self.order.insert(order, name);
    }

    pub(crate) fn remove(&mut self, name: &[u8], leave_whiteout: bool) {
        if let Some((name, old)) = self.entries.remove_entry(name) {
            self.order.remove(&old.order);
            if leave_whiteout {
                self.entries.insert(
                    name,
                    Entry {
                        node: None,
                        order: u64::MAX,
                    },
                );
            }
        } else if leave_whiteout {
            self.entries.insert(
                Arc::from(name),
                Entry {
                    node: None,
                    order: u64::MAX,
                },
            );
        }
    }

    /// The first live entry made at or after `order`.
    pub(crate) fn after(&self, order: u64) -> Option<(Arc<[u8]>, InodeId, u64)> {
        self.order.range(order..).find_map(|(&order, name)| {
            let node = self.entries.get(name)?.node?;
            Some((name.clone(), node, order + 1))
        })
    }
}
