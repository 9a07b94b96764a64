//! Snapshots in the image: builds `guests/snapshot.c` and boots `images/snapshots.rs` with it. `EBB_CYCLES` sets how often a
//! clone is deployed and destroyed.

use std::{env, path::PathBuf, process::Command};

const RUNNER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../ebb-runner/run");
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/snapshot.c");

#[test]
fn clones_keep_their_state_share_no_write_and_give_every_frame_back() {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (program, manifest, archive) = (
        out.join("snapshot"),
        out.join("snapshot.manifest"),
        out.join("snapshot.ebb"),
    );
    let compiled = Command::new("cc")
        .args(["-O1", "-static", "-pthread", "-w", "-o"])
        .arg(&program)
        .arg(SOURCE)
        .status()
        .expect("cc, which Rust needs as its linker, starts");
    assert!(
        compiled.success(),
        "snapshot.c does not compile; a static libc is needed (Debian: libc6-dev)"
    );
    let text = format!("file /bin/snapshot {}\n", program.display());
    std::fs::write(&manifest, text).expect("the manifest is written");
    let packed = Command::new(RUNNER)
        .arg("pack")
        .arg(&manifest)
        .arg("-o")
        .arg(&archive)
        .status()
        .expect("the runner starts");
    assert!(packed.success(), "the archive cannot be packed");
    let output = Command::new(RUNNER)
        .arg(env!("CARGO_BIN_EXE_image-snapshots"))
        .arg(env::var("EBB_CYCLES").unwrap_or_else(|_| String::from("1000")))
        .env("EBB_ARCHIVE", &archive)
        .env("EBB_CORES", "1")
        .env("EBB_MEMORY", "256M")
        .env(
            "EBB_TIMEOUT",
            env::var("EBB_TIMEOUT").unwrap_or_else(|_| String::from("180")),
        )
        .env("EBB_NET", "none")
        .output()
        .expect("the runner starts");
    let console = String::from_utf8_lossy(&output.stdout);
    print!("{console}");
    assert!(
        output.status.success() && console.contains("snapshots are well"),
        "{:?}\n{console}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
