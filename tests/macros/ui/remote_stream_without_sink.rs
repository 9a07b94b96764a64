use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    #[remote(stream)]
    async fn changes(&self, from: u64) {
        let _ = from;
    }
}

fn main() {}
