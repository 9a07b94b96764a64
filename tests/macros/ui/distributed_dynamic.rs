use ebb::ebb;

#[ebb(distributed, dynamic)]
#[derive(Default)]
struct Table;

fn main() {}
