use ebb::{EbbRef, ebb};

#[ebb(per_core, dynamic)]
struct Cache<K: 'static> {
    key: K,
}

fn main() {
    EbbRef::<Cache<u32>>::create(()).with(|cache| cache.key);
}
