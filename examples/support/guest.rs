//! What the examples `linux` and `node` share: one program out of the boot archive, with the options that the image takes.

use alloc::{format, string::String};
use core::time::Duration;

use ebb::{EbbRef, time};
use ebb_linux::{Options, Program, Stdio, Uc};
use ebb_runtime::platform::{Console, Environment};

ebb::option!("trace", "0 or 1", |v| matches!(v, "0" | "1"));
ebb::option!("memory", "a number of bytes", |v| v.parse::<u64>().is_ok());
ebb::option!("limit", "a number of seconds", |v| v.parse::<u64>().is_ok());
ebb::option!("cpu", "a number of milliseconds", |v| v
    .parse::<u64>()
    .is_ok());
ebb::option!("report", "0 or 1", |v| matches!(v, "0" | "1"));
ebb::option!("terminal", "0 or 1", |v| matches!(v, "0" | "1"));

/// Runs the archive's program with these arguments; its exit status.
pub async fn run(name: &str, arguments: &[&str]) -> u8 {
    let machine = EbbRef::<dyn Environment>::get();
    let number = |name| machine.option(name).and_then(|v| v.parse::<u64>().ok());
    let mut options = Options {
        name: String::from(name),
        trace: number("trace") == Some(1),
        terminal: number("terminal") == Some(1),
        cpu: number("cpu").map(|ms| ms * 1_000_000),
        stdio: Stdio::Console,
        ..Options::default()
    };
    if let Some(bytes) = number("memory") {
        options.memory = bytes;
    }
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
    let limit = Duration::from_secs(number("limit").unwrap_or(u64::from(u32::MAX)));
    let ended = time::timeout(limit, uc.wait()).await;
    if ended.is_err() {
        say(&ebb_linux::threads(&uc));
    }
    ebb_linux::missing_calls(&uc);
    if number("report") == Some(1) {
        say(&ebb_linux::figures(&uc));
    }
    ended.map_or(124, |exit| exit.code())
}

/// Says something to the user, apart from what the program prints.
pub fn say(text: &str) {
    EbbRef::<dyn Console>::get().note(text);
}
