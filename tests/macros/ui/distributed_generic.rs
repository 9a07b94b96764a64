use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table<K>(K);

fn main() {}
