use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    async fn get(&self, (a, b): (u64, u64)) -> u64 {
        a + b
    }
}

fn main() {}
