//! The network beyond loopback.
/// The seam.
pub trait Network {}
