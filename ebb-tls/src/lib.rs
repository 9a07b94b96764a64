#![no_std]
#![forbid(unsafe_code)]
//! TLS 1.3 (RFC 8446) over ebb's sockets, the same on both platforms; the protocol is rustls'.
//!
//! ```ignore
//! let certificates = Certificates::new(vec![Identity::from_pem(chain, key)?]);
//! let acceptor = Acceptor::new(ServerSettings::new(certificates.clone()))?;
//! ebb_tls::http::listen(443, acceptor, Limits::default(), answer).await?;
//! // Later, without a restart:
//! certificates.replace(vec![Identity::from_pem(newer, key)?]);
//! ```
//!
//! | file | |
//! |---|---|
//! | `engine.rs` | records in, bytes out, and back: rustls over a connection, without waiting |
//! | `stream.rs` | the connection as programs see it |
//! | `server.rs`, `client.rs` | both sides, and what they may take |
//! | `identity.rs`, `self_signed.rs`, `source.rs` | certificates: by name, exchanged, made, found |
//! | `tickets.rs` | what lets sessions go on |
//! | `primitives.rs` | the one place that names a library of ciphers |
//! | `http.rs` | HTTPS |
//!
//! What must hold: whatever a peer sends, a connection's memory is bounded, and an idle one holds no buffer; a handshake's time is
//! bounded, and how many are under way on a core; no random number comes from a state that a copy of the machine would share.

extern crate alloc;
// The macros name everything through `::ebb`.
extern crate ebb_runtime as ebb;

mod client;
mod engine;
mod error;
pub mod http;
mod identity;
mod primitives;
mod self_signed;
mod server;
mod source;
mod stream;
mod tickets;
mod time;

pub use client::{ClientSettings, Connector};
pub use error::Error;
pub use identity::{Certificates, Identity};
pub use primitives::provider;
pub use self_signed::{SelfSigned, self_signed};
pub use server::{Acceptor, ServerSettings};
pub use source::Source;
pub use stream::TlsStream;
