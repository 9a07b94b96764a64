use ebb::component;

#[component]
unsafe trait Store<T>: Iterator
where
    T: Copy,
{
    fn len(&self) -> usize;
}

fn main() {}
