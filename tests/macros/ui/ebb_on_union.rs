use ebb::{EbbRef, ebb};

#[ebb(shared)]
union Bits {
    float: f32,
    bits: u32,
}

fn main() {
    let _ = EbbRef::<Bits>::get();
}
