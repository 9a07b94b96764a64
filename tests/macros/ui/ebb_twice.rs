use ebb::{EbbRef, ebb};

#[ebb(per_core)]
#[ebb(dynamic)]
#[derive(Default)]
struct Hits;

fn main() {
    let _ = EbbRef::<Hits>::get();
}
