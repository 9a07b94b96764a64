//! What system calls do with objects of any kind.

pub mod poll;
pub(super) mod setup;
pub mod transfer;
