mod options {
    #[ebb::main(cores = 4)]
    async fn main() {}
}

mod crate_as_text {
    #[ebb::main(native = "provider")]
    async fn main() {}
}

mod number {
    #[ebb::main(4)]
    async fn main() {}
}

mod parameters {
    #[ebb::main]
    async fn main<T>(_arguments: Vec<T>) {}
}

mod not_a_function {
    #[ebb::main]
    struct Main;
}

mod qualified {
    #[ebb::main]
    pub unsafe extern "C" fn main() {}
}

fn main() {}
