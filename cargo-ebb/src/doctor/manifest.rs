//! Cargo.toml and build.rs.

use std::fs;

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value, value};

use super::finding::{Finding, toml};
use crate::{
    failure::{Result, at},
    project::{Project, text},
    source::Source,
};

/// What the package needs to be a program on either platform.
const CRATES: [(&str, &str, &str); 4] = [
    ("dependencies", "ebb-os", "which the sources call `ebb`"),
    (
        "dependencies",
        "ebb-hosted",
        "which runs programs as Linux processes",
    ),
    (
        "dependencies",
        "native-target",
        "the machine that an image runs on",
    ),
    (
        "build-dependencies",
        "ebb-build",
        "which makes programs images",
    ),
];

/// Whether the package says that it depends on a package, in this table.
fn depends(project: &Project, table: &str, package: &str) -> bool {
    let kind = if table == "build-dependencies" {
        "build"
    } else {
        ""
    };
    let mut dependencies = project.dependencies().iter();
    dependencies.any(|d| text(d, "name") == package && text(d, "kind") == kind)
}

/// Are ebb, both platforms and the build script's half among the dependencies?
pub fn crates(project: &Project) -> Result<Vec<Finding>> {
    let path = project.manifest();
    let mut document = toml(&path)?;
    let usual = Source::of(None)?;
    let mut missing = Vec::new();
    for (table, package, what) in CRATES {
        if depends(project, table, package) {
            continue;
        }
        let from = like_ebb(&document, package, &usual);
        let line = format!("[{table}] in {}:\n    {package} = {from}", path.display());
        let entry = document.entry(table).or_insert(Item::Table(Table::new()));
        entry[package] = Item::Value(from);
        missing.push((
            format!("the package does not depend on `{package}`, {what}"),
            format!("write under {line}"),
        ));
    }
    // One text has all of them.
    let whole = document.to_string();
    Ok(missing
        .into_iter()
        .map(|(wrong, advice)| Finding::new(wrong, advice).mended_by(&path, whole.clone()))
        .collect())
}

/// Where a package of ebb's comes from: from where the manifest has another of them, else from where `cargo ebb new` takes them.
fn like_ebb(document: &DocumentMut, package: &str, usual: &Source) -> Value {
    let folder = |name: &str| match name {
        "ebb-os" => String::new(),
        name => format!("/{name}"),
    };
    let tables = ["dependencies", "build-dependencies"].into_iter();
    let dependencies = tables.filter_map(|table| document.get(table)?.as_table_like());
    for (key, item) in dependencies.flat_map(|table| table.iter()) {
        let name = item.get("package").and_then(Item::as_str).unwrap_or(key);
        if !CRATES.iter().any(|(_, of_ebb, _)| *of_ebb == name) && !name.starts_with("ebb-") {
            continue;
        }
        let mut from = toml_edit::InlineTable::new();
        if let Some(path) = item.get("path").and_then(Item::as_str) {
            let root = path
                .trim_end_matches('/')
                .strip_suffix(&folder(name))
                .unwrap_or(path);
            from.insert("path", format!("{root}{}", folder(package)).into());
        } else if let Some(git) = item.get("git").and_then(Item::as_str) {
            from.insert("git", git.into());
        } else if item.get("workspace").is_some() {
            from.insert("workspace", true.into());
        } else if let Some(version) = item.as_str().or_else(|| item.get("version")?.as_str()) {
            return version.into();
        }
        if !from.is_empty() {
            return Value::InlineTable(from);
        }
    }
    let usual = usual.dependency(package).parse();
    usual.unwrap_or_else(|_| env!("CARGO_PKG_VERSION").into())
}

/// Does a build script call `ebb_build::images`, for all kinds of targets that are programs of ebb?
pub fn build_script(project: &Project) -> Result<Vec<Finding>> {
    let kinds: Vec<&str> = [("bin", "bins"), ("example", "examples")]
        .into_iter()
        .filter(|(kind, _)| project.targets(kind).iter().any(|t| is_program(&t.text())))
        .map(|(_, name)| name)
        .collect();
    if project.targets("bin").is_empty() && kinds.is_empty() {
        return Ok(vec![Finding::new(
            "the package has no program, so there is nothing to make an image of",
            format!(
                "write one, {}; `cargo ebb new NAME` makes a project that has one to begin with",
                project.folder().join("src/main.rs").display()
            ),
        )]);
    }
    if kinds.is_empty() {
        return Ok(vec![Finding::new(
            "no program of the package says `#[ebb::main]`, so there is nothing to make an image of",
            "write `#[ebb::main]` on the main function, under `#![no_std]` and `#![no_main]`",
        )]);
    }
    let list: Vec<String> = kinds.iter().map(|kind| format!("\"{kind}\"")).collect();
    let call = format!("ebb_build::images(&[{}]);", list.join(", "));
    let path = project.folder().join("build.rs");
    let Some(script) = project.targets("custom-build").into_iter().next() else {
        let text = format!("fn main() {{\n    {call}\n}}\n");
        return Ok(vec![
            Finding::new(
                "there is no build script, so programs are linked as Linux processes",
                format!("write {}:\n    fn main() {{ {call} }}", path.display()),
            )
            .mended_by(&path, text),
        ]);
    };
    let text = script.text();
    let lacks = kinds
        .iter()
        .any(|kind| !text.contains(&format!("\"{kind}\"")));
    if text.contains("ebb_build::images") && !lacks {
        return Ok(Vec::new());
    }
    Ok(vec![Finding::new(
        format!(
            "{} does not make all programs images",
            script.source.display()
        ),
        format!("its `main` has to say `{call}`"),
    )])
}

