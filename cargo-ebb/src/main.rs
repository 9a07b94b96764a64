//! `cargo ebb`: makes, runs, tests and checks projects of ebb.
//!
//! [`arguments`] is what may be said; [`new`] makes a project out of the embedded [`template`]s; [`project`] reads one through
//! `cargo metadata`; [`run`] and [`mod@test`] call Cargo with what starts images; [`image`] makes files that other machines boot; [`mod@debug`] opens images in gdb; [`doctor`] finds what
//! is wrong.
//!
//! What must hold: Cargo does what Cargo can. Nothing here keeps state; a project works without `cargo ebb` but for the runner,
//! which is this program too (`cargo-ebb runner IMAGE`).

mod arguments;
mod debug;
mod doctor;
mod failure;
mod image;
mod new;
mod program;
mod project;
mod run;
mod say;
mod source;
mod template;
mod test;

use std::{env, path::Path, process::ExitCode};

use arguments::{Command, Parsed};

fn main() -> ExitCode {
    let mut words: Vec<_> = env::args_os().collect();
    // Cargo calls `cargo-ebb ebb ...`.
    if words.get(1).is_some_and(|word| word == "ebb") {
        words.remove(1);
    }
    if words.get(1).is_some_and(|word| word == "runner") {
        words.drain(..2);
        if words.first().is_some_and(|word| word == run::IMAGES) {
            words.remove(0);
            let path = words.first().map(Path::new).unwrap_or(Path::new(""));
            if let Err(failure) = program::check_image(path) {
                eprintln!("cargo ebb: {failure}");
                return ExitCode::FAILURE;
            }
        }
        return ebb_runner::command::main(words.into_iter());
    }
    let done = match Parsed::of(words).command {
        Command::New(options) => new::new(&options),
        Command::Run(options) => run::run(&options),
        Command::Test(options) => test::test(&options),
        Command::Image(options) => image::image(&options),
        Command::Debug(options) => debug::debug(&options),
        Command::Doctor(options) => doctor::doctor(&options),
        // Told apart above: its arguments are an image's.
        Command::Runner => Ok(ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|failure| {
        eprintln!("cargo ebb: {failure}");
        ExitCode::FAILURE
    })
}
