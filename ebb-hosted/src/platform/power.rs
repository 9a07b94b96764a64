//! The end of the program: of the process.

use std::process;

use ebb_runtime::{platform::Power, provides};

use super::Linux;

#[provides(Power, default, instance = &Linux)]
impl Power for Linux {
    fn exit(&self, status: i32) -> ! {
        process::exit(status)
    }
}
