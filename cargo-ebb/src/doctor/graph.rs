//! What an image would link: packages twice, and packages with `std`.
//!
//! Whether a crate is without `std` stands in its own first file (`#![no_std]`, or a condition with a feature), and which
//! features it has is what Cargo says. Two crates reach `std` on purpose: the hosted platform, which no image links, and what
//! runs in the compiler.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::finding::Finding;
use crate::{
    failure::{Failure, Result, at},
    project::{Project, cargo, list, text},
};

/// The packages of the graph.
struct Graph<'p> {
    packages: BTreeMap<&'p str, &'p Value>,
    nodes: BTreeMap<&'p str, &'p Value>,
}

impl<'p> Graph<'p> {
    fn of(project: &'p Project) -> Self {
        let by_id = |values: &'p [Value]| values.iter().map(|v| (text(v, "id"), v)).collect();
        Self {
            packages: by_id(list(project.metadata(), "packages")),
            nodes: by_id(list(&project.metadata()["resolve"], "nodes")),
        }
    }

    fn package(&self, id: &str) -> &'p Value {
        self.packages.get(id).copied().unwrap_or(&Value::Null)
    }

    /// What an image of this package links, by who depends on it.
    fn linked(&self, root: &'p str) -> BTreeMap<&'p str, BTreeSet<&'p str>> {
        let mut linked: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut left = vec![root];
        while let Some(id) = left.pop() {
            let Some(node) = self.nodes.get(id) else {
                continue;
            };
            for dependency in list(node, "deps") {
                // `null` is the kind of ordinary ones.
                let ordinary = list(dependency, "dep_kinds")
                    .iter()
                    .any(|k| k["kind"].is_null() && applies(text(k, "target")));
                let to = text(dependency, "pkg");
                let package = self.package(to);
                if !ordinary || text(package, "name") == "ebb-hosted" || library(package).is_none()
                {
                    continue;
                }
                let known = linked.contains_key(to);
                linked.entry(to).or_default().insert(id);
                if !known {
                    left.push(to);
                }
            }
        }
        linked
    }
}

/// Whether a dependency for some targets only is one for images.
fn applies(target: &str) -> bool {
    ![
        "windows", "macos", "wasm", "hermit", "wasi", "aarch64", "loom",
    ]
    .iter()
    .any(|other| target.contains(other))
        || target.contains("not(")
}

/// The library of a package, if it is one that images link.
fn library(package: &Value) -> Option<&Value> {
    let mut targets = list(package, "targets").iter();
    targets.find(|t| {
        list(t, "kind")
            .iter()
            .any(|kind| kind == "lib" || kind == "rlib")
    })
}

/// Does a program have two versions of a crate of ebb?
pub fn versions(project: &Project) -> Result<Vec<Finding>> {
    let graph = Graph::of(project);
    let linked = graph.linked(text(project.package(), "id"));
    let mut of_name: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for id in linked.keys() {
        let package = graph.package(id);
        of_name
            .entry(text(package, "name"))
            .or_default()
            .push(package);
    }
    let mut findings = Vec::new();
    for (name, packages) in of_name {
        if packages.len() < 2 || !(name.starts_with("ebb-") || name == "native-target") {
            continue;
        }
        let each = packages.iter().map(|package| {
            let by = linked[text(package, "id")]
                .iter()
                .map(|id| described(graph.package(id)));
            format!(
                "{} (wanted by {})",
                described(package),
                by.collect::<Vec<_>>().join(", ")
            )
        });
        findings.push(Finding::new(
            format!("there are two of `{name}`, each with components and Ebbs of its own: {}", each.collect::<Vec<_>>().join("; ")),
            "make all of them want the same version from the same place: `cargo tree -d` shows them",
        ));
    }
    Ok(findings)
}

fn described(package: &Value) -> String {
    let (name, version) = (text(package, "name"), text(package, "version"));
    match package["source"].as_str() {
        Some(_) => format!("{name} {version}"),
        None => format!(
            "{name} {version} of {}",
            text(package, "manifest_path").trim_end_matches("/Cargo.toml")
        ),
    }
}

/// What a crate's first file says about `std`.
#[derive(Debug, PartialEq, Eq)]
enum Std {
    Never,
    /// With this feature.
    With(String),
    Always,
}

/// Reads a crate's first file.
fn reads(text: &str) -> Std {
    let mut conditional = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#![no_std]") {
            // Many bring it back: `#[cfg(feature = "std")] extern crate std;`
            let brings = text.contains("extern crate std") && text.contains("feature = \"std\"");
            return if brings {
                Std::With("std".into())
            } else {
                Std::Never
            };
        }
        if line.starts_with("#![cfg_attr(") && line.contains("no_std") {
            let feature = line
                .split("not(feature = \"")
                .nth(1)
                .or_else(|| line.split("feature = \"").nth(1));
            conditional = Some(match feature.and_then(|rest| rest.split('"').next()) {
                Some(feature) => Std::With(feature.into()),
                // For tests, documentation and the like.
                None => Std::Never,
            });
        }
    }
    conditional.unwrap_or(Std::Always)
}

