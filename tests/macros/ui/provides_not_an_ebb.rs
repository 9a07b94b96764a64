use ebb::{platform::Entropy, provides};

struct Dice;

#[provides(Entropy)]
impl Entropy for Dice {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(4);
    }
}

fn main() {}
