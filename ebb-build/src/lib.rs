//! Build-script half of ebb: decides whether a package's programs become bootable images or
//! Linux processes, and passes the linker what that needs.
//!
//! A package that contains images has a `build.rs` of one line, in which
//! `"examples"` or `"bins"`, or both, are what becomes images:
//!
//! ```no_run
//! // The `main` of build.rs:
//! ebb_build::images(&["bins"]);
//! ```
//!
//! The choice reaches `#[ebb::main]` and `#[ebb::test]` as the environment variable
//! `EBB_PLATFORM` (`native` or `hosted`) of the package's compilation, and programs that differ
//! between the two as `cfg(ebb_hosted)`.

mod runner;

use std::{env, fs, path::PathBuf};

const LINKER_SCRIPT: &str = include_str!("../link.ld");

/// Makes this package's targets of these kinds (`"examples"`, `"bins"`) bootable images, unless `EBB_PLATFORM=hosted` is
/// set or the Cargo profile is `hosted`.
///
/// # Panics
/// When not called from a build script.
pub fn images(kinds: &[&str]) {
    println!("cargo::rerun-if-env-changed=EBB_PLATFORM");
    println!("cargo::rustc-check-cfg=cfg(ebb_hosted)");
    let out =
        PathBuf::from(env::var_os("OUT_DIR").expect("ebb_build::images is for build scripts"));
    // OUT_DIR is target/PROFILE/build/PACKAGE-HASH/out; Cargo tells a build script only the
    // profile that ours inherits from.
    let hosted_profile = out
        .ancestors()
        .nth(3)
        .is_some_and(|p| p.ends_with("hosted"));
    let hosted = match env::var("EBB_PLATFORM").as_deref() {
        Ok("hosted") => true,
        Ok("native") => false,
        Ok(other) => {
            println!("cargo::error=EBB_PLATFORM is `{other}`; it can be `native` or `hosted`");
            return;
        }
        Err(_) => hosted_profile,
    };
    if hosted {
        println!("cargo::rustc-env=EBB_PLATFORM=hosted");
        println!("cargo::rustc-cfg=ebb_hosted");
        return;
    }
    println!("cargo::rustc-env=EBB_PLATFORM=native");
    runner::warn_without(&out);
    let script = out.join("link.ld");
    fs::write(&script, LINKER_SCRIPT).expect("writing the linker script to OUT_DIR");
    for kind in kinds {
        // Not `-static`: an image is that because it names no shared library. `cargo test` compiles
        // examples with unwinding, for which `#[ebb::main]` takes the hosted platform; those are
        // linked to be checked and never run, and need the C library.
        for arg in ["-nostartfiles", "-nostdlib", "-no-pie"] {
            println!("cargo::rustc-link-arg-{kind}={arg}");
        }
        println!("cargo::rustc-link-arg-{kind}=-Wl,-T,{}", script.display());
    }
}