/// Does a dependency bring `std` into images?
pub fn std(project: &Project) -> Result<Vec<Finding>> {
    let graph = Graph::of(project);
    let root = text(project.package(), "id");
    let features = features(project)?;
    let mut findings = Vec::new();
    for (id, by) in graph.linked(root) {
        let package = graph.package(id);
        let name = text(package, "name");
        let Some(library) = library(package) else {
            continue;
        };
        let Ok(code) = std::fs::read_to_string(text(library, "src_path")) else {
            continue;
        };
        let key = (name.to_owned(), text(package, "version").to_owned());
        let wants = |feature: &str| features.get(&key).is_some_and(|own| own.contains(feature));
        match reads(&code) {
            Std::With(feature) if wants(&feature) => {
                let by: Vec<String> = by
                    .iter()
                    .filter_map(|id| turns_on(graph.package(id), package, &feature))
                    .collect();
                let whom = if by.is_empty() {
                    "something else in the workspace".to_owned()
                } else {
                    by.join(", ")
                };
                findings.push(Finding::new(
                    format!("`{}` has `std` by its feature `{feature}`, which is turned on by {whom}", described(package)),
                    format!("write `{name} = {{ version = \"..\", default-features = false }}` there, with the features that are needed; `cargo tree -e features -i {name}` shows who asks for what"),
                ));
            }
            Std::Always => {
                let by: Vec<String> = by.iter().map(|id| described(graph.package(id))).collect();
                findings.push(Finding::new(
                    format!("`{}` cannot do without `std`, which an image has not; it is wanted by {}", described(package), by.join(", ")),
                    "take a crate that says `#![no_std]`, or turn off the feature that wants this one",
                ));
            }
            _ => {}
        }
    }
    Ok(findings)
}

/// The features with which programs link each package, by name and version. (`cargo metadata` would add those of what runs in
/// the compiler.)
fn features(project: &Project) -> Result<BTreeMap<(String, String), BTreeSet<String>>> {
    let output = cargo()
        .args([
            "tree",
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
            "--no-dedupe",
            "--target",
            "x86_64-unknown-linux-gnu",
        ])
        .args([
            "--format",
            "{p}|{f}",
            "--package",
            project.name(),
            "--manifest-path",
        ])
        .arg(project.manifest())
        .output()
        .map_err(at("Cargo cannot be executed"))?;
    if !output.status.success() {
        return Err(Failure(
            String::from_utf8_lossy(&output.stderr)
                .trim_end()
                .to_owned(),
        ));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let mut all: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for line in said.lines() {
        // `NAME vVERSION (PATH)|FEATURE,FEATURE`
        let Some((package, features)) = line.rsplit_once('|') else {
            continue;
        };
        let mut words = package.split(' ');
        if let Some((name, version)) = words.next().zip(words.next()) {
            let key = (name.to_owned(), version.trim_start_matches('v').to_owned());
            all.entry(key)
                .or_default()
                .extend(features.split(',').map(str::to_owned));
        }
    }
    Ok(all)
}

/// How a package turns on a feature of another that it depends on.
fn turns_on(by: &Value, package: &Value, feature: &str) -> Option<String> {
    let name = text(package, "name");
    let dependencies = list(by, "dependencies").iter();
    let mut dependencies = dependencies.filter(|d| text(d, "name") == name && d["kind"].is_null());
    let default = list(&package["features"], "default").iter();
    let by_default =
        default.filter_map(Value::as_str).any(|f| f == feature) || feature == "default";
    dependencies.find_map(|dependency| {
        if list(dependency, "features").iter().any(|f| f == feature) {
            Some(format!("{} (`features = [\"{feature}\"]`)", described(by)))
        } else if dependency["uses_default_features"] == true && by_default {
            Some(format!("{} (default features)", described(by)))
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{Std, reads};

    #[test]
    fn a_crate_says_in_its_first_file_whether_it_has_std() {
        for (text, std) in [
            ("//! A\n#![no_std]\n", Std::Never),
            ("#![cfg_attr(not(test), no_std)]", Std::Never),
            (
                "#![cfg_attr(not(feature = \"std\"), no_std)]",
                Std::With("std".into()),
            ),
            (
                "#![cfg_attr(not(any(feature = \"full\", test)), no_std)]",
                Std::With("full".into()),
            ),
            (
                "#![no_std]\n#[cfg(feature = \"std\")]\nextern crate std;",
                Std::With("std".into()),
            ),
            ("use std::fs;", Std::Always),
        ] {
            assert_eq!(reads(text), std, "{text}");
        }
    }
}
