use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    async fn get(&self, key: impl Into<u64>) -> u64 {
        key.into()
    }
}

fn main() {}
