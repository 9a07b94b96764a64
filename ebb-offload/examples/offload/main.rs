//! An image searches the user's files, which it has none of: it asks the front end for them, a Linux process.
//!
//! `ebb-offload/examples/offload/run WORD [DIRECTORY]` is all to see it: it builds the image and the front end, which starts a machine
//! with the image. The machine reads the directory's files over the network, and the front end prints the lines that it found.
//!
//! The same source is both. What they say to each other is in `search.rs`: the front end calls `Search` on the machine, and the
//! machine calls `Files` and `FrontEnd` on the front end.

#![no_std]
#![no_main]

extern crate alloc;

mod search;

use alloc::{format, string::String};

use ebb::{EbbRef, println};
use ebb_distributed::{Limits, NodeId, Nodes, RemoteRef, Start, join_by_options};
use ebb_offload::Share;
use search::{Found, Search};

const USAGE: &str = "usage: offload front IMAGE WORD DIRECTORY   starts a machine, which searches the files in the directory\n       \
     offload back                         is that machine";

// What a Linux process is able to, and an image is not: to start machines, and to open files.
#[ebb::main(hosted = ebb_launch, hosted = ebb_offload_hosted)]
async fn main() -> Result<u8, String> {
    match ebb::args() {
        ["front", image, word, directory] => front(image, word, directory).await,
        ["back"] => back().await,
        other => {
            println!("{USAGE}");
            Ok(if let ["--help" | "-h"] = other { 0 } else { 2 })
        }
    }
}

/// The Linux process.
async fn front(image: &str, word: &str, directory: &str) -> Result<u8, String> {
    // Only this directory, only to be read, and only this variable; for whoever has the cluster's key, which is the machine.
    Share::new().directory(directory).variable("USER").serve()?;
    let start = Start::new(image)
        .argument("back")
        .setting("EBB_CORES", "1")
        .setting("EBB_MEMORY", "128M");
    let nodes = Nodes::start(start, 1).await?;
    let machine = nodes.nodes()[0];
    let mut found = EbbRef::<Search>::new().at(machine).lines(word.into());
    let mut count = 0;
    while let Some(line) = found.next().await {
        match line.map_err(|failure| format!("the search: {failure}"))? {
            Found::Line { path, number, text } => {
                count += 1;
                println!("{path}:{number}: {text}");
            }
            Found::Skipped { path, why } => println!("{path}: {why}"),
            Found::End { files, bytes, user } => {
                println!("{count} lines in {files} files of {user}, {bytes} bytes");
            }
        }
    }
    // The machine ends with `nodes`.
    Ok(0)
}

/// The image.
async fn back() -> Result<u8, String> {
    EbbRef::<Search>::new().serve();
    let server = join_by_options(Limits::default()).await?;
    server
        .failed()
        .await
        .map_err(|error| format!("the listener failed: {error}"))?;
    Ok(0)
}

/// The front end, which started the machine: [`Nodes::start`] gives it this number.
pub const FRONT_END: NodeId = NodeId(0);
