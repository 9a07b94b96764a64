//! Runs an unmodified Linux program out of the boot archive.
//!
//! `cargo run --release --example linux -- /path/to/program arguments` packs the program with its libraries and the files that
//! the arguments name, boots the image, runs the program and ends with its exit status. `EBB_FILES=PATH:...` brings more files,
//! `EBB_ARCHIVE=FILE` an archive of your own. Options for the image (`EBB_OPTIONS`): `trace=1` prints every system call, `memory=BYTES` is
//! what the program may use, `limit=SECONDS` ends it after that time and says where its threads were.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{string::String, vec::Vec};

use core::time::Duration;

use ebb::{EbbRef, println, time};
use ebb_linux::{Options, Uc};
use ebb_runtime::platform::Environment;

ebb::option!("trace", "0 or 1", |v| matches!(v, "0" | "1"));
ebb::option!("memory", "a number of bytes", |v| v.parse::<u64>().is_ok());

ebb_archive::manifest!("program $1\nfiles-of-arguments\n");

ebb_runtime::option!("trace", "0 or 1", |v| matches!(v, "0" | "1"));
ebb_runtime::option!("memory", "a number of bytes", |v| v.parse::<u64>().is_ok());
ebb_runtime::option!("limit", "a number of seconds", |v| v.parse::<u64>().is_ok());

#[ebb::main]
async fn main() -> u8 {
    let machine = EbbRef::<dyn Environment>::get();
    let arguments: Vec<Vec<u8>> = ebb::args().iter().map(|a| a.as_bytes().to_vec()).collect();
    let Some(program) = arguments.first().cloned() else {
        println!("usage: linux PROGRAM [ARGUMENTS]; the program is a path in the boot archive");
        return 2;
    };
    let mut options = Options {
        name: String::from("linux"),
        trace: machine.option("trace").is_some_and(|v| v == "1"),
        ..Options::default()
    };
    if let Some(bytes) = machine.option("memory").and_then(|v| v.parse().ok()) {
        options.memory = bytes;
    }
    let environment =
        ["PATH=/usr/bin:/bin", "HOME=/", "LANG=C.UTF-8"].map(|e| e.as_bytes().to_vec());
    match Uc::start(options, &program, arguments, environment.to_vec()) {
        Ok(uc) => {
            let limit = machine.option("limit").and_then(|v| v.parse().ok());
            let limit = Duration::from_secs(limit.unwrap_or(u64::MAX >> 34));
            let Ok(exit) = time::timeout(limit, uc.wait()).await else {
                println!("{}", ebb_linux::threads(&uc));
                return 124;
            };
            ebb_linux::missing_calls(&uc);
            exit.code()
        }
        Err(errno) => {
            println!("{}: {}", String::from_utf8_lossy(&program), errno.text());
            127
        }
    }
}
