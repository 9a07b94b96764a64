//! What Linux' system-call interface says in numbers and layouts, without behaviour.

pub mod clone;
pub mod errno;
pub mod exit;
pub mod flags;
pub mod limit;
pub mod signal;
