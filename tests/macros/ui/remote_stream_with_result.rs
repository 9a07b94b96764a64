use ebb_distributed::Sink;
use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    #[remote(stream)]
    async fn changes(&self, out: Sink<u64>) -> u64 {
        let _ = out;
        1
    }
}

fn main() {}
