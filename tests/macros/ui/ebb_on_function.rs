use ebb::ebb;

#[ebb(per_core)]
/// Says hello.
pub fn hello() {
    println!("hello");
}

fn main() {
    hello();
}
