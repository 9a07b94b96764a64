use ebb::{EbbRef, ebb};

struct Limits;

#[ebb(per_core, root = Limits)]
struct Pool;

fn main() {
    let _ = EbbRef::<Pool>::get();
}
