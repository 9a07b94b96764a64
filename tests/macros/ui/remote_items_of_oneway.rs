use ebb::ebb;
use ebb_distributed::{Items, remote};

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    #[remote(oneway)]
    async fn put(&self, items: Items<u64>) {
        let _ = items;
    }
}

fn main() {}
