//! What `cargo ebb` does, by what it is about: `cargo test -p cargo-ebb --test tool boots::`, `... outside::`. One program, because
//! some of these tests compile, others wait for machines, and Cargo runs programs one after the other.

mod boots;
mod debug;
mod outside;
mod refusals;
