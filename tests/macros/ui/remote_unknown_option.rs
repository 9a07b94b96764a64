use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote(path = "x")]
impl Table {
    async fn get(&self) -> u64 {
        1
    }
}

fn main() {}
