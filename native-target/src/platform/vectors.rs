//! The vector registers: a guest's state leaves them before the kernel uses more than SSE, see [`user`](crate::user).

use super::Native;
use crate::user::put_owner_aside;
use ebb_runtime::{platform::VectorRegisters, provides};

#[provides(VectorRegisters, instance = &Native)]
impl VectorRegisters for Native {
    fn claim(&self) {
        put_owner_aside();
    }
}
