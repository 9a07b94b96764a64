#![no_std]
//! Elastic Building Blocks: see the README.
