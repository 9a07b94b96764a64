//! Nothing is built here. Cargo asks for a build script where `links` is said, and `links` is how it refuses, with one
//! message that names both, two versions of this crate in one program: each would have an event loop, a current core and
//! components of its own, and a platform provides those of one.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
