ebb::option!("two words", "a number", |value| value.parse::<u64>().is_ok());
ebb::option!("a=b", "a number", |value| value.parse::<u64>().is_ok());
ebb::option!("", "a number", |value| value.parse::<u64>().is_ok());

fn main() {}
