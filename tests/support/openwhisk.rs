//! The invoker's client tests in JavaScript (`ebb-invoker-hosted/tests/e2e`), with the npm packages that they drive.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use crate::WORKSPACE;

/// The folder of the tests, after installing what they need there; or why that cannot be had.
///
/// # Errors
/// When Node.js or npm is missing, or npm cannot install the packages.
pub fn installed() -> Result<PathBuf, String> {
    for program in ["node", "npm"] {
        let there = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !there.is_ok_and(|status| status.success()) {
            return Err(format!(
                "{program} cannot be started; install Node.js 20 or later with npm"
            ));
        }
    }
    let tests = Path::new(WORKSPACE).join("ebb-invoker-hosted/tests/e2e");
    // One test installs it for all.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if !tests.join("node_modules/chalk").exists() {
        let installed = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--silent"])
            .current_dir(&tests)
            .status();
        if !installed.is_ok_and(|status| status.success()) {
            return Err("npm cannot install the package openwhisk (is there a network?)".into());
        }
    }
    Ok(tests)
}
