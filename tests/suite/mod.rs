//! Tests that run on both platforms: hosted under libtest, native in a test image.

mod dns;
mod events;
mod model;
mod net;
mod sync;
