use ebb::ebb;

struct Hits;

#[ebb(per_core)]
impl Hits {
    fn hit(&self) {}
}

fn main() {
    Hits.hit();
}
