//! Runs guest programs: `guests [copies=N] [beside=PROGRAM] PROGRAM ARGUMENTS...`, all copies at once, spread over the cores,
//! and another program on each core. Prints how each ended; says `image is well` at the end.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{format, string::String, vec::Vec};

use ebb::platform::Environment;
use ebb::{CoreId, EbbRef, core_count, println, spawn_on};
use ebb_linux::{Exit, Options, Program, Uc};

ebb::option!("trace", "0 or 1", |v| matches!(v, "0" | "1"));
ebb::option!("memory", "a number of bytes", |v| v.parse::<u64>().is_ok());
ebb::option!("cpu", "a number of milliseconds", |v| v
    .parse::<u64>()
    .is_ok());

async fn run(name: String, arguments: Vec<String>) -> String {
    let environment = EbbRef::<dyn Environment>::get();
    let number = |name| environment.option(name).and_then(|v| v.parse::<u64>().ok());
    let options = Options {
        name: name.clone(),
        memory: number("memory").unwrap_or(64 << 20),
        threads: 64,
        // What runs beside is to be left alone.
        cpu: number("cpu")
            .filter(|_| name.starts_with("uc"))
            .map(|ms| ms * 1_000_000),
        trace: number("trace") == Some(1),
        ..Options::default()
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let started = Program::archived(&arguments).and_then(|program| Uc::start(options, program));
    match started {
        Ok(uc) => match uc.wait().await {
            Exit::Status(status) => format!("{name} ended with status {status}"),
            Exit::Signal(signal) => format!("{name} ended by signal {signal}"),
        },
        Err(errno) => format!("{name} did not start: {}", errno.name()),
    }
}

#[ebb::main]
async fn main() {
    let mut arguments: Vec<String> = ebb::args().iter().map(|a| String::from(*a)).collect();
    let copies = arguments
        .first()
        .and_then(|a| a.strip_prefix("copies=")?.parse::<usize>().ok());
    if copies.is_some() {
        arguments.remove(0);
    }
    let beside = arguments
        .first()
        .and_then(|a| Some(String::from(a.strip_prefix("beside=")?)));
    if beside.is_some() {
        arguments.remove(0);
    }
    let before = ebb_mem::frame::stats().free;
    for round in 0..2 {
        let mut running = Vec::new();
        for n in 0..copies.unwrap_or(1) {
            let arguments = arguments.clone();
            let core = CoreId::new(n % core_count());
            let name = format!("uc{n}");
            running.push(spawn_on(core, async move || run(name, arguments).await));
        }
        for n in 0..beside.as_ref().map_or(0, |_| core_count()) {
            let arguments = beside.iter().cloned().collect();
            let name = format!("beside{n}");
            let core = CoreId::new(n);
            running.push(spawn_on(core, async move || run(name, arguments).await));
        }
        for uc in running {
            match uc.await {
                Ok(ended) => println!("{ended}"),
                Err(error) => println!("lost: {error}"),
            }
        }
        // Twice with `twice` as last argument: what the first round took must have come back.
        if round == 0 && arguments.last().map(String::as_str) != Some("twice") {
            break;
        }
    }
    ebb_mem::trim();
    let after = ebb_mem::frame::stats().free;
    println!("frames free: {before} before, {after} after");
    println!("image is well");
}
