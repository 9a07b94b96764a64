use ebb::component;

#[component]
trait Everything {
    const SIZE: usize;
    type Item;
    async fn wait(&self);
    fn map<T>(&self, value: T);
    fn by_value(self);
    fn exclusive(&mut self);
    fn boxed(self: Box<Self>);
    fn make() -> u32;
    unsafe fn raw(&self, at: *mut u8);
    extern "C" fn foreign(&self);
    fn print(&self, what: impl ToString) -> impl Iterator<Item = u8>;
    fn bounded(&self)
    where
        Self: Sized;
    #[cfg(unix)]
    fn sometimes(&self);
}

fn main() {}
