use ebb::{EbbRef, ebb};

#[ebb(per_core)]
struct Hits {
    n: u64,
}

#[ebb(shared)]
struct Registry {
    n: u64,
}

#[ebb(per_core, dynamic)]
struct Cache {
    n: u64,
}

fn main() {
    let _ = EbbRef::<Hits>::get().n;
    let _ = EbbRef::<Registry>::get().n;
    let _ = EbbRef::<Cache>::create(()).with(|cache| cache.n);
}
