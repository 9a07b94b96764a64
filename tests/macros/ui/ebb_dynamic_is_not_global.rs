use ebb::{EbbRef, ebb};

#[ebb(per_core, dynamic)]
#[derive(Default)]
struct Cache;

struct Plain;

fn main() {
    let _ = EbbRef::<Cache>::get();
    let _ = EbbRef::<Plain>::get();
}
