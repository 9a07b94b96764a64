//! What is written is read, and what is not an archive is refused without harm.

mod walk;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use ebb_archive::{
    Archive, Error, Kind, Metadata, Node, PAGE,
    write::{self, Builder},
};
use proptest::prelude::*;

use walk::walk;

/// A whole archive in memory.
fn assemble(builder: Builder, contents: &[&[u8]]) -> Vec<u8> {
    let layout = builder.finish().unwrap();
    let mut bytes = vec![0; layout.len.try_into().unwrap()];
    bytes[..layout.table.len()].copy_from_slice(&layout.table);
    for file in &layout.files {
        let content = contents[usize::try_from(file.content).unwrap()];
        let at = usize::try_from(file.offset).unwrap();
        assert_eq!(content.len() as u64, file.size);
        bytes[at..at + content.len()].copy_from_slice(content);
    }
    bytes
}

const NODE: &[u8] = &[0xab; 5000];

/// Directories, files that share data, an empty one, links good and bad.
fn sample() -> Vec<u8> {
    let mut b = Builder::new();
    let meta = Metadata {
        permissions: 0o4755,
        uid: 1,
        gid: 2,
        mtime: -3,
        mtime_nanoseconds: 4,
    };
    b.file(b"/usr/bin/node", 0, 5000, meta).unwrap();
    b.file(b"usr/bin/node-too", 0, 5000, meta).unwrap();
    b.file(b"/etc/empty", 1, 0, Metadata::root(0o644)).unwrap();
    b.file(b"/etc/hosts", 2, 4, Metadata::root(0o644)).unwrap();
    b.directory(b"/tmp/", Metadata::root(0o1777)).unwrap();
    b.symlink(b"/bin", b"usr/bin", Metadata::root(0o777))
        .unwrap();
    b.symlink(b"/usr/bin/js", b"./node", Metadata::root(0o777))
        .unwrap();
    b.symlink(b"/etc/abs", b"/bin/../bin/js", Metadata::root(0o777))
        .unwrap();
    b.symlink(b"/loop", b"loop", Metadata::root(0o777)).unwrap();
    b.symlink(b"/dangling", b"nowhere", Metadata::root(0o777))
        .unwrap();
    b.argument(b"/usr/bin/node").unwrap();
    b.argument(b"").unwrap();
    b.environment(b"A=b c").unwrap();
    b.working_directory(b"/tmp").unwrap();
    assemble(b, &[NODE, b"", b"host"])
}

#[test]
fn what_is_written_is_read() {
    let bytes = sample();
    let archive = Archive::new(&bytes).unwrap();
    let node = archive.lookup(b"/usr//./bin/node").unwrap();
    assert_eq!(
        (node.kind(), node.size(), node.data(), node.mode()),
        (Kind::File, 5000, NODE, 0o104_755)
    );
    let meta = node.metadata();
    assert_eq!(
        (
            meta.permissions,
            meta.uid,
            meta.gid,
            meta.mtime,
            meta.mtime_nanoseconds
        ),
        (0o4755, 1, 2, -3, 4)
    );
    assert_eq!(
        (
            node.name(),
            node.parent().name(),
            node.parent().parent().name()
        ),
        (&b"node"[..], &b"bin"[..], &b"usr"[..])
    );
    assert_eq!(
        archive.lookup(b"/tmp").unwrap().metadata(),
        Metadata::root(0o1777)
    );
    assert_eq!(
        archive.lookup(b"/usr").unwrap().metadata(),
        Metadata::root(0o755)
    );
    let empty = archive.lookup(b"/etc/empty").unwrap();
    assert_eq!(
        (empty.data(), empty.pages(), empty.size()),
        (&b""[..], None, 0)
    );
    assert_eq!(
        archive.arguments().collect::<Vec<_>>(),
        [&b"/usr/bin/node"[..], b""]
    );
    assert_eq!(archive.environment().collect::<Vec<_>>(), [b"A=b c"]);
    assert_eq!(archive.directory(), b"/tmp");
}

