//! `cargo ebb doctor`: everything that is wrong with a project, where, and what to do about it; `--fix` does what it can.
//!
//! | file | what it looks at |
//! |---|---|
//! | `finding.rs` | what is reported, and how |
//! | `manifest.rs` | Cargo.toml and build.rs: crates, build script, profiles, programs that `cargo test` would run |
//! | `config.rs` | Cargo's configuration: what starts images, flags that break them; compiler and QEMU |
//! | `graph.rs` | what is linked: two versions of a crate, dependencies with `std` |
//! | `build.rs` | what the compiler and the linker say, in plain words |

mod build;
mod config;
mod finding;
mod graph;
mod manifest;

use std::process::ExitCode;

use finding::Finding;

use crate::{
    arguments::Doctor,
    failure::Result,
    project::{Depth, Project},
    say::say,
};

/// A question, as it reads when all is well, and what looks for its answer.
type Check = (&'static str, fn(&Project) -> Result<Vec<Finding>>);

const BUILD_SCRIPT: &str = "the build script makes programs images";
const STD: &str = "no dependency of images brings `std`";

const CHECKS: [Check; 10] = [
    ("the compiler can build images", config::compiler),
    ("QEMU is there to boot them", config::qemu),
    (
        "the package depends on ebb and on both platforms",
        manifest::crates,
    ),
    (BUILD_SCRIPT, manifest::build_script),
    (
        "panics abort in every profile of images",
        manifest::profiles,
    ),
    (
        "`cargo test` runs no program in place of its tests",
        manifest::programs,
    ),
    ("`cargo run` knows what starts images", config::runner),
    ("no flag of the compiler breaks images", config::flags),
    ("there is one version of each crate of ebb", graph::versions),
    (STD, graph::std),
];

/// Looks at the project, and says what it finds.
///
/// # Errors
/// When there is no project. What is wrong with one is the exit status.
pub fn doctor(options: &Doctor) -> Result<ExitCode> {
    let manifest = options.manifest_path.as_deref();
    let mut project = Project::find(manifest, None, Depth::Dependencies)?;
    say!("{} ({})", project.name(), project.manifest().display());
    let (mut wrong, mut mended, mut can_mend) = (0, 0, false);
    // What a failed build is a consequence of.
    let (mut is_no_image, mut has_std) = (false, false);
    for (right, check) in CHECKS {
        let findings = check(&project)?;
        if findings.is_empty() {
            say!("  ok     {right}");
        }
        let mut again = false;
        for finding in findings {
            let done = finding.report(options.fix)?;
            can_mend |= finding.is_mendable() && !done;
            again |= done;
            mended += u32::from(done);
            wrong += u32::from(!done);
            is_no_image |= !done && right == BUILD_SCRIPT;
            has_std |= !done && right == STD;
        }
        if again {
            // What was mended changes what Cargo knows.
            project = Project::find(manifest, None, Depth::Dependencies)?;
        }
    }
    if !options.no_build {
        let known = build::Known {
            is_no_image,
            has_std,
        };
        for finding in build::build(&project, known)? {
            finding.report(false)?;
            wrong += 1;
        }
    }
    let mendable = if can_mend {
        "; `cargo ebb doctor --fix` mends what says so"
    } else {
        ""
    };
    match (wrong, mended) {
        (0, 0) => say!("nothing is wrong"),
        (0, n) => say!("mended {n}; nothing else is wrong"),
        (n, 0) => say!("{n} wrong{mendable}"),
        (n, m) => say!("mended {m}; {n} wrong"),
    }
    Ok(if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
