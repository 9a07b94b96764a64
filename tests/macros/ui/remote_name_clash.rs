use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    async fn node(&self) -> u64 {
        1
    }

    async fn within(&self, n: u64) -> u64 {
        n
    }
}

fn main() {}
