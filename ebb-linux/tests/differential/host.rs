//! The other side: the host's system calls through libc, and a private root directory.

use std::ffi::CString;

use crate::{Outcome, model};

pub fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

pub fn value(result: i64) -> Outcome {
    if result < 0 {
        Outcome::Errno(errno())
    } else {
        Outcome::Value(result)
    }
}

pub fn bytes(result: i64, mut buffer: Vec<u8>) -> Outcome {
    if result < 0 {
        return Outcome::Errno(errno());
    }
    buffer.truncate(result as usize);
    Outcome::Bytes(buffer)
}

pub fn c(path: &[u8]) -> CString {
    CString::new(path).unwrap()
}

/// Whether this process may give a thread a root directory of its own.
pub fn may_chroot() -> bool {
    // SAFETY: no memory is passed.
    unsafe { libc::geteuid() == 0 }
}

/// Runs `f` in a thread whose root is a fresh directory on a tmpfs with the archive's files, and
/// removes the directory afterwards.
pub fn in_root<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    let base = if std::path::Path::new("/dev/shm").is_dir() {
        "/dev/shm"
    } else {
        "/tmp"
    };
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let root = format!("{base}/ebb-differential-{}-{number}", std::process::id());
    std::fs::create_dir(&root).unwrap();
    // What a UC always has.
    for dir in ["dev", "proc", "sys", "tmp"] {
        std::fs::create_dir(format!("{root}/{dir}")).unwrap();
    }
    for (path, content) in model::FILES {
        let path = format!("{root}{path}");
        std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    for (path, target) in model::LINKS {
        std::os::unix::fs::symlink(target, format!("{root}{path}")).unwrap();
    }
    let result = std::thread::scope(|s| {
        s.spawn(|| {
            let root = c(root.as_bytes());
            // SAFETY: `root` is a C string; from here on this thread has its own root, working
            // directory and umask.
            let ready = unsafe {
                libc::unshare(libc::CLONE_FS) == 0
                    && libc::chroot(root.as_ptr()) == 0
                    && libc::chdir(c"/w".as_ptr()) == 0
            };
            assert!(ready, "a thread needs a root of its own: {}", errno());
            // SAFETY: no memory is passed.
            unsafe { libc::umask(0o022) };
            f()
        })
        .join()
        .unwrap()
    });
    std::fs::remove_dir_all(&root).unwrap();
    result
}
