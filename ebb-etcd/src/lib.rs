//! etcd, for programs that are Linux processes: a client over gRPC, on a thread of its own, and with it the names of a cluster of distributed
//! Ebbs, which several front ends share.
//!
//! # Layers
//! - `outside`: a thread for what wants tokio
//! - `proto`: what travels
//! - `client`: requests, watches, who asks
//! - `names`: the directory's names
//!
//! # Features
//! `client` and `names`; without them there is nothing here. gRPC turns on `std` in crates that images contain, so a program with either is
//! built by itself, apart from images.

// Tests link the components' providers.
#[cfg(test)]
extern crate ebb_hosted as _;

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "names")]
mod names;
#[cfg(feature = "client")]
pub mod outside;
#[cfg(feature = "client")]
pub mod proto;

#[cfg(feature = "names")]
pub use names::EtcdNames;
