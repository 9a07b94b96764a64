//! Where a project takes ebb's crates from: a registry, a checkout, a Git repository.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::failure::{Failure, Result};

/// ebb's packages that projects name, and their folders in a checkout.
pub const PACKAGES: [(&str, &str); 7] = [
    ("ebb-os", "."),
    ("ebb-archive", "ebb-archive"),
    ("ebb-build", "ebb-build"),
    ("ebb-distributed", "ebb-distributed"),
    ("ebb-hosted", "ebb-hosted"),
    ("ebb-linux", "ebb-linux"),
    ("native-target", "native-target"),
];

/// Where ebb's crates come from.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// A registry, with this version.
    Version(String),
    /// A checkout.
    Checkout(PathBuf),
    /// A Git repository.
    Git(String),
}

impl Source {
    /// What the user said, or, unsaid, the checkout that this program was built in, as long as it is there, else its version.
    ///
    /// # Errors
    /// When it is neither of the three.
    pub fn of(said: Option<&str>) -> Result<Self> {
        let Some(said) = said else {
            let around = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
            return Ok(match around.filter(|folder| is_checkout(folder)) {
                Some(folder) => Self::Checkout(folder.into()),
                None => Self::Version(env!("CARGO_PKG_VERSION").into()),
            });
        };
        if said.contains("://") || said.starts_with("git@") {
            return Ok(Self::Git(said.into()));
        }
        if said.starts_with(|c: char| c.is_ascii_digit() || "=^~<>".contains(c))
            && !Path::new(said).exists()
        {
            return Ok(Self::Version(said.into()));
        }
        match fs::canonicalize(said) {
            Ok(folder) if is_checkout(&folder) => Ok(Self::Checkout(folder)),
            Ok(_) => Err(Failure(format!(
                "--ebb {said}: this folder is no checkout of ebb: its Cargo.toml is not that of the package `ebb-os`"
            ))),
            Err(error) => Err(Failure(format!(
                "--ebb {said}: {error}; it can be a version (`0.1`), the folder of a checkout, or the URL of a Git repository"
            ))),
        }
    }

    /// What stands in a manifest for one of ebb's packages, in TOML.
    pub fn dependency(&self, package: &str) -> String {
        let folder = PACKAGES.iter().find(|(name, _)| *name == package);
        let quoted = |text: &str| toml_edit::Value::from(text).to_string();
        match self {
            Self::Version(version) => quoted(version),
            Self::Git(url) => format!("{{ git = {} }}", quoted(url)),
            Self::Checkout(checkout) => {
                let folder = folder.map_or(package, |(_, folder)| folder);
                let path = if folder == "." {
                    checkout.clone()
                } else {
                    checkout.join(folder)
                };
                format!("{{ path = {} }}", quoted(&path.to_string_lossy()))
            }
        }
    }
}

/// Whether a folder has the workspace of ebb.
fn is_checkout(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml"));
    manifest.is_ok_and(|text| {
        text.contains("\nname = \"ebb-os\"\n") && folder.join("native-target").is_dir()
    })
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn what_is_said_decides_where_ebb_comes_from() {
        assert_eq!(
            Source::of(Some("0.1")).unwrap(),
            Source::Version("0.1".into())
        );
        let url = "https://example.org/ebb";
        assert_eq!(Source::of(Some(url)).unwrap(), Source::Git(url.into()));
        let checkout = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let Source::Checkout(path) = Source::of(Some(checkout)).unwrap() else {
            panic!("a checkout was not taken for one");
        };
        let hosted = Source::Checkout(path.clone()).dependency("ebb-hosted");
        assert_eq!(
            hosted,
            format!("{{ path = \"{}/ebb-hosted\" }}", path.display())
        );
        assert!(Source::of(Some("/")).unwrap_err().0.contains("no checkout"));
        assert!(
            Source::of(Some("/nowhere"))
                .unwrap_err()
                .0
                .contains("can be a version")
        );
    }
}
