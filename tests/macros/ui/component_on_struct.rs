use ebb::component;

#[component]
struct Console;

fn main() {}
