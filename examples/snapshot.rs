//! Runs a Linux program up to the point where it waits for input, captures it, and runs clones of it on every core.
//!
//! `cargo run --release --example snapshot -- /path/to/program arguments`: the program prints a line when it is ready, then
//! reads lines, and ends with its input. Every clone gets one line of its own and the end. `docs/src/snapshots.md` has
//! programs to try: Node, Python, C. Options (`EBB_OPTIONS`): `clones=N` clones that run, on all cores in turn; `idle=N`
//! clones that are only held; `trace=1` prints the system calls of the first clone.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use ebb::time::Instant;
use ebb::{EbbRef, println};
use ebb_linux::snapshot::CloneOptions;
use ebb_linux::{Exit, Options, Program, Snapshot, Stdio, Uc};
use ebb_runtime::platform::Environment;

ebb_archive::manifest!("program $1\nfiles-of-arguments\n");

ebb::option!("clones", "a number", |v| v.parse::<u32>().is_ok());
ebb::option!("idle", "a number", |v| v.parse::<u32>().is_ok());
ebb::option!("memory", "a number of bytes", |v| v.parse::<u64>().is_ok());
ebb::option!("trace", "0 or 1", |v| matches!(v, "0" | "1"));

fn option(name: &str) -> Option<u64> {
    EbbRef::<dyn Environment>::get().option(name)?.parse().ok()
}

/// Bytes of memory that nobody uses, whoever's cache they are in.
fn free() -> u64 {
    ebb_mem::trim();
    ebb_mem::frame::stats().free * 4096
}

fn micros(since: Instant) -> u64 {
    since.elapsed().as_micros() as u64
}

fn options() -> Options {
    Options {
        name: String::from("snapshot"),
        memory: option("memory").unwrap_or(1 << 30),
        stdio: Stdio::Owner,
        ..Options::default()
    }
}

/// What one clone did.
struct Run {
    deploy: u64,
    total: u64,
    private: u64,
    output: Vec<u8>,
}

/// Deploys a clone, gives it a line and waits for its end.
async fn run(snapshot: &Snapshot, number: u64, trace: bool) -> Result<Run, String> {
    let begun = Instant::now();
    let options = CloneOptions {
        options: Some(Options { trace, ..options() }),
        pid: Some(2 + number as u32),
        ..CloneOptions::default()
    };
    let uc = snapshot
        .start_clone(options)
        .map_err(|e| format!("clone {number} cannot be deployed: {}", e.text()))?;
    let deployed = micros(begun);
    let line = format!("{number}\n");
    uc.give(line.as_bytes())
        .map_err(|e| format!("clone {number} takes no input: {}", e.text()))?;
    uc.end_input();
    let mut output = Vec::new();
    loop {
        let bytes = uc.output().await;
        if bytes.is_empty() {
            break;
        }
        output.extend_from_slice(&bytes);
    }
    let exit = uc.wait().await;
    let total = micros(begun);
    let private = uc.private();
    snapshot.learn(&uc);
    if exit != Exit::Status(0) {
        let [out, error] = uc.take();
        output.extend_from_slice(&out);
        output.extend_from_slice(&error);
        let text = String::from_utf8_lossy(&output);
        return Err(format!("clone {number} ended with {exit:?}: {text}"));
    }
    Ok(Run {
        deploy: deployed,
        total,
        private,
        output,
    })
}

async fn demonstrate() -> Result<(), String> {
    let program =
        Program::archived(ebb::args()).map_err(|e| format!("no program: {}", e.text()))?;
    let begun = Instant::now();
    let uc =
        Uc::start(options(), program).map_err(|e| format!("it does not start: {}", e.text()))?;
    let ready = uc.output().await;
    uc.parked().await;
    println!(
        "started: {:?} after {} us, {} KiB in use",
        String::from_utf8_lossy(&ready).trim_end(),
        micros(begun),
        uc.used() >> 10
    );
    if let Some(exit) = uc.exit_status() {
        let said = uc.take().concat();
        let said = String::from_utf8_lossy(&said);
        return Err(format!(
            "the program did not wait for input: {exit:?}; it said:\n{said}"
        ));
    }
    let begun = Instant::now();
    let snapshot = Snapshot::capture(&uc).map_err(|e| format!("{e}"))?;
    println!(
        "captured in {} us: {} threads",
        micros(begun),
        snapshot.threads()
    );
    uc.end(Exit::Signal(9));
    drop(uc);

    for (number, what) in [
        (0, "faults for its pages"),
        (1, "gets its working set at once"),
    ] {
        let result = run(&snapshot, number, number == 0 && option("trace") == Some(1)).await?;
        println!(
            "clone {number}: deployed in {} us, over after {} us, wrote {} KiB ({what}): {:?}",
            result.deploy,
            result.total,
            result.private >> 10,
            String::from_utf8_lossy(&result.output).trim_end()
        );
    }
    if let Some(set) = snapshot.working_set() {
        println!(
            "working set: {} pages written, {} read",
            set.written(),
            set.read()
        );
    }

    run_on_every_core(&snapshot).await?;
    keep_idle(&snapshot).await
}

/// Deploys, runs and ends many clones, on all cores at once.
async fn run_on_every_core(snapshot: &Snapshot) -> Result<(), String> {
    let clones = option("clones").unwrap_or(20);
    let cores = ebb::cores().len();
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for (first, core) in ebb::cores().enumerate() {
        let snapshot = snapshot.clone();
        tasks.push(ebb::spawn_on(core, move || async move {
            let mut runs = Vec::new();
            for number in (first as u64..clones).step_by(cores) {
                runs.push(run(&snapshot, 2 + number, false).await?);
            }
            Ok::<_, String>(runs)
        }));
    }
    let mut runs = Vec::new();
    for task in tasks {
        runs.extend(task.await.map_err(|e| format!("{e}"))??);
    }
    let whole = micros(begun);
    for (what, of) in [
        ("deploy", (|r: &Run| r.deploy) as fn(&Run) -> u64),
        ("deploy, run and end", |r| r.total),
    ] {
        let mut times: Vec<u64> = runs.iter().map(of).collect();
        times.sort_unstable();
        if let (Some(least), Some(most)) = (times.first(), times.last()) {
            println!(
                "{what}: least {least} us, median {} us, most {most} us",
                times[times.len() / 2]
            );
        }
    }
    println!("{} clones on {cores} cores in {whole} us", runs.len());
    Ok(())
}

/// Weighs clones that wait for their first line.
async fn keep_idle(snapshot: &Snapshot) -> Result<(), String> {
    let before = free();
    let idle = option("idle").unwrap_or(50);
    let mut held: Vec<Rc<Uc>> = Vec::new();
    for number in 0..idle {
        let options = CloneOptions {
            no_prefetch: true,
            ..CloneOptions::default()
        };
        match snapshot.start_clone(options) {
            Ok(uc) => held.push(uc),
            Err(error) => return Err(format!("idle clone {number}: {}", error.text())),
        }
    }
    for uc in &held {
        uc.parked().await;
    }
    let used = before.saturating_sub(free());
    println!(
        "{idle} idle clones: {} KiB each, {} KiB of it pages and page tables",
        (used / idle.max(1)) >> 10,
        (held.iter().map(|u| u.private()).sum::<u64>() / idle.max(1)) >> 10
    );
    for uc in &held {
        uc.end(Exit::Signal(9));
    }
    Ok(())
}

#[ebb::main]
async fn main() -> u8 {
    match demonstrate().await {
        Ok(()) => 0,
        Err(error) => {
            println!("snapshot: {error}");
            1
        }
    }
}
