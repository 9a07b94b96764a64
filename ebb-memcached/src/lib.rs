#![no_std]
#![forbid(unsafe_code)]
//! memcached: its protocols, a store that all cores read without locks, and a server of them.
//!
//! Bytes in, bytes out. A [`Session`] is given what one client has sent, in whatever pieces it arrived, executes the
//! commands against the [`Store`] and puts the answers into an [`Output`]. It neither waits nor allocates without
//! bound, so the same code runs under a test, a fuzzer, a Linux process and an image. Only [`server`] knows sockets.
//!
//! ```
//! use ebb::quiesce::EventBoundary;
//! use ebb_memcached::{Limits, Output, Session, Store, Time};
//!
//! # let config = ebb_hosted::Config { cores: 1, pin: false };
//! # ebb_hosted::run(&config, || async {
//! let store = Store::<EventBoundary>::new(Limits::default(), 1);
//! let mut session = Session::new(&store, 0);
//! let mut answers = Output::sharing_from(usize::MAX);
//! // Any piece of what a client has sent; it is taken as far as it goes.
//! session.receive(b"set greeting 0 0 5\r\nhello\r\nget gre", Time::new(0, 0), &mut answers);
//! session.receive(b"eting\r\n", Time::new(0, 0), &mut answers);
//! let answers: Vec<u8> = answers.take().into_iter().flatten().collect();
//! assert_eq!(answers, b"STORED\r\nVALUE greeting 0 5\r\nhello\r\nEND\r\n");
//! # });
//! ```
//!
//! Read it in this order:
//!
//! | module | |
//! |---|---|
//! | [`item`] | one key and its value, laid out as the answer to a GET |
//! | [`store`] | the table: reads follow RCU, writes take a shard's lock |
//! | [`sieve`] | which item goes when memory is short |
//! | [`time`] | when an item expires |
//! | [`text`], [`binary`] | the two protocols' grammar |
//! | [`session`] | pieces to commands, commands to answers |
//! | [`output`] | answers: small ones copied together, large ones shared |
//! | [`stats`] | what each core counts |
//! | [`server`] | sockets, tasks and options around all that |
//!
//! The protocols are those of memcached 1.6 (`doc/protocol.txt`, and the binary protocol's wiki page) without its meta
//! commands, UDP and SASL.

extern crate alloc;

pub mod binary;
mod execute;
pub mod item;
pub mod output;
pub mod server;
pub mod session;
pub mod sieve;
pub mod stats;
pub mod store;
pub mod text;
pub mod time;

pub use output::Output;
pub use session::{Progress, Session};
pub use store::{Limits, Store};
pub use time::Time;

/// Longest key, in bytes.
pub const KEY_MAX: usize = 250;

/// What `version` answers.
pub const VERSION: &str = concat!("1.6.0-ebb-", env!("CARGO_PKG_VERSION"));
