use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    #[remote(oneway, stream)]
    async fn get(&self) {}
}

fn main() {}
