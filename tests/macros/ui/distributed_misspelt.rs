use ebb::ebb;
use ebb_distributed::remote;

#[ebb(distribute)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    async fn get(&self) {}
}

fn main() {}
