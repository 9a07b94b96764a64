use ebb::ebb;

#[ebb(per_core = true, dynamic(4))]
#[derive(Default)]
struct Hits;

fn main() {}
