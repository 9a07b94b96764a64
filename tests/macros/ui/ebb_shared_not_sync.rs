use ebb::{EbbRef, ebb};

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::atomic::AtomicU64,
};

#[ebb(shared)]
#[derive(Default)]
struct Registry {
    fine: AtomicU64,
    names: RefCell<Vec<String>>,
    next: Option<Rc<u32>>,
}

#[ebb(shared)]
#[derive(Default)]
struct Count(Cell<u64>);

fn main() {
    let _ = &EbbRef::<Registry>::get().names;
}
