use ebb_distributed::remote;
use ebb::ebb;

#[ebb(distributed)]
#[derive(Default)]
struct Table;

#[remote]
impl Table {
    async fn get(&self) -> std::rc::Rc<u8> {
        std::rc::Rc::new(1)
    }
}

fn main() {}
