use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

trait Get {
    fn get(&self);
}

#[remote]
impl Get for Table {
    fn get(&self) {}
}

fn main() {}
