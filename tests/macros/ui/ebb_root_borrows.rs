use ebb::{EbbRef, FromRoot, ebb};
use std::sync::Arc;

#[ebb(per_core, root = &str)]
struct Pool;

impl FromRoot<&'static str> for Pool {
    fn from_root(_: Arc<&'static str>, _: EbbRef<Self>) -> Self {
        Self
    }
}

fn main() {}
