use ebb::ebb;

#[ebb(distributed)]
enum Table {
    Empty,
}

fn main() {}
