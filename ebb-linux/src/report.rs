//! What a program did and where its threads are, for a person who asks.

use crate::abi::exit::Exit;
use crate::abi::signal;
use crate::state::process::Process;
use crate::state::thread::Thread;
use crate::syscall;
use crate::uc::Uc;
use alloc::string::String;
use core::fmt::Write;
use ebb_runtime::EbbRef;

/// What C libraries and runtimes try first and do without on many Linux systems: `pkey_alloc`, `rseq`, `io_uring_setup`.
const TRIED: [u64; 3] = [330, 334, 425];

/// What the program called that does not exist here, but for what every program tries; with a trace, all of it.
pub fn missing_calls(uc: &Uc) {
    let mut missing = uc.missing.borrow().clone();
    if !uc.options.trace {
        missing.retain(|number, _| !TRIED.contains(number));
    }
    if missing.is_empty() {
        return;
    }
    let mut out = String::new();
    for (number, count) in missing.iter() {
        let name = syscall::name(*number);
        let _ = write!(out, " {name} ({number}) x {count}");
    }
    note(&alloc::format!(
        "{}: system calls answered with ENOSYS:{out}",
        uc.options.name
    ));
}

/// Says a line to whoever started the machine, apart from what programs print.
fn note(line: &str) {
    use ebb_runtime::platform::Console;
    EbbRef::<dyn Console>::get().note(line);
}

/// How a program ended and what it used, in a line.
#[must_use]
pub fn figures(uc: &Uc) -> String {
    let mut out = String::new();
    let _ = match uc.exit_status() {
        None => write!(out, "{}: still running", uc.options.name),
        Some(Exit::Status(status)) => {
            write!(out, "{}: ended with status {status}", uc.options.name)
        }
        Some(Exit::Signal(signal)) => {
            let name = signal::name(signal);
            write!(out, "{}: ended by {name}", uc.options.name)
        }
    };
    let (age, ran) = (uc.age(), uc.cpu_time() / 1_000_000);
    let _ = write!(
        out,
        " after {}.{:03} s; processor time {}.{:03} s, {} system calls; memory {} MiB at most, of {} MiB",
        age.as_secs(),
        age.subsec_millis(),
        ran / 1000,
        ran % 1000,
        uc.calls.get(),
        uc.peak().div_ceil(1 << 20),
        uc.options.memory >> 20,
    );
    out
}

/// Where every thread of a program is: running, or in which system call.
#[must_use]
pub fn threads(uc: &Uc) -> String {
    let mut out = String::new();
    let live = uc.processes.borrow().live.clone();
    for process in &live {
        if let Some(signal) = process.stopped.get() {
            let (name, pid) = (signal::name(signal), process.pid());
            let _ = writeln!(out, "{} {pid}: stopped by {name}", uc.options.name);
        }
        for thread in process.threads.borrow().iter() {
            thread_line(uc, process, thread, &mut out);
        }
    }
    out
}

fn thread_line(uc: &Uc, process: &Process, thread: &Thread, out: &mut String) {
    let c = &thread.context;
    let path = process.state.borrow();
    let path = String::from_utf8_lossy(&path.path);
    let _ = write!(
        out,
        "{} {} {path}: rip {:#x}, ran {} ms, ",
        uc.options.name,
        thread.tid,
        c.rip,
        thread.ran / 1_000_000
    );
    let _ = match &thread.waiting {
        None => writeln!(out, "runs; pending signals {:#x}", thread.pending),
        Some(w) => writeln!(
            out,
            "waits in {}({:#x}, {:#x}, {:#x}, {:#x}), woken {}, futex {:x?}, deadline {:?}, now {}",
            syscall::name(c.rax),
            c.rdi,
            c.rsi,
            c.rdx,
            c.r10,
            w.woken,
            w.futex.map(|f| f.at),
            w.deadline,
            uc.now()
        ),
    };
}
