//! A broker that can be started again: noida-db (MIT), whose program is in the Python wheel of that name. What it was given survives its end:
//! a process that is told to end has it on its disk, one that is killed lacks the last moments.
//!
//! Where it differs from Kafka's documentation the test does not lean on it: a member of a consumer group that has died without a word
//! stays in the group, a fetch that finds nothing is answered at once, so that consumers ask without end, and its file is written anew
//! as a whole.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::broker::{free_address, from_wheel, until_listening};
use crate::scratch;

/// The release that the tests were made with.
const WHEEL: &str = "noida-db==0.2.3";

/// A broker. It ends with this, and what it was given goes with it.
pub struct LastingBroker {
    program: PathBuf,
    folder: PathBuf,
    /// While it runs.
    child: Option<Child>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl LastingBroker {
    /// Starts one; `None`, said as a reason to skip, where there is none.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn start() -> Option<Self> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let program = from_wheel(WHEEL, "noida_db/noida-db", "EBB_NOIDA_DB")?;
        let name = format!(
            "noida-db-{}-{}",
            std::process::id(),
            STARTED.fetch_add(1, Ordering::Relaxed)
        );
        let mut broker = Self {
            program,
            folder: scratch(&name),
            child: None,
            address: free_address(),
        };
        let _ = fs::remove_dir_all(&broker.folder);
        broker.begin();
        Some(broker)
    }

    /// Starts it again, with what it had.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn begin(&mut self) {
        let child = Command::new(&self.program)
            .args(["start", "--only", "kafka"])
            .args(["--kafka-port", &self.address.port().to_string()])
            .arg("--data-dir")
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("the broker starts"));
        until_listening(self.address);
    }

    /// Sends its process a signal, as `kill` names them.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, signal: &str) {
        let child = self.child.as_ref().expect("it runs");
        let told = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(told.expect("kill runs").success());
    }

    /// Has it end.
    ///
    /// # Panics
    /// When it does not run.
    pub fn end(&mut self) {
        self.signal("-TERM");
        let mut child = self.child.take().expect("it runs");
        child.wait().expect("a child");
    }
}

impl Drop for LastingBroker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