/// Whether a file is a program of ebb.
fn is_program(text: &str) -> bool {
    text.contains("::main]") || text.contains("::main(") || text.contains("test_image!")
}

/// Do the profiles that images are built in abort on a panic?
pub fn profiles(project: &Project) -> Result<Vec<Finding>> {
    let path = project.root_manifest();
    let mut document = toml(&path)?;
    let mut wrong = Vec::new();
    let names: Vec<String> = {
        let named = document.get("profile").and_then(Item::as_table_like);
        let named = named.into_iter().flat_map(|t| t.iter());
        let own = named.map(|(name, _)| name.to_owned());
        ["dev", "release"]
            .map(str::to_owned)
            .into_iter()
            .chain(own)
            .collect()
    };
    for (at, name) in names.iter().enumerate() {
        // Tests unwind whatever is said; a process does in a profile of its own.
        if names[..at].contains(name) || ["test", "bench", "hosted"].contains(&name.as_str()) {
            continue;
        }
        let said = document
            .get("profile")
            .and_then(|p| p.get(name)?.get("panic")?.as_str());
        let inherits = !["dev", "release"].contains(&name.as_str());
        if said == Some("abort") || (said.is_none() && inherits) {
            continue;
        }
        wrong.push(name.clone());
    }
    for name in &wrong {
        let profiles = document.entry("profile").or_insert(Item::Table(implicit()));
        if let Some(profiles) = profiles.as_table_like_mut() {
            profiles.entry(name).or_insert(Item::Table(Table::new()))["panic"] = value("abort");
        }
    }
    let whole = document.to_string();
    let finding = |name: &String| {
        Finding::new(
            format!("the profile `{name}` unwinds, and an image has no unwinder"),
            format!(
                "write `panic = \"abort\"` under [profile.{name}] in {}",
                path.display()
            ),
        )
        .mended_by(&path, whole.clone())
    };
    Ok(wrong.iter().map(finding).collect())
}

/// A table that is written by its members' headings only.
fn implicit() -> Table {
    let mut table = Table::new();
    table.set_implicit(true);
    table
}

/// Would `cargo test` build a program without a `main` for libtest?
pub fn programs(project: &Project) -> Result<Vec<Finding>> {
    let path = project.manifest();
    let mut findings = Vec::new();
    for target in project.targets("bin") {
        let code = target.text();
        let bare = code.lines().any(|line| line.trim() == "#![no_main]");
        if !target.is_tested || !bare || !is_program(&code) {
            continue;
        }
        let mut document = toml(&path)?;
        let source = target
            .source
            .strip_prefix(project.folder())
            .unwrap_or(&target.source);
        leave_alone(&mut document, &target.name, &source.to_string_lossy());
        findings.push(
            Finding::new(
                format!("`cargo test` builds the program `{}` for libtest, and `#![no_main]` leaves libtest's main out", target.name),
                format!(
                    "write `test = false` under [[bin]] in {}, with its name and path, and put what is to be tested into \
                     src/lib.rs; or begin {} with `#![cfg_attr(not(test), no_std, no_main)]`",
                    path.display(),
                    target.source.display()
                ),
            )
            .mended_by(&path, document.to_string()),
        );
    }
    let library = project
        .targets("cdylib")
        .into_iter()
        .chain(project.targets("dylib"));
    for target in library {
        fs::metadata(&target.source).map_err(at(target.source.display()))?;
        findings.push(Finding::new(
            format!("the library `{}` is a dynamic one, and Ebbs are for executables: their slots are found at fixed places", target.name),
            format!("leave `crate-type` out under [lib] in {}", path.display()),
        ));
    }
    Ok(findings)
}

/// Says of a program that it has no tests.
fn leave_alone(document: &mut DocumentMut, name: &str, source: &str) {
    let bins = document
        .entry("bin")
        .or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let Some(bins) = bins.as_array_of_tables_mut() else {
        return;
    };
    for bin in bins.iter_mut() {
        if bin.get("name").and_then(Item::as_str) == Some(name) {
            bin["test"] = value(false);
            return;
        }
    }
    let mut bin = Table::new();
    bin["name"] = value(name);
    bin["path"] = value(source);
    bin["test"] = value(false);
    bins.push(bin);
}

#[cfg(test)]
mod tests {
    use super::{Source, leave_alone, like_ebb};

    #[test]
    fn a_missing_crate_comes_from_where_another_of_ebb_comes_from() {
        for (has, from) in [
            (
                "ebb = { package = \"ebb-os\", path = \"../e\" }",
                "{ path = \"../e/ebb-hosted\" }",
            ),
            (
                "native-target = { path = \"/e/native-target\" }",
                "{ path = \"/e/ebb-hosted\" }",
            ),
            ("ebb-os = \"0.3\"", "\"0.3\""),
            ("ebb-os = { version = \"0.3\", features = [] }", "\"0.3\""),
            ("ebb-os.workspace = true", "{ workspace = true }"),
            ("serde = \"1\"", "{ path = \"/c/ebb-hosted\" }"),
        ] {
            let document = format!("[dependencies]\n{has}\n").parse().unwrap();
            assert_eq!(
                like_ebb(&document, "ebb-hosted", &Source::Checkout("/c".into()))
                    .to_string()
                    .trim(),
                from,
                "{has}"
            );
        }
    }

    #[test]
    fn a_program_is_left_alone_whether_or_not_the_manifest_names_it() {
        let mut document = "[package]\nname = \"a\"\n".parse().unwrap();
        leave_alone(&mut document, "a", "src/main.rs");
        leave_alone(&mut document, "a", "src/main.rs");
        let meant = "[package]\nname = \"a\"\n\n[[bin]]\nname = \"a\"\npath = \"src/main.rs\"\ntest = false\n";
        assert_eq!(document.to_string(), meant);
    }
}
