use ebb::ebb;
use ebb_distributed::{Items, remote};

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    async fn put(&self, items: Items<&'static str>) {
        let _ = items;
    }
}

fn main() {}
