//! Snapshots that outlive the invoker's image, on a disk of their own: bases and functions' snapshots after a restart, damage,
//! and a disk that was made ahead.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use test_support::{RUNNER, WORKSPACE, cargo, invoker::Invoker, needs};

/// One machine at a time.
static TURN: Mutex<()> = Mutex::new(());

const READY: &str = "the first instance was ready";
const READ: &[&str] = &[
    "base snapshot of Node, ",
    " MB, read from the disk in",
    READY,
];

/// A file that is not there.
fn fresh(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_file(&path);
    path
}

fn boot(disks: &str, said: &[&str]) -> Invoker {
    // A machine that was killed has its lock until its QEMU has ended.
    let first = disks.split([',', ';']).next().unwrap_or_default();
    for _ in 0..500 {
        match File::open(first).map(|file| file.try_lock()) {
            Ok(Err(_)) => thread::sleep(Duration::from_millis(20)),
            _ => break,
        }
    }
    Invoker::boot_with("2G", "", disks, said)
}

/// What a call's record says of how it started: an init is a start from nothing but the base.
fn started_cold(image: &Invoker, name: &str, result: &str) -> bool {
    let (status, answer) = image.action("POST", name, "?blocking=true", r#"{"name":"you"}"#);
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains(result), "{answer}");
    answer.contains("initTime")
}

fn flip(path: &Path, offset: u64) {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("it is there");
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).expect("it has a place");
    file.read_exact(&mut byte).expect("it is long enough");
    file.seek(SeekFrom::Start(offset)).expect("it has a place");
    file.write_all(&[byte[0] ^ 4]).expect("it can be written");
}

#[test]
fn bases_and_functions_are_read_after_a_restart_and_what_is_damaged_is_made_anew() {
    needs!("qemu-system-x86_64", "node");
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (state, snapshots) = (fresh("kept.state"), fresh("kept.snapshots"));
    let disks = format!(
        "{},size=64M;{},size=256M",
        state.display(),
        snapshots.display()
    );
    let image = boot(
        &disks,
        &[
            "kept.snapshots has none",
            "of Node is kept for later starts",
        ],
    );
    let code = "let calls = 0; exports.main = ({ name }) => ({ hello: name, calls: ++calls })";
    image.deploy("counts", code);
    image.deploy(
        "draws",
        "const id = Math.random(); exports.main = () => ({ id })",
    );
    assert!(started_cold(
        &image,
        "counts",
        r#"{"hello":"you","calls":1}"#
    ));
    assert!(started_cold(&image, "draws", "id"));
    // Its snapshot has more bytes than a batch of the store.
    image.deploy(
        "large",
        "const all = Array.from({ length: 100000 }, (_, n) => n + 0.5); exports.main = () => ({ last: all[99999] })",
    );
    assert!(started_cold(&image, "large", r#"{"last":99999.5}"#));
    image.until("ebb_snapshots", |n| n >= 2);
    thread::sleep(Duration::from_secs(3));
    image.kill();

    let image = boot(&disks, READ);
    // It was captured after its first call.
    assert!(!started_cold(
        &image,
        "counts",
        r#"{"hello":"you","calls":2}"#
    ));
    assert!(started_cold(&image, "draws", "id"), "it has no snapshot");
    // Those that come together read it once.
    let before = image.metric("ebb_snapshots_read_total");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                assert!(!started_cold(&image, "large", r#"{"last":99999.5}"#));
            });
        }
    });
    assert_eq!(image.metric("ebb_snapshots_read_total"), before + 1);
    // Code that has changed is another function.
    image.deploy("counts", "exports.main = () => ({ hello: 'new' })");
    assert!(started_cold(&image, "counts", r#"{"hello":"new"}"#));
    image.kill();

    // Behind the bases' half is the store of functions' snapshots: a table of contents, and lines of "counts", then of "large".
    flip(&snapshots, (128 << 20) + (128 << 10) + 700_000);
    let image = boot(&disks, READ);
    assert!(started_cold(&image, "large", r#"{"last":99999.5}"#));
    image.says("kept.snapshots cannot be used, and is made anew: piece ");
    image.until("ebb_captures_put_off", |n| n == 0);
    thread::sleep(Duration::from_secs(3));
    image.kill();
    let image = boot(&disks, READ);
    assert!(!started_cold(&image, "large", r#"{"last":99999.5}"#));
    image.kill();

    // Of the first item: its table, then the pages.
    flip(&snapshots, 4096 + 8192 + 3_000_000);
    let image = boot(
        &disks,
        &[
            "kept.snapshots cannot be used: it is damaged on the disk",
            "of Node is kept for later starts",
        ],
    );
    let (status, answer) = image.call("counts", "{}");
    assert_eq!((status, answer.as_str()), (200, r#"{"hello":"new"}"#));
    image.kill();
    drop(boot(&disks, READ));
}

#[test]
fn a_disk_that_was_made_ahead_makes_the_first_start_a_fast_one() {
    needs!("qemu-system-x86_64", "node");
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let disk = fresh("baked.snapshots");
    let output = Command::new(RUNNER)
        .arg("bake")
        .arg(cargo::example("invoker"))
        .arg("-o")
        .arg(&disk)
        .current_dir(WORKSPACE)
        .env("EBB_CORES", "1")
        .env("EBB_MEMORY", "2G")
        .env("EBB_TIMEOUT", "500")
        .output()
        .expect("the runner starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("the snapshots are on the disk"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let disks = format!(
        "{},size=64M;{},readonly",
        fresh("baked.state").display(),
        disk.display()
    );
    let image = boot(&disks, READ);
    image.deploy("greets", "exports.main = ({ name }) => ({ hello: name })");
    assert!(started_cold(&image, "greets", r#"{"hello":"you"}"#));
    drop(image);

    // What is not an image cannot be baked, and leaves nothing.
    let none = fresh("none.snapshots");
    let output = Command::new(RUNNER)
        .args(["bake", "/bin/true", "-o"])
        .arg(&none)
        .output()
        .expect("the runner starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("/bin/true"),
        "{said}"
    );
    assert!(!none.exists());
}

#[test]
fn snapshots_that_come_faster_than_the_disk_takes_them_leave_memory_for_calls() {
    needs!("qemu-system-x86_64", "node");
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let drive = |name: &str, mib: u64, throttled: &str| {
        let path = fresh(name);
        let made = File::create(&path).and_then(|file| file.set_len(mib << 20));
        made.expect("a place for disks");
        let path = path.display();
        format!(
            "-drive if=none,id={name},format=raw,file={path}{throttled} -device virtio-blk-pci,drive={name},disable-legacy=on"
        )
    };
    let drives = [
        drive("behind.state", 64, ""),
        drive("behind.snapshots", 1024, ",throttling.bps-write=8388608"),
    ];
    let image = Invoker::start(
        Invoker::runner("1G", "none")
            .args(["--auth", "guest:key", "--quiet"])
            .env("EBB_CORES", "1")
            .env("EBB_QEMU_ARGS", drives.join(" ")),
        &["of Node is kept for later starts"],
    );
    // Ten times what may wait.
    for number in 0..80 {
        let name = format!("large{number}");
        let source = format!(
            "const held = Buffer.alloc(8 << 20, {}); exports.main = () => ({{ held: held.length }})",
            number + 1
        );
        image.deploy(&name, &source);
        let (status, answer) = image.call(&name, "{}");
        assert_eq!(
            (status, answer.as_str()),
            (200, r#"{"held":8388608}"#),
            "{name}"
        );
    }
    image.says("were not kept on it");
}
