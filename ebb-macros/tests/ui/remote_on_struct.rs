use ebb_distributed::remote;
use ebb::ebb;

#[ebb(shared)]
#[derive(Default)]
struct Table;

#[remote]
struct Other;

fn main() {}
