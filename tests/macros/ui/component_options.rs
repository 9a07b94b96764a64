use ebb::component;

#[component(dynamic)]
trait Clock {
    fn now(&self) -> u64;
}

#[component(name = "clock")]
trait Watch {
    fn now(&self) -> u64;
}

fn main() {}
