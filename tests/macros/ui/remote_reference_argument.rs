use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    async fn get(&self, key: &str, keys: Vec<&u8>) -> u64 {
        (key.len() + keys.len()) as u64
    }
}

fn main() {}
