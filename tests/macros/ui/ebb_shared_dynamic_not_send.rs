use ebb::ebb;
use std::sync::MutexGuard;

#[ebb(shared, dynamic)]
#[derive(Default)]
struct Held {
    guard: Option<MutexGuard<'static, u32>>,
}

fn main() {}
