//! Runs an unmodified Linux program in an image: what it is given, and what becomes of it.
#![no_std]

extern crate alloc;

use alloc::{format, string::String};
use core::time::Duration;

use ebb::{EbbRef, platform::Console, time};
use ebb_linux::{Options, Program, Stdio, Uc};

/// What a run may use.
pub struct Limits {
    /// Bytes of memory.
    pub memory: u64,
    /// The longest that it may take.
    pub time: Duration,
}

/// Runs the archive's program with further arguments, its input and output on the machine's console; its exit status. 127: it
/// could not be started; 124: it took too long.
pub async fn run(name: &str, arguments: &[&str], limits: Limits) -> u8 {
    let options = Options {
        name: String::from(name),
        memory: limits.memory,
        stdio: Stdio::Console,
        ..Options::default()
    };
    let started = Program::archived(arguments).and_then(|program| Uc::start(options, program));
    let uc = match started {
        Ok(uc) => uc,
        Err(errno) => {
            say(&format!(
                "{name}: the program cannot be started: {}",
                errno.text()
            ));
            return 127;
        }
    };
    match time::timeout(limits.time, uc.wait()).await {
        Ok(exit) => exit.code(),
        Err(_) => {
            say(&ebb_linux::threads(&uc));
            124
        }
    }
}

/// Says something to the user, apart from what the program prints.
pub fn say(text: &str) {
    EbbRef::<dyn Console>::get().note(text);
}
