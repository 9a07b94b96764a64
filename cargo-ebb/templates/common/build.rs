//! Programs and the image of the tests become bootable images, or Linux processes with `cargo ebb run --hosted`.
fn main() {
    ebb_build::images(&["bins", "examples"]);
}
