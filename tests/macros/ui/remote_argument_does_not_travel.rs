use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    async fn put(&self, file: std::fs::File) {
        drop(file);
    }
}

fn main() {}
