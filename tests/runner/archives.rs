//! Archives that were packed for an image: which are kept, and how long.

use std::{
    fs::{self, TryLockError},
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use test_support::needs;

use crate::{
    common::{complete, directory, fake_qemu, runner},
    pack::{archives, image},
};

/// Runs the image, of which only the packing matters.
fn run(dir: &Path, image: &Path) {
    complete(runner(dir, image).current_dir(dir).env("EBB_NET", "none"));
}

#[test]
fn archives_of_images_that_are_gone_and_old_drafts_go() {
    needs!("qemu-system-x86_64");
    let dir = directory("prune-others");
    let image = image(&dir, "file /data data");
    fs::write(dir.join("data"), "").unwrap();
    let gone = [
        "gone.0123456789abcdef.archive",
        "image.0123456789abcdef.draft17",
    ];
    let kept = [
        "image.0123456789abcdef.archive",
        "image.0123456789abcdef.draft18",
        "x.archive",
    ];
    for name in gone.iter().chain(&kept) {
        fs::write(dir.join(name), "").unwrap();
    }
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    let draft = fs::File::options()
        .append(true)
        .open(dir.join(gone[1]))
        .unwrap();
    draft.set_modified(old).unwrap();
    run(&dir, &image);
    for name in gone {
        assert!(!dir.join(name).exists(), "{name}");
    }
    for name in kept {
        assert!(dir.join(name).exists(), "{name}");
    }
}

#[test]
fn old_archives_go() {
    needs!("qemu-system-x86_64");
    let dir = directory("prune");
    let image = image(&dir, "file /data data");
    fs::write(dir.join("image.keep.archive"), "").unwrap();
    for length in 1..=10 {
        fs::write(dir.join("data"), vec![0; length]).unwrap();
        run(&dir, &image);
    }
    assert_eq!(archives(&dir), 8 + 1);
}

#[test]
fn archives_that_are_too_large_together_go_but_for_those_in_use() {
    needs!("qemu-system-x86_64");
    let dir = directory("prune-large");
    let image = image(&dir, "file /data data");
    fs::write(dir.join("data"), "").unwrap();
    let large = |hash: u64, hours: u64| {
        let path = dir.join(format!("image.{hash:016x}.archive"));
        // With a hole in place of its content.
        let file = fs::File::create(&path).unwrap();
        file.set_len(400 << 20).unwrap();
        let used = std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
        file.set_modified(used).unwrap();
        (path, file)
    };
    let (new, _) = large(1, 1);
    let (older, _) = large(2, 2);
    let (old, _) = large(3, 3);
    let (oldest, in_use) = large(4, 4);
    in_use.lock_shared().unwrap();
    run(&dir, &image);
    let left = [&new, &older, &old, &oldest].map(|path| path.exists());
    assert_eq!(left, [true, true, false, true]);
}

#[test]
fn an_archive_stays_while_a_machine_runs_from_it() {
    needs!("qemu-system-x86_64");
    let dir = directory("held");
    // It waits in a pipe, as one that boots does.
    let qemu = fake_qemu(&dir.join("qemu"), "read -r line <\"$HELD\"");
    let image = image(&dir, "file /data data");
    fs::write(dir.join("data"), "").unwrap();
    let pipe = dir.join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let mut machine = runner(&dir, &image)
        .current_dir(&*dir)
        .envs([("EBB_NET", "none".as_ref()), ("EBB_QEMU", qemu.as_os_str())])
        .env("HELD", &pipe)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Opened for writing when the machine reads it.
    let mut pipe = fs::File::options().write(true).open(&pipe).unwrap();
    let archive = fs::read_dir(&*dir).unwrap().flatten().map(|e| e.path());
    let archive = archive.filter(|p| p.extension().is_some_and(|e| e == "archive"));
    let archive = fs::File::open(archive.last().unwrap()).unwrap();
    assert!(matches!(archive.try_lock(), Err(TryLockError::WouldBlock)));
    writeln!(pipe).unwrap();
    machine.wait().unwrap();
    archive.try_lock().unwrap();
}
