//! What the machine shows to whoever looks at it from outside: itself to a debugger, its time line, and the state of a fault to the
//! runner, which makes a core file of it.

use core::sync::atomic::{AtomicBool, Ordering};

use ebb_runtime::Machine;
use spin::Once;

use crate::{clock, options::Options, report};

/// `cargo-ebb/gdb/ebb.py` looks for it by this name.
static MACHINE: Once<&'static Machine> = Once::new();
static REPORTS_TRACE: AtomicBool = AtomicBool::new(false);
static STAYS_FOR_CORE_FILE: AtomicBool = AtomicBool::new(false);

/// What the command line wants to be shown.
pub fn begin(options: &Options) {
    REPORTS_TRACE.store(options.reports_trace, Ordering::Relaxed);
    STAYS_FOR_CORE_FILE.store(options.stays_for_core_file, Ordering::Relaxed);
}

/// Shows the machine, which has been made.
pub fn show(machine: &'static Machine) -> &'static Machine {
    MACHINE.call_once(|| machine)
}

/// The machine, once it has been made.
pub fn machine() -> Option<&'static Machine> {
    MACHINE.get().copied()
}

/// Writes what was traced to the debug console, if the runner wants it: as the machine ends, in order or not. The caller is the only
/// core that still does anything.
pub fn report_trace() {
    if let Some(machine) = machine()
        && REPORTS_TRACE.load(Ordering::Relaxed)
    {
        ebb_runtime::trace::write_chrome(machine.rings(), clock::now_ns(), &mut |line| {
            report::line(format_args!("trace {line}"));
        });
    }
}

/// Whether the runner writes a core file after a fault.
pub fn stays_for_core_file() -> bool {
    STAYS_FOR_CORE_FILE.load(Ordering::Relaxed)
}
