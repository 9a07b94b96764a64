//! What the examples `linux` and `node` share: one program out of the boot archive, with the options that the image takes.

use alloc::string::String;
use core::time::Duration;

use ebb::{EbbRef, println, time};
use ebb_linux::{Options, Program, Stdio, Uc};
use ebb_runtime::platform::Environment;

ebb::option!("trace", "0 or 1", |v| matches!(v, "0" | "1"));
ebb::option!("memory", "a number of bytes", |v| v.parse::<u64>().is_ok());
ebb::option!("limit", "a number of seconds", |v| v.parse::<u64>().is_ok());
ebb::option!("cpu", "a number of milliseconds", |v| v
    .parse::<u64>()
    .is_ok());
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
            println!("{name}: the program cannot be started: {}", errno.text());
            return 127;
        }
    };
    let limit = Duration::from_secs(number("limit").unwrap_or(u64::from(u32::MAX)));
    let Ok(exit) = time::timeout(limit, uc.wait()).await else {
        println!("{}", ebb_linux::threads(&uc));
        return 124;
    };
    ebb_linux::missing_calls(&uc);
    exit.code()
}
