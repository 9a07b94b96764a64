//! The programs are bootable images.
fn main() {
    ebb_build::images(&["bins"]);
}
