//! A program as an image: building it, and where it is then.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use ebb_runner::image::{self, Kind};
use serde_json::Value;

use crate::{
    arguments::Build,
    failure::{Failure, Result, at},
    project::{cargo, list, text},
    run::with_features,
};

/// How much a debugger is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Symbols {
    /// What the project's profile says.
    Profile,
    /// Types and variables too.
    All,
}

/// Builds a program as an image; gives its path.
pub fn build(kind: &str, name: &str, options: &Build, symbols: Symbols) -> Result<PathBuf> {
    let mut command = cargo();
    command
        .args([
            "build",
            kind,
            name,
            "--message-format",
            "json-render-diagnostics",
        ])
        .env("EBB_PLATFORM", "native");
    if options.release {
        command.arg("--release");
    }
    if symbols == Symbols::All {
        // Also of those crates whose types the debugger reads, where a project has less for its dependencies.
        for profile in ["dev", "release"] {
            command.args(["--config", &format!("profile.{profile}.debug = \"full\"")]);
            for package in ["ebb-runtime", "native-target"] {
                let setting = format!("profile.{profile}.package.{package}.debug = \"full\"");
                command.args(["--config", &setting]);
            }
        }
    }
    if let Some(package) = &options.package {
        command.args(["--package", package]);
    }
    with_features(&mut command, options);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(at("Cargo cannot be executed"))?;
    if !output.status.success() {
        return Err(Failure(format!(
            "the image {name} cannot be built (see above); `cargo ebb doctor` looks for what is wrong with the project"
        )));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let found = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|message| {
            text(message, "reason") == "compiler-artifact"
                && text(&message["target"], "name") == name
                && list(&message["target"], "kind")
                    .iter()
                    .any(|k| k == kind.trim_start_matches("--"))
        });
    let path = found.and_then(|message| message["executable"].as_str().map(PathBuf::from));
    let path =
        path.ok_or_else(|| Failure(format!("Cargo does not say where the image {name} is")))?;
    check_image(&path)?;
    Ok(path)
}

/// Without the package's build script a program is linked as a Linux process, and would do its work as one.
///
/// # Errors
/// With what makes it an image.
pub fn check_image(path: &Path) -> Result<()> {
    if let Kind::Image(_) = image::inspect(path)? {
        return Ok(());
    }
    Err(Failure(format!(
        "{} is a Linux program and no image. A package's programs are images by its build.rs:\n\n    \
         fn main() {{\n        ebb_build::images(&[\"bins\", \"examples\"]);\n    }}\n\n\
         with `ebb-build` under [build-dependencies]. `cargo ebb doctor` says what else is missing; `cargo ebb run --hosted` \
         runs it as a Linux process.",
        path.display()
    )))
}