#[test]
fn data_lies_on_pages_that_are_zero_to_their_end_and_is_there_once() {
    let bytes = sample();
    let archive = Archive::new(&bytes).unwrap();
    let pages = archive.lookup(b"/usr/bin/node").unwrap().pages().unwrap();
    assert_eq!((pages.start % PAGE, pages.end - pages.start), (0, 2 * PAGE));
    let range = usize::try_from(pages.start).unwrap()..usize::try_from(pages.end).unwrap();
    assert!(bytes[range][5000..].iter().all(|b| *b == 0));
    assert_eq!(
        archive.lookup(b"/usr/bin/node-too").unwrap().pages(),
        Some(pages)
    );
    assert_eq!(bytes.len() as u64 % PAGE, 0);
}

#[test]
fn listings_are_sorted_and_complete() {
    let bytes = sample();
    let archive = Archive::new(&bytes).unwrap();
    let names = |path: &[u8]| {
        archive
            .lookup(path)
            .unwrap()
            .children()
            .map(|n| n.name().to_vec())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(b"/"),
        [&b"bin"[..], b"dangling", b"etc", b"loop", b"tmp", b"usr"]
    );
    assert_eq!(names(b"/usr/bin"), [&b"js"[..], b"node", b"node-too"]);
    assert_eq!(
        names(b"/tmp").len() + names(b"/etc/hosts").len() + names(b"/bin").len(),
        0
    );
    assert_eq!(archive.entries(), 14);
}

#[test]
fn paths_go_up_stop_at_files_and_follow_links_where_asked() {
    let bytes = sample();
    let archive = Archive::new(&bytes).unwrap();
    let index = |node: Option<Node<'_>>| node.map(|n| n.index());
    let node = index(archive.lookup(b"/usr/bin/node"));
    assert!(node.is_some());
    assert_eq!(index(archive.lookup(b"/../usr/bin/../bin/node")), node);
    assert_eq!(index(archive.resolve(b"/etc/abs")), node);
    assert_eq!(index(archive.resolve(b"bin/js")), node);
    assert_eq!(
        archive.lookup(b"/bin").unwrap().target(),
        Some(&b"usr/bin"[..])
    );
    for path in [
        &b"/bin/node"[..],
        b"/usr/bin/node/..",
        b"/etc/hosts/.",
        b"/nowhere",
        b"/usr/bin/nod",
        b"/usr/bin/nodes",
    ] {
        assert_eq!(index(archive.lookup(path)), None, "{}", path.escape_ascii());
    }
    for path in [&b"/loop"[..], b"/dangling", b"/loop/x"] {
        assert_eq!(index(archive.resolve(path)), None);
    }
}

#[test]
fn bytes_beyond_the_archive_are_ignored() {
    let mut bytes = sample();
    let len = bytes.len();
    bytes.extend_from_slice(&[0xff; 100]);
    assert_eq!(Archive::new(&bytes).unwrap().bytes().len(), len);
}

#[test]
fn an_empty_tree_is_an_archive() {
    let bytes = assemble(Builder::new(), &[]);
    let archive = Archive::new(&bytes).unwrap();
    assert_eq!(
        (
            archive.entries(),
            archive.root().children().len(),
            archive.directory()
        ),
        (1, 0, &b"/"[..])
    );
    assert_eq!(
        (archive.arguments().count(), archive.environment().count()),
        (0, 0)
    );
}

