//! Tracing as the environment says: on from the start with `EBB_TRACE=FILE` or the option `trace-ring`, and written to that file at
//! the end.

use std::{
    env,
    fs::File,
    io::{BufWriter, Write},
};

use ebb_runtime::{EbbRef, Machine, platform::Clock, platform::Environment, trace};

/// Where the trace goes.
fn file() -> Option<std::ffi::OsString> {
    env::var_os("EBB_TRACE").filter(|path| !path.is_empty())
}

fn now_ns() -> u64 {
    EbbRef::<dyn Clock>::get().now_ns()
}

/// Says before the program starts that its trace could not be written: at its end the time line would be lost.
pub(crate) fn check() -> Result<(), String> {
    let Some(path) = file() else { return Ok(()) };
    let made = File::create(&path).map(drop);
    made.map_err(|error| format!("EBB_TRACE is `{}`: {error}", path.display()))
}

/// Starts it, if that is asked for.
pub(crate) fn start(machine: &Machine) {
    let option = EbbRef::<dyn Environment>::get().option(trace::OPTION);
    let records = option.and_then(|value| value.parse().ok());
    if let Some(records) = records.or_else(|| file().map(|_| trace::RECORDS)) {
        trace::start_on(machine.rings(), records, now_ns());
    }
}

/// Writes the file, if there is to be one. A program whose trace cannot be written says so and ends as it would have.
pub(crate) fn write(machine: &Machine) {
    let Some(path) = file() else { return };
    let mut result = Ok(());
    match File::create(&path) {
        Err(error) => result = Err(error),
        Ok(file) => {
            let mut out = BufWriter::new(file);
            trace::write_chrome(machine.rings(), now_ns(), &mut |line| {
                if result.is_ok() {
                    result = writeln!(out, "{line}");
                }
            });
            result = result.and_then(|()| out.flush());
        }
    }
    if let Err(error) = result {
        eprintln!("ebb: EBB_TRACE is `{}`: {error}", path.display());
    }
}
