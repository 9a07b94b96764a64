use ebb::ebb;

#[ebb("per_core")]
#[derive(Default)]
struct Hits;

fn main() {}
