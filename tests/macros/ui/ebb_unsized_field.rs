use ebb::ebb;

#[ebb(per_core)]
struct Tail {
    n: u32,
    data: [u8],
}

#[ebb(shared)]
struct Name(str);

#[ebb(per_core, dynamic)]
struct Shape {
    kind: dyn Send,
}

fn main() {}
