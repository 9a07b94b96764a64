use ebb::{EbbRef, ebb};

#[ebb(per_core, share, root =, dynamik)]
enum Everything<T> {
    Wrong(T),
}

fn main() {
    let _ = EbbRef::<Everything<u8>>::create;
}
