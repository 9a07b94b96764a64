//! The side under test: objects with a made-up world around them.

use std::cell::Cell;

use ebb_linux::object::{
    Limits, Objects,
    env::{Env, ProcInfo, Time},
    errno::Errno,
    vfs::archive::{Tree, TreeBuilder},
};

use crate::Outcome;

#[derive(Default)]
pub struct World {
    seed: Cell<u64>,
}

impl ProcInfo for World {}

impl Env for World {
    fn monotonic(&self) -> u64 {
        1_000_000_000
    }
    fn realtime(&self) -> u64 {
        1_700_000_000_000_000_000
    }
    fn random(&self, bytes: &mut [u8]) {
        for byte in bytes {
            self.seed.set(
                self.seed
                    .get()
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1),
            );
            *byte = (self.seed.get() >> 33) as u8;
        }
    }
    fn process(&self) -> &dyn ProcInfo {
        self
    }
}

/// Files that are there from the start: in the archive here, made by hand on the host.
pub const FILES: &[(&str, &[u8])] = &[
    ("/w/a/x", b"an archived file"),
    ("/w/a/b/y", &[b'y'; 9000]),
    ("/w/c", b"c"),
    ("/w/d/a", b""),
];
/// Links that are there from the start.
pub const LINKS: &[(&str, &str)] = &[("/w/l", "a/b"), ("/w/d/up", ".."), ("/w/loop", "loop")];

pub fn archive() -> &'static Tree {
    static TREE: std::sync::OnceLock<&'static Tree> = std::sync::OnceLock::new();
    TREE.get_or_init(|| {
        let mut tree = TreeBuilder::new(Time::default());
        for (path, content) in FILES {
            tree.file(path.as_bytes(), 0o644, content).unwrap();
        }
        for (path, target) in LINKS {
            tree.symlink(path.as_bytes(), target.as_bytes()).unwrap();
        }
        tree.build()
    })
}

pub fn objects(world: &World) -> Objects {
    Objects::new(world, archive(), Limits::default()).unwrap()
}

pub fn value<T: TryInto<i64>>(result: Result<T, Errno>) -> Outcome {
    match result {
        Ok(value) => Outcome::Value(value.try_into().unwrap_or(i64::MAX)),
        Err(errno) => Outcome::Errno(errno.number()),
    }
}

pub fn done(result: Result<(), Errno>) -> Outcome {
    value(result.map(|()| 0))
}

pub fn bytes(result: Result<Vec<u8>, Errno>) -> Outcome {
    match result {
        Ok(bytes) => Outcome::Bytes(bytes),
        Err(errno) => Outcome::Errno(errno.number()),
    }
}

pub fn text(result: Result<Vec<String>, Errno>) -> Outcome {
    match result {
        Ok(text) => Outcome::Text(text),
        Err(errno) => Outcome::Errno(errno.number()),
    }
}
