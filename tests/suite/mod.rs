//! Tests that run on both platforms: hosted under libtest, native in a test image.

mod model;
// In an image once the native network provides its component.
#[cfg(test)]
mod net;
mod sync;
