use ebb::{EbbRef, FromRoot, ebb};
use std::{cell::Cell, sync::Arc};

struct Limits {
    most: Cell<usize>,
}

#[ebb(per_core, root = Limits)]
struct Pool {
    limits: Arc<Limits>,
}

impl FromRoot<Limits> for Pool {
    fn from_root(limits: Arc<Limits>, _: EbbRef<Self>) -> Self {
        Self { limits }
    }
}

fn main() {}
