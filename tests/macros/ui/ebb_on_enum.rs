use ebb::{EbbRef, ebb};

#[ebb(per_core)]
enum Light {
    Red,
    Green,
}

fn main() {
    let _ = EbbRef::<Light>::get();
}
