use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    async fn copy(&self, other: Option<Self>) -> bool {
        other.is_some()
    }
}

fn main() {}
