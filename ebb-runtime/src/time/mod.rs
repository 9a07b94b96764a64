//! Time: the timer wheel.
pub mod wheel;
