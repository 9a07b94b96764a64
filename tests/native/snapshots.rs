//! Snapshots in the image: builds `guests/snapshot.c` and boots `images/snapshots.rs` with it. `EBB_CYCLES` sets how often a
//! clone is deployed and destroyed, `EBB_CLONES` how many clones write at random.

use std::{
    env,
    io::{Read, Write},
    net::TcpListener,
    path::PathBuf,
    process::Command,
    thread,
};

use test_support::{GUESTS, RUNNER, cargo, needs};

/// A server that sends back what it gets; its port, on this machine's loopback, which the image reaches as 10.0.2.2.
fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
    port
}

#[test]
fn clones_keep_their_state_share_no_write_and_give_every_frame_back() {
    needs!("qemu-system-x86_64");
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (program, manifest, archive) = (
        out.join("snapshot"),
        out.join("snapshot.manifest"),
        out.join("snapshot.ebb"),
    );
    let compiled = Command::new("cc")
        .args(["-O1", "-static", "-pthread", "-w", "-o"])
        .arg(&program)
        .arg(format!("{GUESTS}/snapshot.c"))
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
        .arg(cargo::program("image-snapshots"))
        .arg(env::var("EBB_CYCLES").unwrap_or_else(|_| String::from("1000")))
        .arg(env::var("EBB_CLONES").unwrap_or_else(|_| String::from("200")))
        .arg(echo_server().to_string())
        .env("EBB_ARCHIVE", &archive)
        .env("EBB_CORES", "1")
        .env("EBB_MEMORY", "256M")
        .env(
            "EBB_TIMEOUT",
            env::var("EBB_TIMEOUT").unwrap_or_else(|_| String::from("180")),
        )
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
