use ebb::ebb;

#[ebb(shared)]
trait Hello {
    fn hello(&self);
}

fn main() {}
