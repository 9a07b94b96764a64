mod unknown {
    #[ebb::test(threads = 4, core = 2)]
    async fn t() {}
}

mod number {
    #[ebb::test(cores = 65)]
    async fn zero() {}
    #[ebb::test(cores = "2", cores = 2)]
    async fn text() {}
    #[ebb::test(cores)]
    async fn none() {}
}

mod parameters {
    #[ebb::test]
    fn t<T>(_input: u8) {}
}

mod not_a_function {
    #[ebb::test]
    mod tests {}
}

mod numbers {
    #[ebb::test(2)]
    fn alone() {}

    #[ebb::test(cores = )]
    fn missing() {}
}

fn main() {}
