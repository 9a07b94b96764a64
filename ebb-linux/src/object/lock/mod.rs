//! Locks on files: who has which, as data.

pub mod flock;
pub mod record;

pub use flock::Flock;