#[test]
fn a_builder_refuses_what_an_archive_cannot_hold() {
    let mut b = Builder::new();
    let meta = Metadata::root(0o644);
    let long = [b'x'; 256];
    for path in [&b""[..], b"/", b"/a/../b", b"/a\0b", &long] {
        assert!(
            matches!(b.file(path, 0, 1, meta), Err(write::Error::Path(_))),
            "{}",
            path.escape_ascii()
        );
    }
    b.file(b"/a", 0, 1, meta).unwrap();
    b.file(b"/a", 0, 1, meta).unwrap();
    assert!(b.contains(b"/a") && !b.contains(b"/a/b") && !b.contains(b"/b") && b.contains(b"/"));
    assert!(matches!(
        b.file(b"/a", 1, 1, meta),
        Err(write::Error::Conflict(_))
    ));
    assert!(matches!(
        b.file(b"/a/b", 1, 1, meta),
        Err(write::Error::Conflict(_))
    ));
    assert!(matches!(
        b.directory(b"/a", meta),
        Err(write::Error::Conflict(_))
    ));
    b.file(b"/d/x", 2, 1, meta).unwrap();
    b.directory(b"/d", Metadata::root(0o700)).unwrap();
    assert!(matches!(
        b.directory(b"/d", Metadata::root(0o755)),
        Err(write::Error::Conflict(_))
    ));
    for target in [&b""[..], b"a\0", &[b'x'; 4096]] {
        assert!(matches!(
            b.symlink(b"/l", target, meta),
            Err(write::Error::Target(_))
        ));
    }
    assert!(
        b.argument(b"a\0").is_err()
            && b.environment(b"\0").is_err()
            && b.working_directory(b"tmp").is_err()
    );
    b.file(b"/c", 0, 2, meta).unwrap();
    assert_eq!(b.finish(), Err(write::Error::Content(0)));
}

/// Where entry `i` of the sample is.
fn entry(i: usize) -> usize {
    64 + 64 * i
}

/// The sample with a word overwritten.
fn damaged(at: usize, word: u32) -> Result<(), Error> {
    let mut bytes = sample();
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    Archive::new(&bytes).map(drop)
}

#[test]
fn each_kind_of_damage_is_told() {
    let bytes = sample();
    let archive = Archive::new(&bytes).unwrap();
    let at = |path: &[u8]| archive.lookup(path).unwrap().index();
    let (usr, node, bin) = (at(b"/usr"), at(b"/usr/bin/node"), at(b"/bin"));
    let place = |index: u32, field: usize| entry(index as usize) + field;
    let name_offset = &bytes[place(node, 8)..place(node, 12)];
    let name = 64 + 64 * 14 + u32::from_le_bytes(name_offset.try_into().unwrap()) as usize;
    for (what, result, error) in [
        ("magic", damaged(0, 0), Error::Magic),
        (
            "version",
            damaged(4, u32::from_le_bytes(*b"RCH\x02")),
            Error::Magic,
        ),
        ("no entries", damaged(8, 0), Error::Root),
        (
            "fewer entries",
            damaged(8, 13),
            Error::Children(archive.lookup(b"/usr/bin").unwrap().index()),
        ),
        ("more entries", damaged(8, 15), Error::Header),
        ("all entries", damaged(8, u32::MAX), Error::Header),
        ("arguments", damaged(12, u32::MAX), Error::Strings),
        ("unterminated arguments", damaged(12, 3), Error::Strings),
        ("environment", damaged(16, u32::MAX), Error::Strings),
        ("directory", damaged(20, 0x7fff_ffff), Error::Strings),
        ("relative directory", damaged(20, 1), Error::Strings),
        ("names", damaged(32, 64), Error::Header),
        ("names outside", damaged(36, 1), Error::Header),
        ("total", damaged(52, 1), Error::Truncated),
        ("root's kind", damaged(entry(0), 0o100_644), Error::Root),
        ("root's parent", damaged(entry(0) + 4, 1), Error::Root),
        (
            "kind",
            damaged(place(node, 0), 0o020_644),
            Error::Kind(node),
        ),
        (
            "parent",
            damaged(place(node, 4), 0),
            Error::Children(at(b"/usr/bin")),
        ),
        ("name", damaged(place(node, 8), u32::MAX), Error::Name(node)),
        ("empty name", damaged(place(node, 12), 0), Error::Name(node)),
        (
            "order",
            damaged(place(node + 1, 12), 4),
            Error::Order(at(b"/usr/bin")),
        ),
        (
            "no child",
            damaged(place(usr, 16), 0),
            Error::Children(at(b"/usr/bin")),
        ),
        (
            "children",
            damaged(place(usr, 16), u32::MAX),
            Error::Children(usr),
        ),
        (
            "wrapping children",
            damaged(place(usr, 20), u32::MAX),
            Error::Children(usr),
        ),
        ("cycle", damaged(place(usr, 24), 0), Error::Children(usr)),
        ("size", damaged(place(node, 20), 1), Error::Data(node)),
        (
            "wrapping size",
            damaged(place(node, 20), u32::MAX),
            Error::Data(node),
        ),
        (
            "unaligned data",
            damaged(place(node, 24), 4097),
            Error::Data(node),
        ),
        (
            "data in the table",
            damaged(place(node, 24), 0),
            Error::Data(node),
        ),
        ("target", damaged(place(bin, 16), 0), Error::Target(bin)),
        (
            "long target",
            damaged(place(bin, 16), 5000),
            Error::Target(bin),
        ),
        (
            "target outside",
            damaged(place(bin, 28), u32::MAX),
            Error::Target(bin),
        ),
        (
            "time",
            damaged(place(node, 40), 1_000_000_000),
            Error::Time(node),
        ),
        (
            "slash",
            damaged(name, u32::from_le_bytes(*b"n/de")),
            Error::Name(node),
        ),
        (
            "zero byte",
            damaged(name, u32::from_le_bytes(*b"nod\0")),
            Error::Name(node),
        ),
    ] {
        assert_eq!(result, Err(error), "{what}");
    }
    for len in [0, 1, 63, 64, 100, 4096, bytes.len() - 1] {
        assert_eq!(
            Archive::new(&bytes[..len]).map(drop),
            Err(Error::Truncated),
            "{len}"
        );
    }
}

