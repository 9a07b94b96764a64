use ebb::{EbbRef, ebb};

#[ebb(per_core)]
#[derive(Default)]
struct Hits;

fn main() {
    let _ = EbbRef::<Hits>::create(());
}
