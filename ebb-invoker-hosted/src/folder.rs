//! The folder of one run of the invoker in the directory for temporary files: the loader, and a folder for each instance.
//!
//! A run ends by a signal as a rule, and cannot remove anything then. So it holds a lock on its folder, and the next run removes
//! those that nobody holds. A folder gets the name that others look for only once it is locked: one that is just being made is
//! never taken for one that was left.

use std::{
    env,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use ebb_invoker::loader;

const PREFIX: &str = "ebb-invoker-";
/// The file in it that the run has locked.
const LOCK: &str = "lock";

/// A folder that is this run's, and the lock that says so for as long as the process lives.
struct Held {
    path: PathBuf,
    _lock: File,
}

/// Removes the folders of runs that are gone. What belongs to another user, or is just removed by another run, stays as it is.
fn sweep(temporary: &Path) {
    for entry in fs::read_dir(temporary).into_iter().flatten().flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let named = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !is_folder || !named {
            continue;
        }
        let folder = entry.path();
        if File::open(folder.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Makes a folder that nobody else sweeps. `process` makes its name; one that is held in another namespace of processes gets
/// a further number.
fn hold(temporary: &Path, process: u32) -> io::Result<Held> {
    sweep(temporary);
    let draft = temporary.join(format!(".{PREFIX}{process}"));
    let _ = fs::remove_dir_all(&draft);
    DirBuilder::new().mode(0o700).create(&draft)?;
    let lock = File::create(draft.join(LOCK))?;
    lock.lock()?;
    for number in 0.. {
        let path = temporary.join(format!("{PREFIX}{process}-{number}"));
        // It replaces an empty folder at most, and none with a lock is empty.
        match fs::rename(&draft, &path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(Held { path, _lock: lock }),
        }
    }
    unreachable!("some number is free")
}

/// The folder of this run, made and filled with the loader at the first use.
fn run() -> io::Result<&'static Path> {
    static RUN: OnceLock<Held> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::new(());
    // Two cores may come here together.
    let _making = MAKING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(held) = RUN.get() {
        return Ok(&held.path);
    }
    let held = hold(&env::temp_dir(), std::process::id())?;
    for (name, text) in loader::FILES {
        let file = held.path.join(name);
        fs::create_dir_all(file.parent().unwrap_or(&held.path))?;
        fs::write(file, text)?;
    }
    Ok(&RUN.get_or_init(|| held).path)
}

/// Where the loader is, written there at the first use.
pub fn written_loader() -> io::Result<PathBuf> {
    Ok(run()?.join("loader.js"))
}

/// A new folder for an instance to work in.
pub fn new_folder() -> io::Result<PathBuf> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = run()?.join(format!("instance-{number}"));
    fs::create_dir(&folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_left_is_removed_by_the_next_and_what_they_hold_is_not() {
        let temporary = env::temp_dir().join(format!("ebb-folders-{}", std::process::id()));
        fs::create_dir(&temporary).expect("a directory to write to");
        let one = hold(&temporary, 7).expect("a folder");
        // The same number in another namespace, while the first runs.
        let two = hold(&temporary, 7).expect("a folder");
        assert!(one.path != two.path && one.path.exists() && two.path.exists());
        let (gone, path) = (one.path.clone(), two.path.clone());
        drop(one);
        fs::create_dir(temporary.join("ebb-other")).expect("not of an invoker");
        let three = hold(&temporary, 8).expect("a folder");
        assert!(!gone.exists() && path.exists() && three.path.exists());
        assert!(temporary.join("ebb-other").exists());
        drop((two, three));
        sweep(&temporary);
        let left = fs::read_dir(&temporary).expect("it is there").count();
        assert_eq!(left, 1, "only what is not an invoker's");
        fs::remove_dir_all(temporary).expect("it is there");
    }
}
