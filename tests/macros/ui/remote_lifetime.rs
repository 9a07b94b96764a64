use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    async fn get<'a>(&'a self, key: u64) -> u64 {
        key
    }
}

fn main() {}
