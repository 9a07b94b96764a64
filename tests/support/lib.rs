//! What tests and benches share: images that are built once and booted ([`cargo`], [`Image`]), a network of a test's own
//! ([`lan`]), clients ([`client`]), the parts of an OpenWhisk ([`broker`], [`lasting_broker`], [`couch`]), [`etcd`], chance that repeats ([`Random`]), and the
//! programs that tests need ([`tools`]).

pub mod broker;
pub mod cargo;
pub mod client;
pub mod couch;
pub mod durable;
pub mod etcd;
mod image;
pub mod invoker;
pub mod lan;
pub mod lasting_broker;
pub mod npm;
pub mod openwhisk;
mod random;
pub mod tasks;
pub mod tools;

pub use image::{Image, Server, boot_small, processor_time, runner};
pub use random::Random;

/// Boots images and packs archives.
pub const RUNNER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ebb-runner/run");
/// The sources of the guest programs.
pub const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guests");
/// The root of the workspace.
pub const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Sends a signal to a process that this one has started.
///
/// # Panics
/// When there is no such process.
pub fn signal(child: &std::process::Child, number: i32) {
    let id = child.id().try_into().expect("a process id");
    // SAFETY: `kill` takes two numbers and touches no memory of ours.
    let done = unsafe { libc::kill(id, number) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// A place for what a test or bench writes: of this name under the target folder.
///
/// # Panics
/// When there is no folder to write to.
pub fn scratch(name: &str) -> std::path::PathBuf {
    let folder = cargo::profile()
        .parent()
        .expect("the target folder")
        .join("tmp");
    std::fs::create_dir_all(&folder).expect("a folder to write to");
    folder.join(name)
}
