use ebb::{EbbRef, ebb};

#[ebb(shared)]
#[derive(Default)]
struct Cache<K: 'static, V: 'static, const N: usize> {
    keys: Vec<K>,
    values: Vec<V>,
}

fn main() {
    let _ = &EbbRef::<Cache<u32, u32, 4>>::get().keys;
    EbbRef::<Cache<u32, u32, 4>>::create(()).with(|cache| cache.values.len());
}
