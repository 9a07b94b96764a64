#![no_std]
//! Machines as the invoker's back end: calls of functions are placed on several machines, behind one front door.
//!
//! The front end (its API, its actions, its records) is `ebb-invoker`'s, and so are scheduling and instances on each machine; here is what
//! lies between them. A machine serves the Ebb [`Machine`], over which it is told functions and makes calls of them; [`Machines`] is the
//! back end ([`ebb_invoker::back_end::BackEnd`]) that any front end in a program of the cluster may use:
//!
//! ```no_run
//! use ebb_distributed::{Config, Key, NodeId, introduce, join};
//! use ebb_invoker::back_end::BackEnd;
//! use ebb_invoker_machines::Machines;
//!
//! # async fn front_end(key: Key, call: ebb_openwhisk::call::Call) -> Result<(), ebb::net::Error> {
//! let _server = join(Config::new(NodeId(0), key, ([127, 0, 0, 1], 0))).await?;
//! introduce(NodeId(1), ([10, 0, 0, 1], 7000).into());
//! let machines = Machines::default();
//! machines.add(NodeId(1), "first");
//! match machines.execute(&call).await {
//!     Ok(outcome) => ebb::println!("{:?}", outcome.outcome),
//!     Err(lost) if lost.may_have_run => ebb::println!("it may have run: {}", lost.why),
//!     Err(lost) => ebb::println!("it has not run, and can be made elsewhere: {}", lost.why),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | module | |
//! |---|---|
//! | [`wire`] | what travels |
//! | `functions` | what a machine has been told |
//! | [`machine`] | the machine's side |
//! | `choose` | which machine a call goes to |
//! | [`machines`] | the front end's side |
//! | `near`, [`relay`] | snapshots that machines have of one another: the machine's side, and what the front end passes on |
//! | `places` | how many of them at once |
//! | `fleet` | starting, replacing and restarting the machines of one invoker |

extern crate alloc;

// Tests link the components' providers.
#[cfg(test)]
extern crate ebb_hosted as _;

mod choose;
mod fleet;
mod functions;
pub mod machine;
pub mod machines;
mod near;
mod places;
pub mod relay;
pub mod wire;

pub use fleet::{Fleet, serve_machine};
pub use machine::Machine;
pub use machines::Machines;
pub use near::serve;
