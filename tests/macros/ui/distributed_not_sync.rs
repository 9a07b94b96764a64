use std::cell::Cell;

use ebb::ebb;
use ebb_distributed::remote;

#[ebb(distributed)]
#[derive(Default)]
struct Table(Cell<u8>);

#[remote]
impl Table {
    async fn get(&self) {}
}

fn main() {}
