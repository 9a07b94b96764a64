use ebb::{EbbRef, ebb};

#[ebb(per_core, root)]
struct Pool;

#[ebb(per_core, root = 7)]
struct Pond;

#[ebb(per_core, root(Limits), dynamic)]
struct Lake;

#[ebb(per_core root = u8)]
struct Sea;

fn main() {
    let _ = EbbRef::<Pool>::get();
    let _ = EbbRef::<Pond>::get();
}
