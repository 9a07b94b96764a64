use ebb::{EbbRef, ebb};

#[ebb(per_core, shared)]
#[derive(Default)]
struct Hits;

fn main() {
    let _ = EbbRef::<Hits>::get();
}
