use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    const SIZE: usize = 3;

    async fn get(&self) -> usize {
        Self::SIZE
    }
}

fn main() {}
