use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    async fn get(&self, at: *const u8) -> bool {
        at.is_null()
    }
}

fn main() {}
