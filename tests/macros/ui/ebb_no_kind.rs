use ebb::{EbbRef, ebb};

#[ebb]
#[derive(Default)]
struct Hits;

#[ebb(root = u32)]
struct Pool;

fn main() {
    let _ = EbbRef::<Hits>::get();
    let _ = EbbRef::<Pool>::set_root(1);
}
