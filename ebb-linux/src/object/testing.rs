//! A made-up world for the tests of objects.

use alloc::sync::Arc;
use core::cell::{Cell, RefCell};

use super::{
    Limits, Objects,
    credentials::Credentials,
    env::{Env, ProcInfo, Time},
    errno::Result,
    fd::Fd,
    flags::AT_FDCWD,
    vfs::{
        Opened,
        archive::{Tree, TreeBuilder},
    },
};

pub(crate) struct World {
    pub(crate) now: Cell<u64>,
    seed: Cell<u64>,
    pub(crate) who: RefCell<Credentials>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            now: Cell::new(1_000_000_000),
            seed: Cell::new(42),
            who: RefCell::default(),
        }
    }
}

impl ProcInfo for World {
    fn pid(&self) -> u32 {
        7
    }
    fn exe(&self) -> alloc::vec::Vec<u8> {
        b"/bin/prog".to_vec()
    }
    fn credentials(&self) -> Arc<Credentials> {
        Arc::new(self.who.borrow().clone())
    }
}

impl Env for World {
    fn monotonic(&self) -> u64 {
        self.now.get()
    }
    fn realtime(&self) -> u64 {
        1_700_000_000_000_000_000 + self.now.get()
    }
    fn random(&self, bytes: &mut [u8]) {
        for byte in bytes {
            self.seed.set(
                self.seed
                    .get()
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1),
            );
            *byte = (self.seed.get() >> 33) as u8;
        }
    }
    fn process(&self) -> &dyn ProcInfo {
        self
    }
}

pub(crate) fn archive() -> &'static Tree {
    let mut tree = TreeBuilder::new(Time {
        sec: 1_000,
        nsec: 0,
    });
    tree.file(b"/bin/prog", 0o755, b"\x7fELF").unwrap();
    tree.file(b"/etc/hosts", 0o644, b"127.0.0.1 localhost\n")
        .unwrap();
    tree.file(b"/etc/ssl/openssl.cnf", 0o644, b"").unwrap();
    tree.symlink(b"/lib", b"usr/lib").unwrap();
    tree.file(b"/usr/lib/libc.so", 0o755, &[0xcc; 10_000])
        .unwrap();
    tree.build()
}

pub(crate) fn objects() -> Objects {
    Objects::new(&World::default(), archive(), Limits::default()).unwrap()
}

pub(crate) fn open(o: &mut Objects, w: &World, path: &[u8], flags: u32) -> Result<Fd> {
    match o.open(w, AT_FDCWD, path, flags, 0o644)? {
        Opened::Fd(fd) => Ok(fd),
        Opened::Fifo(_) => panic!("no FIFO expected"),
    }
}
