use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    async fn get(&self) -> impl Iterator<Item = u64> {
        0..3
    }
}

fn main() {}
