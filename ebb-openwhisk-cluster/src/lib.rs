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
//! - `size`: amounts of memory and times as text
//! - `message`: what travels over the bus
//! - `keys`: names in etcd
//! - `encryption`: parameters that are encrypted
//! - `document`: documents of actions
//! - `counts`: figures
//! - `seam`: the bus, the database, what runs calls, the directory, schedulers
//! - `cache`, `records`: actions that were fetched; records on their way
//! - `book`: how much of what controllers are told may be on its way
//! - `acknowledging`: what controllers are told
//! - `invoker`: messages in, acknowledgements and records out
//! - `health`: how well it is, in scheduler mode
//! - `pool`: containers that ask schedulers for activations
//! - `warm`: connections to schedulers
//! - `kafka`, `couchdb`: the real bus and database
//! - `options`: the command line and the environment
//! - `proto`: what travels over gRPC to schedulers
//! - `etcd`, `grpc`: the real directory and schedulers
//! - `service`: all of it, from start to end

//! # Features
//! `scheduler`: scheduler mode, with gRPC. `pool` and `health`, which it stands on, are there without it.

// Tests link the components' providers.
#[cfg(test)]
extern crate ebb_hosted as _;

mod acknowledging;
mod book;
pub mod cache;
pub mod couchdb;
pub mod counts;
pub mod document;
pub mod encryption;
#[cfg(feature = "scheduler")]
pub mod etcd;
#[cfg(feature = "scheduler")]
pub mod grpc;
pub mod health;
pub mod invoker;
pub mod kafka;
pub mod keys;
pub mod message;
pub mod options;
pub mod pool;
#[cfg(feature = "scheduler")]
pub mod proto;
pub mod records;
pub mod seam;
pub mod service;
pub mod size;
pub mod warm;

pub use options::{Command, HELP, Options};
pub use service::Service;
