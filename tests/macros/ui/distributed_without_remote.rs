use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

impl Table {
    async fn get(&self) {}
}

fn main() {}
