//! What benches share: sides that take turns in one process ([`compare`]), in an image and in a Linux guest that run to their
//! end ([`machine`]), and in both as servers under load ([`servers`], [`sides`], [`load`], [`get`]).

pub mod answer;
mod compare;
pub mod get;
pub mod load;
pub mod machine;
pub mod servers;
pub mod sides;

pub use compare::{Comparison, Side, compare, goal, goal_at_least, median, quick};
