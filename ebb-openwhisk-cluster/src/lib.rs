//! An invoker of an existing Apache OpenWhisk: activations come from Kafka, and run on the instances that the REST invoker has
//! ([`ebb_invoker`]). `examples/whisk-invoker.rs` is the program; the book's chapter on it is for those who run an OpenWhisk.
//!
//! # Principles
//! 1. The reference decides: apache/openwhisk's sources, named where they did. Where this differs, it says so.
//! 2. Messages and documents are parsed and serialised without I/O ([`message`], [`document`]); the invoker meets the bus, the
//!    database and what runs calls through traits ([`seam`]), so all of it runs in tests without any of them.
//! 3. A message that can be read ends in exactly one acknowledgement that frees its slot.
//! 4. Whatever is away, memory stays bounded: nothing is taken from the topic beyond what may run at once.
//!
//! # Layers
//! - `size`: amounts of memory as text
//! - `message`: what travels over the bus
//! - `encryption`: parameters that are encrypted
//! - `document`: documents of actions
//! - `counts`: figures
//! - `seam`: the bus, the database, what runs calls
//! - `cache`, `records`: actions that were fetched; records on their way
//! - `invoker`: messages in, acknowledgements and records out
//! - `kafka`, `couchdb`: the real bus and database
//! - `options`: the command line and the environment
//! - `service`: all of it, from start to end

// Tests link the components' providers.
#[cfg(test)]
extern crate ebb_hosted as _;

pub mod cache;
pub mod couchdb;
pub mod counts;
pub mod document;
pub mod encryption;
pub mod invoker;
pub mod kafka;
pub mod message;
pub mod options;
pub mod records;
pub mod seam;
pub mod service;
pub mod size;

pub use options::{Command, HELP, Options};
pub use service::Service;
