//! The boot archive as the root of every UC's files.

use crate::object::Objects;
use crate::object::description::DescId;
use crate::object::env::Time;
use crate::object::vfs::NodeRef;
use crate::object::vfs::archive::{Archive, ArchiveKind, ArchiveMeta, ArchiveNode};
use alloc::boxed::Box;
use ebb_archive::Kind;
use ebb_runtime::EbbRef;
use ebb_runtime::platform::Environment;
use once_cell::race::OnceBox;

impl Objects {
    /// The bytes of a file that lies in the boot archive and has not been changed.
    pub(crate) fn archived(&self, id: DescId) -> Option<&'static [u8]> {
        match self.fs.canon(self.description(id).ok()?.node?) {
            NodeRef::Lower(node) => Some(root().content(node)),
            NodeRef::Upper(node) => self.fs.unwritten(node),
            _ => None,
        }
    }
}

/// The boot archive as a UC's root.
struct Root(ebb_archive::Archive<'static>);

/// What an image without an archive has.
static EMPTY: EmptyRoot = EmptyRoot;

struct EmptyRoot;

impl Archive for EmptyRoot {
    fn meta(&self, _: ArchiveNode) -> ArchiveMeta {
        ArchiveMeta {
            kind: ArchiveKind::Dir,
            mode: 0o755,
            mtime: Time::default(),
        }
    }
    fn subdirs(&self, _: ArchiveNode) -> u32 {
        0
    }
    fn parent(&self, _: ArchiveNode) -> ArchiveNode {
        0
    }
    fn name(&self, _: ArchiveNode) -> &'static [u8] {
        b""
    }
    fn lookup(&self, _: ArchiveNode, _: &[u8]) -> Option<ArchiveNode> {
        None
    }
    fn entry(&self, _: ArchiveNode, _: usize) -> Option<ArchiveNode> {
        None
    }
    fn content(&self, _: ArchiveNode) -> &'static [u8] {
        b""
    }
}

impl Archive for Root {
    fn meta(&self, node: ArchiveNode) -> ArchiveMeta {
        let Some(node) = self.0.node(node) else {
            return EMPTY.meta(0);
        };
        let metadata = node.metadata();
        let kind = match node.kind() {
            Kind::File => ArchiveKind::File,
            Kind::Directory => ArchiveKind::Dir,
            Kind::Symlink => ArchiveKind::Symlink,
        };
        ArchiveMeta {
            kind,
            mode: metadata.permissions & 0o7777,
            mtime: Time {
                sec: metadata.mtime,
                nsec: metadata.mtime_nanoseconds,
            },
        }
    }

    fn subdirs(&self, dir: ArchiveNode) -> u32 {
        self.0.node(dir).map_or(0, |n| {
            n.children().filter(|c| c.kind() == Kind::Directory).count() as u32
        })
    }

    fn parent(&self, node: ArchiveNode) -> ArchiveNode {
        self.0.node(node).map_or(0, |n| n.parent().index())
    }

    fn name(&self, node: ArchiveNode) -> &'static [u8] {
        self.0.node(node).map_or(b"", |n| n.name())
    }

    fn lookup(&self, dir: ArchiveNode, name: &[u8]) -> Option<ArchiveNode> {
        Some(self.0.node(dir)?.child(name)?.index())
    }

    fn entry(&self, dir: ArchiveNode, index: usize) -> Option<ArchiveNode> {
        Some(self.0.node(dir)?.children().nth(index)?.index())
    }

    fn content(&self, node: ArchiveNode) -> &'static [u8] {
        let Some(node) = self.0.node(node) else {
            return b"";
        };
        node.target().unwrap_or_else(|| node.data())
    }
}

/// Two cores may both open it; the first counts.
static ROOT: OnceBox<Root> = OnceBox::new();

fn opened() -> Option<&'static Root> {
    let open = || {
        let archive = EbbRef::<dyn Environment>::get().archive();
        ebb_archive::Archive::new(archive).map(|a| Box::new(Root(a)))
    };
    ROOT.get_or_try_init(open).ok()
}

/// The tree that every UC's files start from; empty without a boot archive.
pub fn root() -> &'static dyn Archive {
    match opened() {
        Some(root) => root,
        None => &EMPTY,
    }
}

/// The boot archive.
pub fn archive() -> Option<ebb_archive::Archive<'static>> {
    opened().map(|r| r.0)
}
