//! Builds the programs as images, and says in plain words what the compiler and the linker say.

use std::{path::Path, process::Stdio};

use ebb_runner::image::{self, Kind};
use serde_json::Value;

use super::finding::Finding;
use crate::{
    failure::{Result, at},
    project::{Project, cargo, text},
    say::say,
};

/// What was found before the build, of which it may be a consequence that this fails.
#[derive(Clone, Copy, Default)]
pub struct Known {
    /// The build script does not make the programs images: they are linked as Linux processes, with `std`.
    pub is_no_image: bool,
    /// A dependency brings `std`.
    pub has_std: bool,
}

/// Builds the package's programs, and looks at what came of it.
pub fn build(project: &Project, known: Known) -> Result<Vec<Finding>> {
    say!("  ...    building the programs as images");
    let output = cargo()
        .args([
            "build",
            "--bins",
            "--message-format",
            "json-render-diagnostics",
            "--color",
            "never",
        ])
        .args(["--package", project.name(), "--manifest-path"])
        .arg(project.manifest())
        .env("EBB_PLATFORM", "native")
        .stdin(Stdio::null())
        .output()
        .map_err(at("Cargo cannot be executed"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Ok(explained(&said, known));
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let programs = messages.filter_map(|message| {
        let own = text(&message, "package_id") == text(project.package(), "id");
        message["executable"]
            .as_str()
            .filter(|_| own)
            .map(str::to_owned)
    });
    let mut findings = Vec::new();
    for program in programs {
        match image::inspect(Path::new(&program)) {
            Ok(Kind::Image(_)) => say!("  ok     {program} is an image"),
            Ok(Kind::Other) => findings.push(Finding::new(
                format!("{program} is no image"),
                "see above for its profile and its build script; `#[ebb::main]` has to be on its main function",
            )),
            Err(failure) => findings.push(Finding::new(failure.message, "see above for its build script")),
        }
    }
    Ok(findings)
}

/// What a failed build means, beside what is known; nothing if that is why.
fn explained(said: &str, known: Known) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut told = Vec::new();
    for line in said.lines() {
        let Some((_, rest)) = line.split_once("ebb component ") else {
            continue;
        };
        let component = rest.split(':').take(3).collect::<Vec<_>>().join(":");
        let name = component
            .rsplit_once(": ")
            .map_or(&*component, |(name, _)| name)
            .to_owned();
        let twice = rest.contains("provided twice") || rest.contains("two defaults");
        if told.contains(&(name.clone(), twice)) {
            continue;
        }
        told.push((name.clone(), twice));
        findings.push(if twice {
            Finding::new(
                format!("the component {name} has two providers"),
                format!("link one crate that says `#[provides(..)]` for it; the linker names both:\n{}", around(said, line)),
            )
        } else {
            Finding::new(
                format!("the component {name} has no provider"),
                "link a crate that provides it: name it in `#[ebb::main(native = CRATE)]`, or say `#[provides(..)]` yourself",
            )
        });
    }
    let doubled = [
        "an_image_has_no_std",
        "duplicate lang item",
        "found duplicate",
    ];
    if doubled.iter().any(|sign| said.contains(sign)) {
        let which = match known {
            Known { has_std: true, .. } => "see above which",
            Known {
                is_no_image: true, ..
            } => return findings,
            _ => "`cargo tree -e features` shows which",
        };
        findings.push(Finding::new(
            "a dependency brings `std` along, and an image has none",
            format!("{which}; it is to be taken with `default-features = false`"),
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::new(
            "the programs cannot be built",
            said.trim_end(),
        ));
    }
    findings
}

/// The lines of the linker's message beside one of them.
fn around(said: &str, line: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    let at = lines.iter().position(|other| *other == line).unwrap_or(0);
    lines[at.saturating_sub(1)..lines.len().min(at + 3)].join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Known, explained};

    #[test]
    fn what_the_linker_says_of_a_component_is_told_once() {
        let said = "rust-lld: error: undefined symbol: ebb component horn::Horn: method blow (link exactly one crate ...)\n\
                    rust-lld: error: undefined symbol: ebb component horn::Horn: method name (link exactly one crate ...)\n";
        assert_eq!(explained(said, Known::default()).len(), 1);
        let said = "rust-lld: error: duplicate symbol: ebb component horn::Horn: provided twice (link exactly one ...)\n>>> a\n>>> b\n";
        assert_eq!(explained(said, Known::default()).len(), 1);
        assert_eq!(explained("error: no such thing", Known::default()).len(), 1);
    }

    #[test]
    fn a_program_that_is_no_image_is_not_said_to_have_a_dependency_with_std() {
        let said = "error: found duplicate lang item `panic_impl`";
        let known = |is_no_image, has_std| Known {
            is_no_image,
            has_std,
        };
        assert!(explained(said, known(true, false)).is_empty());
        for known in [known(false, false), known(false, true), known(true, true)] {
            assert_eq!(explained(said, known).len(), 1);
        }
    }
}
