//! `ebb-runner IMAGE [ARGUMENT...]`: see the library's documentation, and `--help`.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    ebb_runner::command::main(env::args_os().skip(1))
}
