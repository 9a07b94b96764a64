//! Runs guest programs: `guests [copies=N] [beside=PROGRAM] PROGRAM ARGUMENTS...`, all copies at once, spread over the cores,
//! and another program on each core. Prints how each ended; says `image is well` at the end.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{format, string::String, vec::Vec};
use core::time::Duration;

use ebb::platform::{Environment, VectorRegisters};
use ebb::{CoreId, EbbRef, core_count, println, spawn_on, time};
use ebb_linux::{Exit, Options, Program, Uc};

ebb::option!("trace", "0 or 1", |v| matches!(v, "0" | "1"));
ebb::option!("memory", "a number of bytes", |v| v.parse::<u64>().is_ok());
ebb::option!("rounds", "a number", |v| v.parse::<u64>().is_ok());
ebb::option!("vectors", "0 or 1", |v| matches!(v, "0" | "1"));
ebb::option!("cpu", "a number of milliseconds", |v| v
    .parse::<u64>()
    .is_ok());

fn number(name: &str) -> Option<u64> {
    let environment = EbbRef::<dyn Environment>::get();
    environment.option(name).and_then(|v| v.parse().ok())
}

/// Free frames when no core's allocator keeps any for next time.
async fn free() -> u64 {
    for core in 0..core_count() {
        let trimmed = spawn_on(CoreId::new(core), async || {
            // The tasks of a program's threads end after it.
            time::sleep(Duration::from_millis(5)).await;
            ebb_mem::trim();
        });
        let _ = trimmed.await;
    }
    ebb_mem::frame::stats().free
}

async fn run(name: String, arguments: Vec<String>) -> String {
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

/// What a library of ciphers does that finds AVX: uses all of the registers whenever it is called.
async fn use_vectors() {
    let has_avx = core::arch::x86_64::__cpuid(1).ecx & 1 << 28 != 0;
    if !has_avx {
        return;
    }
    loop {
        EbbRef::<dyn VectorRegisters>::get().claim();
        // SAFETY: the CPU has AVX, and native images enable what it has; the registers are declared lost.
        unsafe {
            core::arch::asm!(
                "vzeroall",
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                options(nomem, nostack, preserves_flags),
            );
        }
        time::sleep(Duration::from_micros(200)).await;
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
    if number("vectors") == Some(1) {
        for core in 0..core_count() {
            drop(spawn_on(CoreId::new(core), use_vectors));
        }
    }
    let before = free().await;
    for round in 1..=number("rounds").unwrap_or(1) {
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
        println!("frames free after round {round}: {}", free().await);
    }
    println!("frames free before: {before}");
    println!("image is well");
}
