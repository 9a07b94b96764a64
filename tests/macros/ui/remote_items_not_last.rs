use ebb::ebb;
use ebb_distributed::{Items, Sink, remote};

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    #[remote(stream)]
    async fn put(&self, items: Items<u64>, from: u64, out: Sink<u64>) {
        let _ = (items, from, out);
    }
}

fn main() {}
