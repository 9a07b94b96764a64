//! Cargo's configuration, the compiler, and QEMU.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use ebb_runner::{config as runner_config, qemu};
use toml_edit::{DocumentMut, Item, Table, value};

use super::finding::{Finding, toml};
use crate::{
    failure::{Result, at},
    project::Project,
    run::TARGET,
};

/// The only target that images are built for.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// The oldest compiler that builds ebb: `rust-version` of its crates.
const OLDEST: (u32, u32) = (1, 95);

/// Is the compiler new enough, and for the right machine?
pub fn compiler(_: &Project) -> Result<Vec<Finding>> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .arg("-vV")
        .output()
        .map_err(at(rustc.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let field = |name: &str| {
        said.lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let mut findings = Vec::new();
    if field("host:") != TRIPLE {
        findings.push(Finding::new(
            format!("the compiler is for {}", field("host:")),
            format!("images are built on Linux by {TRIPLE}: `rustup default stable-{TRIPLE}`"),
        ));
    }
    let release = field("release:");
    let mut numbers = release.split('.').map_while(|n| n.parse::<u32>().ok());
    if numbers.next().zip(numbers.next()) < Some(OLDEST) {
        findings.push(Finding::new(
            format!("the compiler is {release}"),
            format!(
                "ebb needs {}.{} or later: `rustup update stable`",
                OLDEST.0, OLDEST.1
            ),
        ));
    }
    Ok(findings)
}

/// Is there a QEMU that can be used?
pub fn qemu(_: &Project) -> Result<Vec<Finding>> {
    let variable = |name: &str| match name {
        // It is to be looked for, not installed.
        "EBB_NO_INSTALL" => Some("1".into()),
        name => env::var_os(name).filter(|v| !v.is_empty()),
    };
    let found = match runner_config::parse(variable, 1) {
        Ok(config) => qemu::find(&config)
            .map(drop)
            .map_err(|failure| failure.message),
        Err(wrong) => Err(wrong.join("\n")),
    };
    Ok(found
        .err()
        .map(|why| Finding::new("no image can be booted", why))
        .into_iter()
        .collect())
}

/// The files of Cargo's configuration that hold in a folder, the strongest first, each with where its relative paths begin.
fn files(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    let mut look = |dot_cargo: &Path, base: &Path| {
        let file = ["config", "config.toml"]
            .map(|name| dot_cargo.join(name))
            .into_iter()
            .find(|p| p.is_file());
        if let Some(file) = file.filter(|file| !found.iter().any(|(f, _)| f == file)) {
            found.push((file, base.to_path_buf()));
        }
    };
    for folder in folder.ancestors() {
        look(&folder.join(".cargo"), folder);
    }
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    if let Some(home) = home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo"))) {
        look(&home, home.parent().unwrap_or(&home));
    }
    found
}

/// What a table of a configuration, by the target's name or a condition, says about a key.
fn of_target<'d>(document: &'d DocumentMut, key: &str) -> Option<&'d Item> {
    let targets = document.get("target")?.as_table_like()?;
    let named = targets
        .iter()
        .filter(|(name, _)| *name == TRIPLE || name.starts_with("cfg("));
    named.filter_map(|(_, target)| target.get(key)).next()
}

/// Does the configuration name a runner, and is it there?
pub fn runner(project: &Project) -> Result<Vec<Finding>> {
    if env::var_os("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER").is_some_and(|v| !v.is_empty()) {
        return Ok(Vec::new());
    }
    let own = project.folder().join(".cargo/config.toml");
    let mend = |finding: Finding| -> Result<Finding> {
        let mut document = toml(&own)?;
        set_runner(&mut document);
        Ok(finding.mended_by(&own, document.to_string()))
    };
    let advice = format!(
        "write in {}:\n    [{TARGET}]\n    runner = \"cargo-ebb runner\"\nor start it by `cargo ebb run`, which needs no such line",
        own.display()
    );
    for (file, base) in files(&project.folder()) {
        let document = toml(&file)?;
        let Some(runner) = of_target(&document, "runner") else {
            continue;
        };
        let first = runner.as_array().and_then(|words| words.get(0)?.as_str());
        let program = first
            .or_else(|| runner.as_str()?.split_whitespace().next())
            .unwrap_or_default();
        return Ok(match why_not(program, &base) {
            None => Vec::new(),
            Some(why) => {
                let wrong = format!("the runner `{program}` of {} {why}", file.display());
                vec![if program == "cargo-ebb" {
                    let from = Path::new(env!("CARGO_MANIFEST_DIR"));
                    let from = if from.is_dir() {
                        format!("--path {}", from.display())
                    } else {
                        program.to_owned()
                    };
                    Finding::new(
                        wrong,
                        format!("`cargo install {from}`, or start it by `cargo ebb run`"),
                    )
                } else {
                    mend(Finding::new(wrong, advice.as_str()))?
                }]
            }
        });
    }
    Ok(vec![mend(Finding::new(
        "nothing says what starts images: `cargo run` would execute one as a Linux program, and crash",
        advice,
    ))?])
}

