//! Programs that tests need beside Rust: they are installed from Debian when a test first needs one of them, all at once, and
//! where that is not possible the tests that need them are skipped, which the summary says.
//!
//! libtest knows no test that finds out by itself that it cannot run, so a skipped one counts as passed. Its name and why it was
//! skipped are printed when libtest has ended. `EBB_SKIP=never` makes it a failure.

use std::{
    env, fs,
    io::Write,
    os::unix::process::parent_id,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, Once, PoisonError},
    thread,
};

use crate::{RUNNER, scratch};

/// What the tests of the workspace run. A path stands for what is no program.
const ALL: &[&str] = &[
    "qemu-system-x86_64",
    "node",
    "npm",
    "busybox",
    "cc",
    "curl",
    "etcd",
    "gdb",
    "grub-mkimage",
    "/usr/sbin/haproxy",
    "/usr/sbin/mosquitto",
    "mosquitto_sub",
    "/usr/lib/grub/i386-pc",
    "/usr/lib/grub/x86_64-efi",
    "mformat",
    "/usr/share/ovmf/OVMF.fd",
    "qemu-img",
    "xorriso",
    "ip",
    "kcat",
    "/usr/include/event2",
    "lsof",
    "make",
    "memccapable",
    "/usr/sbin/mkfs.ext4",
    "nm",
    "nginx",
    "openssl",
    "perl",
    "pip3",
    "ps",
    "/usr/bin/python3",
    "script",
    "tclsh",
    "tmux",
    "/usr/lib/postgresql",
    "/usr/lib/python3/dist-packages/pymemcache",
    "redis-server",
    "redis-benchmark",
    "sqlite3",
    "ssh",
    "ssh-keygen",
    "/usr/sbin/sshd",
    "wrk",
];

/// Ends the calling test, which is skipped, where one of these programs is missing and cannot be installed.
#[macro_export]
macro_rules! needs {
    // Nothing but what it was built with.
    () => {};
    ($($program:expr),+) => {
        if $crate::tools::lacks(&[$($program),+]) {
            return;
        }
    };
}

/// Whether one of these programs is missing and cannot be installed; then the calling test is skipped.
///
/// # Panics
/// When a program is missing and no test may be skipped.
pub fn lacks(programs: &[&str]) -> bool {
    let missing = || {
        programs
            .iter()
            .copied()
            .filter(|program| !is_there(program))
    };
    install();
    let missing: Vec<&str> = missing().collect();
    if missing.is_empty() {
        return false;
    }
    skip(&format!("{} not installed", missing.join(", ")));
    true
}

/// Says that the calling test is skipped.
///
/// # Panics
/// When no test may be skipped.
pub fn skip(why: &str) {
    let never = env::var_os("EBB_SKIP").is_some_and(|v| v == "never");
    assert!(!never, "{why}, and no test may be skipped");
    skip_allowed(why);
}

/// The same where that is no failure in any case.
pub fn skip_allowed(why: &str) {
    static SKIPPED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    extern "C" fn summary() {
        let skipped = SKIPPED.lock().unwrap_or_else(PoisonError::into_inner);
        for line in &*skipped {
            let _ = writeln!(std::io::stderr(), "skipped: {line}");
        }
    }
    let current = thread::current();
    let line = format!("{}: {why}", current.name().unwrap_or("a test"));
    let mut skipped = SKIPPED.lock().unwrap_or_else(PoisonError::into_inner);
    if skipped.is_empty() {
        // SAFETY: a function that may be called when the process exits: it uses what lives for ever.
        unsafe { libc::atexit(summary) };
    }
    skipped.push(line);
}

/// The folder with the programs of a package of Cargo's registry, `NAME@VERSION`, which is installed when a test first needs it. `None`,
/// said as a reason to skip, where it cannot be had.
///
/// # Panics
/// When it cannot be had and no test may be skipped.
pub fn of_cargo(package: &str) -> Option<PathBuf> {
    let folder = scratch(&format!("cargo-{package}"));
    // One test installs it for all of its program; those of others have folders of their own until it is there.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if !folder.exists() {
        let unpacked = scratch(&format!("cargo-{package}.{}", std::process::id()));
        let is_allowed = env::var_os("EBB_NO_INSTALL").is_none_or(|value| value != "1");
        let installed = is_allowed.then(|| {
            let _ = writeln!(std::io::stderr(), "installing {package} with Cargo");
            let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            // Where no configuration of this workspace is found.
            Command::new(cargo)
                .current_dir("/")
                .args(["install", "--locked", "--quiet", package, "--root"])
                .arg(&unpacked)
                .status()
        });
        if !installed.is_some_and(|status| status.is_ok_and(|status| status.success())) {
            let _ = fs::remove_dir_all(&unpacked);
            skip(&format!("{package} not installed"));
            return None;
        }
        let _ = fs::rename(&unpacked, &folder);
        let _ = fs::remove_dir_all(&unpacked);
    }
    Some(folder.join("bin"))
}

/// Whether a program is in PATH, or a path is there.
fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    if Path::new(program).is_absolute() {
        return Path::new(program).exists();
    }
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Installs what is missing, once for each run of Cargo: where it failed, the other test programs need not try again.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if ALL.iter().all(|program| is_there(program)) {
            return;
        }
        let tried = scratch("tools-tried");
        let cargo = parent_id().to_string();
        if fs::read_to_string(&tried).is_ok_and(|text| text == cargo) {
            return;
        }
        let _ = fs::write(&tried, cargo);
        // It says what it does, past libtest, which keeps what a test prints.
        let status = Command::new(RUNNER).arg("install").args(ALL).status();
        assert!(status.is_ok(), "{RUNNER} cannot be started");
    });
}
