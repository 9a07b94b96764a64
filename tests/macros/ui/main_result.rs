struct Answer;

mod inner {
    #[ebb::main]
    pub async fn start() -> super::Answer {
        super::Answer
    }
}

fn main() {}
