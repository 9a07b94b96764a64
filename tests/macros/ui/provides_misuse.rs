use ebb::{platform::Entropy, provides};

struct Dice;

#[provides]
impl Entropy for Dice {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(4);
    }
}

struct Coin;

#[provides(Entropy, instance = &Coin)]
impl Coin {
    fn toss(&self) {}
}

#[provides(Entropy, instance = &Coin)]
impl Clone for Coin {
    fn clone(&self) -> Self {
        Coin
    }
}

#[provides(Entropy, instance)]
fn random() -> u8 {
    4
}

#[provides(Entropy, 4)]
impl Entropy for Coin {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(4);
    }
}

struct Wheel<T>(T);

#[provides(Entropy, defaults, instance = &Wheel(7), instance = &Wheel(8), default, default)]
impl<T> Entropy for Wheel<T> {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(4);
    }
}

fn main() {
    Coin.toss();
}
