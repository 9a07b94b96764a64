//! Tests that run on both platforms: hosted under libtest, native in a test image.

mod model;
mod net;
mod sync;
