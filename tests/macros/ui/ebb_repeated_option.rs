use ebb::ebb;

#[ebb(per_core, per_core, root = u8, root = u16)]
struct Hits;

fn main() {}
