//! The invoker's client tests in JavaScript (`ebb-invoker-hosted/tests/e2e`), with the npm packages that they drive.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use crate::{WORKSPACE, tools};

/// The folder of the tests, with what they need installed there. `None` where that cannot be had, which the summary says.
pub fn client_tests() -> Option<PathBuf> {
    if tools::lacks(&["node", "npm"]) {
        return None;
    }
    let tests = Path::new(WORKSPACE).join("ebb-invoker-hosted/tests/e2e");
    // One test installs it for all.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if !tests.join("node_modules/eventsource").exists() {
        let installed = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--silent"])
            .current_dir(&tests)
            .status();
        if !installed.is_ok_and(|status| status.success()) {
            tools::skip("npm cannot install the package openwhisk (is there a network?)");
            return None;
        }
    }
    Some(tests)
}
