//! Packages of npm that tests and benches look with at what ours say: clients and servers that others wrote.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{Mutex, PoisonError},
};

use crate::{scratch, tools};

/// The client of Kafka, in JavaScript throughout.
pub const KAFKAJS: &str = "kafkajs@2.2.4";
/// A database with CouchDB's HTTP, by the makers of PouchDB.
pub const POUCHDB_SERVER: &str = "pouchdb-server@4.2.0";

/// The folder whose `node_modules` has a package, `NAME@VERSION`. `None`, said as a reason to skip, where it cannot be had.
pub fn folder_with(package: &str) -> Option<PathBuf> {
    if tools::lacks(&["node", "npm"]) {
        return None;
    }
    let folder = scratch(&format!("npm-{package}"));
    // One test installs it for all of its program; those of others have folders of their own until it is there.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if folder.exists() {
        return Some(folder);
    }
    let unpacked = scratch(&format!("npm-{package}.{}", std::process::id()));
    fs::create_dir_all(&unpacked).ok()?;
    let installed = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--silent"])
        // They compile, for minutes, databases on disks that nothing here uses.
        .args(["--ignore-scripts", "--prefix"])
        .arg(&unpacked)
        .arg(package)
        .status();
    if !installed.is_ok_and(|status| status.success()) {
        tools::skip(&format!(
            "npm cannot install {package} (is there a network?)"
        ));
        return None;
    }
    let _ = fs::rename(&unpacked, &folder);
    let _ = fs::remove_dir_all(&unpacked);
    folder.exists().then_some(folder)
}
