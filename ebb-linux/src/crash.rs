//! What a person is told when a guest goes wrong: where, in which thread, with which registers, in which mapping.

use crate::abi::signal::FaultInfo;
use crate::state::process::Process;
use crate::uc::Uc;
use crate::uc::caller::Caller;
use alloc::string::String;
use core::fmt::Write;
use ebb_mem::space::Area;

fn describe(process: &Process, area: Option<&Area>, address: u64) -> String {
    let mut text = String::new();
    let _ = match area {
        None => write!(text, "not mapped"),
        Some(a) => {
            let p = a.protection;
            let name = process.area_name(a.note);
            write!(
                text,
                "in {:x}-{:x} {}{}{} {} +{:#x}",
                a.start,
                a.end,
                if p.read { 'r' } else { '-' },
                if p.write { 'w' } else { '-' },
                if p.execute { 'x' } else { '-' },
                String::from_utf8_lossy(&name),
                a.offset + (address - a.start),
            )
        }
    };
    text
}

/// A fault or exception that nothing in the guest handles.
pub fn report(caller: &Caller<'_>, signal: &str, info: &FaultInfo) {
    let Caller {
        uc, process, index, ..
    } = *caller;
    let mut out = String::new();
    let threads = process.threads.borrow();
    let Some(thread) = threads.get(index) else {
        return;
    };
    let c = &thread.context;
    let memory = process.memory();
    let mut space = memory.space.borrow_mut();
    let _ = writeln!(
        out,
        "{}: thread {} ended by {signal} (vector {}, error {:#x}, code {})",
        uc.options.name, thread.tid, info.vector, info.error, info.code
    );
    let at = [("address", info.address), ("rip", c.rip), ("rsp", c.rsp)];
    for (name, address) in at {
        let place = describe(process, space.area(address), address);
        let _ = writeln!(out, "  {name:7} {address:016x}  {place}");
    }
    for row in [
        [
            ("rax", c.rax),
            ("rbx", c.rbx),
            ("rcx", c.rcx),
            ("rdx", c.rdx),
        ],
        [
            ("rsi", c.rsi),
            ("rdi", c.rdi),
            ("rbp", c.rbp),
            ("r8 ", c.r8),
        ],
        [
            ("r9 ", c.r9),
            ("r10", c.r10),
            ("r11", c.r11),
            ("r12", c.r12),
        ],
        [
            ("r13", c.r13),
            ("r14", c.r14),
            ("r15", c.r15),
            ("fs ", c.fs_base),
        ],
    ] {
        for (name, value) in row {
            let _ = write!(out, "  {name} {value:016x}");
        }
        out.push('\n');
    }
    let _ = write!(out, "  code ");
    for i in 0..16 {
        match space.get::<u8>(c.rip.wrapping_add(i)) {
            Ok(byte) => drop(write!(out, " {byte:02x}")),
            Err(_) => break,
        }
    }
    let _ = write!(out, "\n  stack");
    for i in 0..8 {
        match space.get::<u64>(c.rsp.wrapping_add(8 * i)) {
            Ok(word) => drop(write!(out, " {word:x}")),
            Err(_) => break,
        }
    }
    // Frame pointers, as far as they lead.
    let _ = write!(out, "\n  called from");
    let mut frame = c.rbp;
    for _ in 0..12 {
        let Ok([next, from]) = space.get::<[u64; 2]>(frame) else {
            break;
        };
        let _ = write!(out, " {from:x}");
        if next <= frame {
            break;
        }
        frame = next;
    }
    ebb_runtime::println!("{out}");
}

/// The memory of a UC is used up.
pub fn out_of_memory(caller: &Caller<'_>, address: u64) {
    let uc = caller.uc;
    let tid = caller.with_thread(|t| t.tid).unwrap_or(0);
    ebb_runtime::println!(
        "{}: out of memory: thread {tid} touched {address:#x} with {} of {} KiB in use by {}",
        uc.options.name,
        uc.used() >> 10,
        uc.options.memory >> 10,
        Processes(uc)
    );
}

/// A UC has used up its processor time.
pub fn out_of_time(uc: &Uc, process: &Process) {
    ebb_runtime::println!(
        "{}: out of processor time: {} ms used, last by process {}, of {}",
        uc.options.name,
        uc.cpu_time() / 1_000_000,
        process.pid(),
        Processes(uc)
    );
}

/// How many processes a UC has.
struct Processes<'a>(&'a Uc);

impl core::fmt::Display for Processes<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0.processes.borrow().live.len() {
            1 => f.write_str("one process"),
            n => write!(f, "{n} processes"),
        }
    }
}
