#![no_std]
//! See the crate's description.
