use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    async fn get<K: Into<u64>>(&self, key: K) -> u64 {
        key.into()
    }
}

fn main() {}
