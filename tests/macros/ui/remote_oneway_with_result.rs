use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    #[remote(oneway)]
    async fn hint(&self) -> u64 {
        1
    }
}

fn main() {}
