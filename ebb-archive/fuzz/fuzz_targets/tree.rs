//! Boot archives that hold whatever: what [`Archive::new`] accepts is walked whole, and nothing of it trips. The input is a small
//! archive with bytes changed: position and new value, three bytes each; what the archive itself may be is in `ebb-archive/tests`.
#![no_main]

use std::sync::LazyLock;

use ebb_archive::{Archive, Metadata, write::Builder};

// This is a workspace of its own, which cannot use a crate of tests.
#[path = "../../tests/archive/walk.rs"]
mod walk;

use walk::walk;

static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut builder = Builder::new();
    let meta = Metadata::root(0o755);
    let files: [(&[u8], u64); 3] = [
        (b"/usr/bin/node", 5000),
        (b"/etc/hosts", 4),
        (b"/etc/empty", 0),
    ];
    for (content, (path, size)) in (0..).zip(files) {
        builder.file(path, content, size, meta).expect("a path");
    }
    builder.directory(b"/tmp", meta).expect("a path");
    for (path, target) in [
        ("/bin", "usr/bin"),
        ("/loop", "loop"),
        ("/up", "../../bin/./node"),
    ] {
        builder
            .symlink(path.as_bytes(), target.as_bytes(), meta)
            .expect("a path");
    }
    builder.argument(b"/usr/bin/node").expect("without zeroes");
    builder.environment(b"A=b c").expect("without zeroes");
    builder.working_directory(b"/tmp").expect("a path");
    let layout = builder.finish().expect("a whole archive");
    let mut bytes = vec![0; usize::try_from(layout.len).expect("small")];
    bytes[..layout.table.len()].copy_from_slice(&layout.table);
    bytes
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut bytes = SAMPLE.clone();
    for change in data.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[at] = change[2];
    }
    if let Ok(archive) = Archive::new(&bytes) {
        assert_eq!(walk(&archive), archive.entries());
    }
});
