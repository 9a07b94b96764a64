//! Runs a script with an unmodified Node.js.
//!
//! `cargo run --release --example node -- script.js arguments` packs the machine's `node` (or `EBB_NODE`) with its libraries and
//! the script, boots the image and runs it; an HTTP server in the script is reached through `EBB_FORWARD=8080:8080`. The
//! options for the image are those of the example `linux`.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use ebb_linux::Program;

#[path = "support/guest.rs"]
mod guest;

// One core for each program, so V8's pool of helpers brings nothing.
ebb_archive::manifest!("program node\nargs --v8-pool-size=0\nfiles-of-arguments\n");

const USAGE: &str = "\
usage: cargo run --release --example node -- [options of node] script.js [arguments]
       cargo run --release --example node -- -e 'console.log(process.version)'
  A script `-` is read from the input. Files and folders that the arguments name are packed with it.
  EBB_NODE=PATH                  another node than the machine's
  EBB_FILES=PATH:...             more files to pack
  EBB_FORWARD=8080:8080          a server of the script's, on a port of this machine
  EBB_OPTIONS='NAME=VALUE ...'   trace=1 prints every system call, report=1 what the program used,
                                 memory=BYTES, cpu=MILLISECONDS and limit=SECONDS are limits, terminal=1 makes a terminal";

/// What Node looks for when it is given a name.
const ENDINGS: [&str; 5] = ["", ".js", ".mjs", ".cjs", ".json"];

#[ebb::main]
async fn main() -> u8 {
    let arguments = ebb::args();
    let Ok(program) = Program::archived(arguments) else {
        guest::say("node: no program is packed");
        return 127;
    };
    // An archive of the user's own may name the script.
    let given = |a: &[u8]| !a.starts_with(b"--");
    if !program.arguments.iter().skip(1).any(|a| given(a)) && arguments.is_empty() {
        guest::say(USAGE);
        return 2;
    }
    if let Some(script) = arguments.first().filter(|a| !a.starts_with('-'))
        && !ENDINGS
            .iter()
            .any(|end| program.has(&format!("{script}{end}")))
    {
        guest::say(&format!(
            "node: {script}: no such file was there to be packed; it is looked for from the folder that the command is run in"
        ));
        return 2;
    }
    guest::run("node", arguments).await
}
