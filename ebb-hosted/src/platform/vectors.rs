//! The vector registers: Linux saves them.

use ebb_runtime::{platform::VectorRegisters, provides};

use super::Linux;

#[provides(VectorRegisters, instance = &Linux)]
impl VectorRegisters for Linux {
    fn claim(&self) {}
}
