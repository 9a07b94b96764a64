//! A project as Cargo sees it: the package, its targets, the crates that it links.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::failure::{Failure, Result, at};

/// The package that a command is for, and the workspace around it.
pub struct Project {
    metadata: Value,
    package: Value,
}

/// How much Cargo is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The workspace's own packages.
    Own,
    /// All packages that they depend on.
    Dependencies,
}

/// Cargo, which called us.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// That there is no project, in Cargo's words. Where it found one and could not read it, they say what is to be done.
fn none(said: &str) -> Failure {
    let said = said.trim_end();
    let said = said.strip_prefix("error: ").unwrap_or(said);
    if said.contains("could not find `Cargo.toml`") {
        return Failure(format!(
            "{said}\nGo to a project's folder, or make one with `cargo ebb new NAME`."
        ));
    }
    Failure(format!("the project cannot be read: {said}"))
}

impl Project {
    /// The package of this name, or that of the manifest, or the only one.
    ///
    /// # Errors
    /// When there is no project, or no single package.
    pub fn find(manifest: Option<&Path>, package: Option<&str>, depth: Depth) -> Result<Self> {
        let mut command = cargo();
        command.args(["metadata", "--format-version", "1"]);
        if depth == Depth::Own {
            command.arg("--no-deps");
        }
        if let Some(manifest) = manifest {
            command.arg("--manifest-path").arg(manifest);
        }
        let output = command.output().map_err(at("Cargo cannot be executed"))?;
        if !output.status.success() {
            return Err(none(&String::from_utf8_lossy(&output.stderr)));
        }
        let metadata: Value =
            serde_json::from_slice(&output.stdout).map_err(at("what `cargo metadata` says"))?;
        let package = choose(&metadata, manifest, package)?.clone();
        Ok(Self { metadata, package })
    }

    /// The same, or the only other package of the workspace's default ones that has this example, where Cargo looks, too.
    pub fn with_example(mut self, example: &str) -> Self {
        let is_its = |target: &Value| {
            text(target, "name") == example && list(target, "kind").iter().any(|k| k == "example")
        };
        let has = |package: &&Value| list(package, "targets").iter().any(is_its);
        let is_root = self.manifest() == self.root_manifest();
        if !is_root || has(&&self.package) {
            return self;
        }
        let members = list(&self.metadata, "workspace_default_members");
        let packages = list(&self.metadata, "packages").iter();
        let found: Vec<&Value> = packages
            .filter(|p| members.contains(&p["id"]))
            .filter(has)
            .collect();
        if let [package] = found[..] {
            self.package = package.clone();
        }
        self
    }

    /// The package's name.
    pub fn name(&self) -> &str {
        text(&self.package, "name")
    }

    /// The package's manifest.
    pub fn manifest(&self) -> PathBuf {
        text(&self.package, "manifest_path").into()
    }

    /// The package's folder.
    pub fn folder(&self) -> PathBuf {
        self.manifest().parent().unwrap_or(Path::new(".")).into()
    }

    /// The workspace's manifest, in which profiles stand.
    pub fn root_manifest(&self) -> PathBuf {
        Path::new(text(&self.metadata, "workspace_root")).join("Cargo.toml")
    }

    /// The package's targets of a kind (`bin`, `example`, `lib` ...), each with its source.
    pub fn targets(&self, kind: &str) -> Vec<Target> {
        let targets = list(&self.package, "targets").iter();
        let of_kind = targets.filter(|t| list(t, "kind").iter().any(|k| k == kind));
        of_kind
            .map(|target| Target {
                name: text(target, "name").into(),
                source: text(target, "src_path").into(),
                is_tested: target["test"] == true,
            })
            .collect()
    }

    /// What the package says that it depends on, as Cargo prints it.
    pub fn dependencies(&self) -> &[Value] {
        list(&self.package, "dependencies")
    }

    /// The package, as Cargo prints it.
    pub fn package(&self) -> &Value {
        &self.package
    }

    /// All that Cargo prints.
    pub fn metadata(&self) -> &Value {
        &self.metadata
    }
}

/// A program, an example, a test.
pub struct Target {
    pub name: String,
    pub source: PathBuf,
    /// `cargo test` builds it with libtest.
    pub is_tested: bool,
}

impl Target {
    /// The text of its first file; empty when it cannot be read.
    pub fn text(&self) -> String {
        fs::read_to_string(&self.source).unwrap_or_default()
    }
}

/// What is said where there is nothing to run.
pub fn no_program() -> Failure {
    Failure(
        "the package has no program (src/main.rs would be one); `--example NAME` takes an example"
            .into(),
    )
}

fn choose<'m>(
    metadata: &'m Value,
    manifest: Option<&Path>,
    name: Option<&str>,
) -> Result<&'m Value> {
    let members = list(metadata, "workspace_members");
    let packages = list(metadata, "packages").iter();
    let packages: Vec<&Value> = packages.filter(|p| members.contains(&p["id"])).collect();
    let names = || {
        packages
            .iter()
            .map(|p| text(p, "name"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(name) = name {
        let found = packages.iter().find(|p| text(p, "name") == name);
        return found.copied().ok_or_else(|| {
            Failure(format!(
                "the workspace has no package `{name}`; it has {}",
                names()
            ))
        });
    }
    let folder = match manifest {
        Some(manifest) => manifest.parent().map(Path::to_path_buf),
        None => env::current_dir().ok(),
    };
    let folder = folder.and_then(|folder| {
        fs::canonicalize(if folder.as_os_str().is_empty() {
            ".".into()
        } else {
            folder
        })
        .ok()
    });
    // The package that the folder is in, the innermost one.
    let around = packages.iter().filter(|p| {
        let root = Path::new(text(p, "manifest_path")).parent();
        folder
            .as_ref()
            .zip(root)
            .is_some_and(|(folder, root)| folder.starts_with(root))
    });
    let innermost = around.max_by_key(|p| text(p, "manifest_path").len());
    match (innermost, &packages[..]) {
        (Some(package), _) => Ok(package),
        (None, [package]) => Ok(package),
        _ => Err(Failure(format!(
            "which package? Say `--package NAME`: {}",
            names()
        ))),
    }
}

/// A field that is a text; empty when it is none.
pub fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

/// A field that is a list; empty when it is none.
pub fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}
