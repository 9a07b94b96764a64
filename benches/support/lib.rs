//! What benches share: sides that take turns in one process ([`compare`]), in an image and in a Linux guest that run to their
//! end ([`machine`]), and in both as servers under load ([`servers`], [`sides`], [`load`], [`get`], [`held`],
//! [`functions`]); [`blocks`], where an image's instructions go; and [`plot`].

pub mod answer;
pub mod blocks;
mod compare;
pub mod functions;
pub mod get;
pub mod held;
pub mod load;
pub mod machine;
pub mod plot;
pub mod servers;
pub mod sides;
pub mod turns;
mod watched;

pub use compare::{Comparison, Side, compare, goal, goal_at_least, median, quick};