/// A tree by path: `Some` is a file's data.
type Model = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn model() -> impl Strategy<Value = Model> {
    let name = prop::sample::select(vec!["a", "b", "ab", "c.d", "\u{e9}", "zz"]);
    let path = prop::collection::vec(name, 1..5).prop_map(|names| names.join("/").into_bytes());
    let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..9000));
    prop::collection::btree_map(path, data, 0..20)
}

proptest! {
    #[test]
    fn any_tree_comes_back(model in model()) {
        let mut builder = Builder::new();
        let mut kept = Model::new();
        let mut contents: Vec<&[u8]> = Vec::new();
        for (path, data) in &model {
            let meta = Metadata::root(0o640);
            let added = match data {
                Some(data) => builder.file(path, contents.len() as u64, data.len() as u64, meta),
                None => builder.directory(path, meta),
            };
            // A file cannot also be a directory; whatever is accepted must come back.
            if added.is_ok() {
                contents.extend(data.as_deref());
                kept.insert(path.clone(), data.clone());
            }
        }
        let bytes = assemble(builder, &contents);
        let archive = Archive::new(&bytes).unwrap();
        for (path, data) in &kept {
            let node = archive.lookup(path).unwrap();
            prop_assert_eq!(node.metadata(), Metadata::root(0o640));
            match data {
                Some(data) => prop_assert_eq!(node.data(), data.as_slice()),
                None => prop_assert_eq!(node.kind(), Kind::Directory),
            }
        }
        prop_assert_eq!(walk(&archive), archive.entries());
    }

    #[test]
    fn damage_is_refused_or_harmless(changes in prop::collection::vec((0..2200_usize, any::<u8>()), 1..8)) {
        let mut bytes = sample();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| Archive::new(&bytes).map(|a| walk(&a) == a.entries())));
        prop_assert!(matches!(outcome, Ok(Err(_) | Ok(true))));
    }

    #[test]
    fn chosen_numbers_are_refused_or_harmless(at in 8..1000_usize, word in prop::sample::select(vec![
        0_u64, 1, 2, 12, 13, 14, 64, 4095, 4096, 8192, 12288, u32::MAX as u64, 1 << 32, 1 << 63, u64::MAX - 4095, u64::MAX,
    ]), width in prop::sample::select(vec![4_usize, 8])) {
        let mut bytes = sample();
        bytes[at..at + width].copy_from_slice(&word.to_le_bytes()[..width]);
        if let Ok(archive) = Archive::new(&bytes) {
            prop_assert_eq!(walk(&archive), archive.entries());
        }
    }

    #[test]
    fn arbitrary_bytes_behind_the_magic_are_no_danger(mut bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        for (place, byte) in bytes.iter_mut().zip(*b"EBBARCH\x01") {
            *place = byte;
        }
        if let Ok(archive) = Archive::new(&bytes) {
            walk(&archive);
        }
    }
}
