use ebb::{component, provides};

#[component]
trait Horn {
    fn blow(&self);
}

struct Brass;

#[provides(Horn, default, instance = &Brass)]
impl Horn for Brass {
    fn blow(&self) {}
}

fn main() {}
