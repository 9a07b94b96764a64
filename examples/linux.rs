//! Runs an unmodified Linux program.
//!
//! `cargo run --release --example linux -- /path/to/program arguments` packs the program with its libraries and the files that
//! the arguments name, boots the image, runs the program and ends with its exit status. `EBB_FILES=PATH:...` brings more files,
//! `EBB_ARCHIVE=FILE` an archive of your own. Options for the image (`EBB_OPTIONS`): `trace=1` prints every system call,
//! `memory=BYTES` is what the program may use, `cpu=MILLISECONDS` the most processor time of it and its children, `report=1`
//! says at the end what it used,
//! `limit=SECONDS` ends it after that time and says where its threads were, `terminal=1` makes its first descriptors a
//! terminal. What the runner reads is the program's input.

#![no_std]
#![no_main]

extern crate alloc;

#[path = "support/guest.rs"]
mod guest;

// `$1` is the first argument of the command line: the program.
ebb_archive::manifest!("program $1\nfiles-of-arguments\n");

#[ebb::main]
async fn main() -> u8 {
    guest::run("linux", ebb::args()).await
}
