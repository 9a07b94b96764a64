//! The program is a bootable image.
fn main() {
    ebb_build::images(&["bins"]);
}
