//! The example is a bootable image.
fn main() {
    ebb_build::images(&["examples"]);
}
