#![no_std]
//! Ebbs that span machines: methods of an Ebb on another node, as futures with typed failures.
//!
//! - [`connection`]: one connection as a state machine without I/O. Everything that is promised about calls holds there.
//! - [`frame`]: what travels.
//! - [`channel`]: what protects it.
//! - [`directory`]: names, with leases and epochs.
//! - [`launch`]: machines that a program starts, and that end with it.
//! - `sim` (feature `sim`): many connections in virtual time, with faults from a seed. Whole programs run so by the crate `ebb-sim`.

extern crate alloc;
// The macros name everything through `::ebb`.
extern crate ebb_runtime as ebb;
extern crate self as ebb_distributed;

#[cfg(any(test, feature = "sim"))]
mod chance;
pub mod channel;
mod cipher;
pub mod connection;
pub mod directory;
mod down;
mod events;
mod failure;
pub mod frame;
mod ids;
pub mod launch;
mod link;
mod node;
mod options;
pub mod placement;
mod remote;
pub mod service;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod up;
mod value;

pub use crate::{
    channel::Key,
    connection::Limits,
    down::{Over, Sink, Stream},
    failure::{Failure, NotSent},
    launch::{Nodes, Start},
    node::{Config, NodeId, State, Watch, forget, introduce, join, nodes, this_node, watch},
    options::join_by_options,
    remote::{At, Distributed, Remote, RemoteRef},
    up::{Feed, Items, Upload},
    value::{Blob, BlobStore, Blobs, NoPayload, Value, from_payload, hash, to_payload},
};

pub use ebb_macros::remote;

/// What the macros' output uses. Not for anybody else.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        remote::answering,
        service::{Answering, Incoming},
    };
    pub use ebb_runtime::EbbRef;
}
