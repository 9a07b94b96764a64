//! The programs under `images/` are bootable images.
fn main() {
    ebb_build::images(&["bins"]);
}
