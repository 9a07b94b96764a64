//! Unwinding.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use ebb_runtime::{platform::Unwind, provides};

use super::Linux;

#[provides(Unwind, instance = &Linux)]
impl Unwind for Linux {
    fn catch(&self, f: &mut dyn FnMut()) -> Result<(), Box<dyn Any + Send>> {
        catch_unwind(AssertUnwindSafe(f))
    }
}
