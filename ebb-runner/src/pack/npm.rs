//! npm packages for a boot archive.

use std::{path::PathBuf, process::Command};

use super::cached;

/// The directory `node_modules` with these packages (`NAME@VERSION`) and what they depend on.
///
/// # Errors
/// Why there is none, in words that end a sentence.
pub fn install(packages: &[String], no_install: bool) -> Result<PathBuf, String> {
    cached::installed("npm", packages, "node_modules", no_install, |draft| {
        // Nothing of a package runs here; what cannot be had at once will not be had by trying again.
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--silent",
        ])
        .args(["--omit=dev", "--fetch-retries=0", "--prefix"])
        .arg(draft)
        .args(packages);
        npm
    })
}
