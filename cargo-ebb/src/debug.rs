//! `cargo ebb debug`: an image under QEMU that waits before its first instruction, or the core file of one that stopped, in gdb
//! with the image's symbols and what `gdb/ebb.py` adds.
//!
//! What must hold: QEMU ends with gdb; a Ctrl-C is gdb's.

use std::{
    env, fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
};

use ebb_runner::image::{self, Kind};

use crate::{
    arguments::Debug,
    failure::{Failure, Result, at},
    image::only,
    program::{self, Symbols},
    run::find,
};

/// The commands and printers.
const SCRIPT: &str = include_str!("../gdb/ebb.py");

/// Runs gdb; gives its exit status.
///
/// # Errors
/// When the image cannot be built, or a program is missing.
pub fn debug(options: &Debug) -> Result<ExitCode> {
    // gdb would start without them, and go on.
    if let Some(core) = &options.core {
        fs::metadata(core).map_err(at(format!("the core file {}", core.display())))?;
    }
    let image = match &options.image {
        Some(path) => match image::inspect(path)? {
            Kind::Image(_) => path.clone(),
            _ => return Err(Failure(format!("{} is no image of ebb", path.display()))),
        },
        None => build(options)?,
    };
    let script = env::temp_dir().join(format!("ebb-{}.py", std::process::id()));
    fs::write(&script, SCRIPT).map_err(at(script.display()))?;
    let done = run(options, &image, &script);
    let _ = fs::remove_file(&script);
    done
}

fn build(options: &Debug) -> Result<PathBuf> {
    let project = find(&options.build)?;
    let (kind, name) = match (&options.build.bin, &options.build.example) {
        (Some(bin), _) => ("--bin", bin.clone()),
        (_, Some(example)) => ("--example", example.clone()),
        _ => {
            let programs = project.targets("bin").into_iter();
            ("--bin", only(programs.map(|t| t.name).collect())?)
        }
    };
    program::build(kind, &name, &options.build, Symbols::All)
}

fn run(options: &Debug, image: &Path, script: &Path) -> Result<ExitCode> {
    let mut gdb = Command::new("gdb");
    gdb.arg("-q").arg(image);
    // Rust's pretty printers are not loaded by themselves, and what gdb asks before it ends helps nobody here.
    gdb.args([
        "-iex",
        "set auto-load safe-path /",
        "-ex",
        "set confirm off",
        "-ex",
    ]);
    gdb.arg(format!("source {}", script.display()));
    let mut machine = None;
    if let Some(core) = &options.core {
        gdb.arg("-ex").arg(format!("core-file {}", core.display()));
    } else {
        let (port, child) = start(options, image)?;
        machine = Some(child);
        // It tries again until QEMU is there.
        gdb.args(["-ex", "set tcp connect-timeout 60", "-ex"]);
        gdb.arg(format!("target remote 127.0.0.1:{port}"));
    }
    for command in &options.ex {
        gdb.args(["-ex", command]);
    }
    if options.batch {
        gdb.arg("-batch");
    }
    let status = gdb.status().map_err(at(
        "gdb cannot be executed (Debian has it in the package gdb)",
    ));
    drop(machine);
    let code = status?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The runner, and in it QEMU: ended when this is dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // Whatever ends the runner ends QEMU.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the machine, which waits for gdb at a port.
fn start(options: &Debug, image: &Path) -> Result<(u16, Machine)> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.map_err(at("a port for gdb"))?.port();
    let this = env::current_exe().map_err(at("the path of this program"))?;
    let mut runner = Command::new(this);
    runner.arg("runner").arg(image).arg("--");
    runner.args(&options.arguments);
    runner.env("EBB_GDB", port.to_string());
    runner.env_remove("EBB_TIMEOUT");
    if let Some(cores) = options.cores {
        runner.env("EBB_CORES", cores.to_string());
    }
    // Not in the terminal's group: a Ctrl-C there stops the machine, through gdb, and does not end it.
    runner.stdin(Stdio::null()).process_group(0);
    let child = runner.spawn().map_err(at("the runner"))?;
    Ok((port, Machine(child)))
}
