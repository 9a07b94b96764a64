use ebb::ebb;

#[ebb(per_core)]
#[derive(Default)]
struct Parser<'a> {
    text: &'a str,
}

fn main() {
    let _ = Parser { text: "" };
}
