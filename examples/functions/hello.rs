// Kind rust:1.x:  rustc -O -C panic=abort -o hello hello.rs
use std::fs::File;
use std::io::{BufRead, Write, stdin};

fn main() -> std::io::Result<()> {
    let mut answers = File::options().write(true).open("/dev/fd/3")?;
    for call in stdin().lock().lines() {
        let call = call?;
        let name = call.split_once("\"name\":\"").and_then(|(_, rest)| rest.split('"').next());
        writeln!(answers, "{{\"hello\":\"{}\",\"from\":\"Rust\"}}", name.unwrap_or("world"))?;
    }
    Ok(())
}
