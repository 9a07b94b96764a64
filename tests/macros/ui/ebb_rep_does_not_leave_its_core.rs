use ebb::{EbbRef, ebb};

use std::cell::Cell;

#[ebb(per_core)]
#[derive(Default)]
struct Hits {
    n: Cell<u64>,
}

fn main() {
    let hits = EbbRef::<Hits>::get();
    std::thread::spawn(move || hits.n.set(1));
    ebb::spawn_on(ebb::CoreId::new(1), async move || hits.n.set(1));
}
