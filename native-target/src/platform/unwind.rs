//! No unwinding: a panic ends the image.

use super::Native;
use alloc::boxed::Box;
use core::any::Any;
use ebb_runtime::{platform::Unwind, provides};

#[provides(Unwind, instance = &Native)]
impl Unwind for Native {
    fn catch(&self, f: &mut dyn FnMut()) -> Result<(), Box<dyn Any + Send>> {
        // A panic ends the image before it could come back.
        f();
        Ok(())
    }
}
