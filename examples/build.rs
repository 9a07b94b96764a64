//! The examples are bootable images.
fn main() {
    ebb_build::images(&["examples"]);
}
