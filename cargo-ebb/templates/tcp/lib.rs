//! A key-value store over TCP, one line for each request: `SET KEY VALUE`, `GET KEY`.
//!
//! Every core has a copy of the whole table: reading touches nothing that another core writes, and a write goes to all of them.
#![no_std]

extern crate alloc;

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
};
use core::cell::RefCell;

use ebb::{
    EbbRef, ebb,
    net::{self, tcp::TcpStream},
};

/// The longest line in bytes; a connection that sends a longer one is told so and ended.
pub const LONGEST_LINE: usize = 1024;

/// One core's copy of the table.
#[ebb(per_core)]
#[derive(Default)]
pub struct Table {
    entries: RefCell<BTreeMap<String, String>>,
}

/// The answer to a line.
pub async fn answer(line: &str) -> String {
    let words = line.trim_end().splitn(3, ' ');
    match *words.collect::<alloc::vec::Vec<_>>() {
        ["SET", key, value] => {
            let (key, value) = (key.to_string(), value.to_string());
            let all = EbbRef::<Table>::new();
            let set = move |table: &Table| {
                let mut entries = table.entries.borrow_mut();
                entries.insert(key.clone(), value.clone());
            };
            match all.broadcast(set).await {
                Ok(()) => String::from("OK\n"),
                Err(error) => format!("ERROR {error}\n"),
            }
        }
        ["GET", key] => {
            let table = EbbRef::<Table>::get();
            let entries = table.entries.borrow();
            entries.get(key).map_or_else(
                || String::from("NONE\n"),
                |value| format!("VALUE {value}\n"),
            )
        }
        _ => String::from("ERROR say `SET KEY VALUE` or `GET KEY`\n"),
    }
}

/// Serves a connection until its peer ends it.
///
/// # Errors
/// When the connection fails.
pub async fn serve(stream: &TcpStream) -> net::Result<()> {
    let mut buffer = [0; LONGEST_LINE];
    let mut filled = 0;
    loop {
        while let Some(end) = buffer[..filled].iter().position(|byte| *byte == b'\n') {
            let answer = match core::str::from_utf8(&buffer[..end]) {
                Ok(line) => answer(line).await,
                Err(_) => String::from("ERROR a line is UTF-8 text\n"),
            };
            stream.write_all(answer.as_bytes()).await?;
            buffer.copy_within(end + 1..filled, 0);
            filled -= end + 1;
        }
        if filled == buffer.len() {
            return stream.write_all(b"ERROR the line is too long\n").await;
        }
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            n => filled += n,
        }
    }
}
