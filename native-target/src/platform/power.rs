//! The end of the program: through QEMU's exit device or ACPI.

use super::Native;
use crate::report;
use ebb_runtime::{platform::Power, provides};

#[provides(Power, default, instance = &Native)]
impl Power for Native {
    fn exit(&self, status: i32) -> ! {
        report::exit(exit_status(status))
    }
}

/// A status as eight bits; failure stays failure.
pub fn exit_status(status: i32) -> u8 {
    u8::try_from(status).unwrap_or(255)
}
