//! An invoker of an existing OpenWhisk.
//!
//!     cargo hosted whisk-invoker -- --id 0 --kafka HOST:PORT --couchdb http://USER:PASSWORD@HOST:PORT --memory 2G
//!
//! It takes its place among the invokers of a cluster with the sharding load balancer; `--help` lists the options, and
//! `ebb_openwhisk_cluster` is the crate behind it. Instances are Linux processes.

#![no_main]

use ebb::println;
use ebb_openwhisk_cluster::{Command, HELP, Service};

#[ebb::main(hosted = ebb_invoker_hosted)]
async fn main() -> Result<(), String> {
    match Command::parse(ebb::args().iter().copied(), std::env::vars())? {
        Command::Help => println!("{HELP}"),
        Command::Serve(options) => {
            let service = Service::start(*options).await?;
            service.announce();
            // Ctrl-C, or SIGTERM.
            ebb::shutdown().await;
            service.stop().await;
        }
    }
    Ok(())
}
