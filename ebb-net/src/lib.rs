#![no_std]
//! The network as programs see it: asynchronous sockets, names, HTTP/1.1.
//!
//! [`tcp`], [`udp`] and [`dns`] are what a program uses, and [`vsock`] towards a virtual machine's host. They are the same on both platforms: below
//! them is one component, [`NetStack`], whose provider is bound by the linker. The hosted platform
//! provides it over Linux sockets; an image links the stack of `ebb-netstack`.
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
mod lend;
mod outside;
mod socket;
mod stream;
pub mod tcp;
pub mod udp;
pub mod vsock;
mod wakers;

pub use backend::{
    BindAddress, CardConfiguration, Configuration, Datagram, Interest, KeepAlive, NetStack,
    NetStackLinked, Ready, Report, SocketId, TcpInfo, TcpOption, UdpOption, configuration,
    path_mtu, register_configuration, settled,
};
pub use bytes::{Buf, Bytes};
pub use error::{Error, Result};
pub use outside::{reached_at, unreached};
pub use stream::{Layer, Stream};
pub use wakers::{Direction, SocketWakers, WakerSet};
