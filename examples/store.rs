//! Values that survive the end of the machine, whichever way it ends.
//!
//! `cargo run --release --example store -- put greeting hello`, then `-- get greeting`, `-- list`, `-- delete greeting`. The
//! values are in the file `store.img` (`EBB_DISK` names another), for an image as for a Linux process:
//! `EBB_DISK=store.img cargo hosted store -- get greeting` finds them too.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::{boxed::Box, string::String};
use core::error::Error;

use ebb::println;
use ebb_store::{Batch, OpenError, Store};

ebb_archive::variables!("EBB_DISK=store.img,size=64M");

/// How often the store was opened.
const STARTS: &str = "starts";

const USAGE: &str = "usage: store put KEY VALUE | get KEY | delete KEY | list";

#[ebb::main]
async fn main() -> Result<u8, Box<dyn Error>> {
    // Before a disk is made, or a start counted.
    match ebb::args() {
        ["-h" | "--help"] => {
            println!("{USAGE}");
            return Ok(0);
        }
        ["-V" | "--version"] => {
            println!("store of ebb {}", env!("CARGO_PKG_VERSION"));
            return Ok(0);
        }
        ["put", _, _] | ["get" | "delete", _] | ["list"] => {}
        _ => {
            println!("{USAGE}");
            return Ok(2);
        }
    }
    let (store, report) = match Store::open_disk(0).await {
        Err(OpenError::Device(ebb_block::Error::Missing)) => {
            println!("there is no disk: EBB_DISK=FILE names one");
            return Ok(1);
        }
        opened => opened?,
    };
    // What can no longer be read is named, and everything else is served.
    for damage in &report.damage {
        println!("damaged: {damage:?}");
    }
    let status = act(&store, ebb::args()).await?;
    // What was committed is safe without this, too; it makes the next opening faster.
    store.close().await?;
    Ok(status)
}

async fn act(store: &Store, arguments: &[&str]) -> Result<u8, Box<dyn Error>> {
    let starts = match store.get(STARTS).await? {
        Some(text) => String::from_utf8(text)?.parse()?,
        None => 0u64,
    } + 1;
    let mut batch = Batch::default();
    batch.put(STARTS, alloc::format!("{starts}"));
    let mut status = 0;
    match arguments {
        ["put", key, value] => batch.put(alloc::format!("value/{key}"), *value),
        ["delete", key] => batch.delete(alloc::format!("value/{key}")),
        ["get", key] => match store.get(alloc::format!("value/{key}")).await? {
            Some(value) => println!("{}", String::from_utf8_lossy(&value)),
            None => {
                println!("there is no {key}");
                status = 1;
            }
        },
        _ => {
            for key in store.keys("value/") {
                println!("{}", String::from_utf8_lossy(&key["value/".len()..]));
            }
        }
    }
    // All of a batch or nothing: it is there when `commit` has ended, whatever happens then.
    store.commit(batch).await?;
    println!("start {starts}");
    Ok(status)
}
