#![no_std]
//! The network: asynchronous sockets, and the TCP/IP stack and drivers beneath them.
//!
//! [`tcp`], [`udp`] and [`dns`] are what a program uses. They are the same on both platforms: below
//! them is one component, [`NetStack`], whose provider is bound by the linker. The hosted platform
//! provides it over Linux sockets; the native one provides the stack of this crate.
//!
//! Sockets belong to the core that made them and are neither `Send` nor `Sync`. A connection stays on
//! its core for life; [`tcp::listen_on_all_cores`] serves on every core.

extern crate alloc;
// The macros name everything through `::ebb`.
extern crate ebb_runtime as ebb;

mod backend;
pub mod dns;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
#[doc(hidden)]
pub mod native;
mod stack;
pub mod tcp;
pub mod udp;
mod virtio;
mod wakers;

pub use backend::{
    Configuration, Interest, NetStack, NetStackLinked, Ready, SocketId, TcpOption, configuration,
};
pub use bytes::{Buf, Bytes};
pub use error::{Error, Result};
pub use stack::host::Stats;
pub use wakers::{Direction, SocketWakers, WakerSet};

/// What `provide_native_stack` uses. Not for anybody else.
#[doc(hidden)]
pub mod __private {
    pub use alloc::collections::VecDeque;

    pub use bytes::Bytes;
}
