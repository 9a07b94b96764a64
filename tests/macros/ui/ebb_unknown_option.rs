use ebb::{EbbRef, ebb};

#[ebb(percore)]
#[derive(Default)]
struct Hits;

#[ebb(shared, lock = "none", lazy)]
#[derive(Default)]
struct Registry;

fn main() {
    let _ = EbbRef::<Hits>::get();
    let _ = EbbRef::<Registry>::get();
}
