use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    async unsafe fn get(&self) -> u64 {
        1
    }
}

fn main() {}
