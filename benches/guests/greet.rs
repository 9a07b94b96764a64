//! A function that is a program: reads a line of JSON for each call and answers one on descriptor 3.

use std::fs::File;
use std::io::{BufRead, Write, stdin};
use std::os::fd::FromRawFd;

fn main() -> std::io::Result<()> {
    // SAFETY: whoever starts it has opened this one for its answers. It may be a socket, which has no path to be opened by.
    let mut answers = unsafe { File::from_raw_fd(3) };
    for call in stdin().lock().lines() {
        let call = call?;
        let name = call.split_once("\"name\":\"").and_then(|(_, rest)| rest.split('"').next());
        writeln!(answers, "{{\"greeting\":\"hello {}\"}}", name.unwrap_or("world"))?;
    }
    Ok(())
}
