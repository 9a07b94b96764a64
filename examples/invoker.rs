//! A serverless platform: JavaScript arrives over the network and runs on V8, on every core.
//!
//!     cargo run --release --example invoker        as a virtual machine
//!     cargo hosted invoker                         as a Linux process
//!     cargo hosted invoker -- --machines 2         as a Linux process, in front of two such virtual machines
//!
//! It speaks Apache OpenWhisk's REST API, so `wsk`, the npm package `openwhisk` and curl work as they are; the start says
//! with which key. `--help` lists the options; `ebb_invoker` is the crate behind it.
//!
//! A service of your own looks the same. What all platforms share is in a library crate; what differs (here: how an instance
//! of a function is made) is a component of it, and a crate for each platform provides that. `#[ebb::main]` links the one
//! that the program is built for.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use ebb::println;
use ebb_invoker::{Command, HELP, Service};
use ebb_invoker_machines::Fleet;

#[ebb::main(native = ebb_invoker_native, hosted = ebb_invoker_hosted, hosted = ebb_launch)]
async fn main() -> Result<u8, String> {
    let command = match Command::parse(ebb::args()) {
        Ok(command) => command,
        Err(why) => {
            println!("invoker: {why}");
            return Ok(2);
        }
    };
    match command {
        Command::Help => println!("{HELP}"),
        Command::Version => println!("invoker of ebb {}", env!("CARGO_PKG_VERSION")),
        // One action container, for an OpenWhisk that has invokers of its own.
        Command::Container(container) => ebb_invoker::serve_container(container).await?,
        // One of another invoker's machines.
        Command::Machine => ebb_invoker_machines::serve_machine().await?,
        // `ebb-runner bake` starts it so: what every start would make is made once.
        Command::Bake(options) => ebb_invoker::bake(options).await?,
        Command::Serve(options) => {
            // With `--machines` functions run there, else here.
            let fleet = Fleet::start(&options).await?;
            let service = Service::start(options).await?;
            fleet.warm_up();
            service.announce();
            // Ctrl-C, or the machine's power button.
            ebb::shutdown().await;
            // Calls that run come to their end.
            service.stop().await;
            fleet.stop().await;
        }
    }
    Ok(0)
}
