//! Tests that boot an image, and tests that cross crates: see `suite/` and `tests/`.