/// Why a runner does not start images.
fn why_not(program: &str, base: &Path) -> Option<&'static str> {
    let path = if program.contains('/') {
        let path = base.join(program);
        path.is_file().then_some(path)
    } else {
        ebb_runner::install::in_path(Path::new(program))
    };
    let name = Path::new(program).file_name().unwrap_or_default();
    match path {
        None => Some("is not there"),
        // `ebb-runner/run` is what a checkout has.
        Some(_)
            if ["cargo-ebb", "ebb-runner", "run"]
                .iter()
                .any(|ours| name == *ours) =>
        {
            None
        }
        Some(_) => Some("is not one of ebb's"),
    }
}

fn set_runner(document: &mut DocumentMut) {
    let table = |item: &mut Item, name: &str, implicit| {
        if item.get(name).is_none() {
            let mut table = Table::new();
            table.set_implicit(implicit);
            item[name] = Item::Table(table);
        }
    };
    table(document.as_item_mut(), "target", true);
    table(&mut document["target"], TRIPLE, false);
    // A text, not a list: Cargo refuses to merge the one with the other, and a folder above may have a text.
    document["target"][TRIPLE]["runner"] = value("cargo-ebb runner");
}

/// Does a flag for the compiler, or another target, break images?
pub fn flags(project: &Project) -> Result<Vec<Finding>> {
    let mut said: Vec<(String, String)> =
        ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"]
            .into_iter()
            .filter_map(|name| Some((format!("the variable {name}"), env::var(name).ok()?)))
            .collect();
    for (file, _) in files(&project.folder()) {
        let document = toml(&file)?;
        let build = document.get("build");
        let found = [
            build.and_then(|b| b.get("rustflags")),
            build.and_then(|b| b.get("target")),
            of_target(&document, "rustflags"),
        ];
        said.extend(
            found
                .into_iter()
                .flatten()
                .map(|item| (file.display().to_string(), item.to_string())),
        );
    }
    let mut findings = Vec::new();
    for (place, text) in said {
        // Quotes and commas of a list, and the separator of the encoded form.
        let flat = text.replace(['"', '\'', ',', '[', ']', '\u{1f}'], " ");
        for (flag, why) in [
            ("panic=unwind", "an image has no unwinder"),
            ("relocation-model=", "an image is linked at a fixed place"),
            (
                "code-model=",
                "an image has a place of its own in the address space",
            ),
            (
                "target-feature=-sse",
                "the compiler's own libraries use SSE",
            ),
            (
                "instrument-coverage",
                "an image has no files to write to: measure the Linux process",
            ),
        ] {
            if flat.contains(flag) {
                findings.push(Finding::new(
                    format!("{place} has `{flag}`, and {why}"),
                    "take it out",
                ));
            }
        }
        let other = flat
            .split_whitespace()
            .find(|word| word.matches('-').count() >= 2 && !word.contains('=') && *word != TRIPLE);
        if let Some(other) = other.filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
        {
            findings.push(Finding::new(
                format!("{place} has the target {other}"),
                format!("images are built for {TRIPLE}"),
            ));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::{of_target, set_runner};

    #[test]
    fn a_runner_is_written_beside_what_a_configuration_has() {
        let mut document = "[alias]\nr = \"run\"\n".parse().unwrap();
        assert!(of_target(&document, "runner").is_none());
        set_runner(&mut document);
        assert!(of_target(&document, "runner").is_some());
        assert_eq!(
            document.to_string(),
            "[alias]\nr = \"run\"\n\n[target.x86_64-unknown-linux-gnu]\nrunner = \"cargo-ebb runner\"\n"
        );
    }
}
