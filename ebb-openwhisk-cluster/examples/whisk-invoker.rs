//! An invoker of an existing OpenWhisk.
//!
//!     cargo hosted whisk-invoker -- --id 0 --kafka HOST:PORT --couchdb http://USER:PASSWORD@HOST:PORT --memory 2G
//!
//! It takes its place among the invokers of a cluster, with the sharding load balancer or (`--scheduler`) with schedulers; `--help` lists
//! the options, and `ebb_openwhisk_cluster` is the crate behind it. Instances are Linux processes, or (`--machines N`) run in
//! virtual machines that it starts.

#![no_main]

use ebb::println;
use ebb_invoker::ServiceOptions;
use ebb_invoker_machines::Fleet;
use ebb_openwhisk_cluster::{Command, HELP, Service};

#[ebb::main(hosted = ebb_invoker_hosted, hosted = ebb_launch)]
async fn main() -> Result<u8, String> {
    let command = match Command::parse(ebb::args().iter().copied(), std::env::vars()) {
        Ok(command) => command,
        Err(why) => {
            println!("whisk-invoker: {why}");
            return Ok(2);
        }
    };
    match command {
        Command::Help => println!("{HELP}"),
        Command::Version => println!("whisk-invoker of ebb {}", env!("CARGO_PKG_VERSION")),
        Command::Serve(options) => {
            // With `--machines` functions run there, else here.
            let fleet = Fleet::start(&ServiceOptions {
                machines: options.machines,
                ..ServiceOptions::default()
            })
            .await?;
            let service = Service::start(*options).await?;
            fleet.warm_up();
            service.announce();
            // Ctrl-C, or SIGTERM.
            ebb::shutdown().await;
            service.stop().await;
            fleet.stop().await;
        }
    }
    Ok(0)
}
