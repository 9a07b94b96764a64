//! The program: an image in which a Linux program runs.
#![no_std]
#![no_main]

use core::time::Duration;

use ebb::{EbbRef, platform::Environment};

use {{crate}}::{Limits, run, say};

// What comes along in the image's boot archive: the program with its libraries, and arguments that come before those of the
// command line. docs/src/archive.md of ebb lists what else can be said here.
ebb_archive::manifest!("program /bin/echo\nargs hello from Linux:\nfiles-of-arguments\n");

// `EBB_OPTIONS=limit=SECONDS cargo ebb run`
ebb::option!("limit", "a number of seconds", |value| value
    .parse::<u64>()
    .is_ok());

#[ebb::main]
async fn main() -> u8 {
    if cfg!(ebb_hosted) {
        say("Linux programs run in the image only: `cargo ebb run`");
        return 2;
    }
    let limit = EbbRef::<dyn Environment>::get().option("limit");
    let limits = Limits {
        memory: 128 << 20,
        time: Duration::from_secs(limit.and_then(|value| value.parse().ok()).unwrap_or(3600)),
    };
    run("{{name}}", ebb::args(), limits).await
}
