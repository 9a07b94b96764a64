use ebb::ebb;
use ebb_distributed::remote;

#[ebb(shared)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    async fn get(&self) {}
}

fn main() {}
