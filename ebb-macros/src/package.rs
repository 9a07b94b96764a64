//! The package that a macro is used in, as far as messages about it go.

use std::{env, fs, path::PathBuf};

/// The manifest's path and text. `None` where no Cargo runs.
fn manifest() -> Option<(PathBuf, String)> {
    let path = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    let text = fs::read_to_string(&path).ok()?;
    Some((path, text))
}

/// What to say about a platform's crate that the package does not depend on; `None` if it does, as far as can be seen.
pub fn lacks(platform: &str, what_for: &str) -> Option<String> {
    let (path, text) = manifest()?;
    says_lack(&text, platform).then(|| {
        format!(
            "`#[ebb::main]` needs the crate `{platform}`, {what_for}. Write under [dependencies] in {}:\n    {}",
            path.display(),
            like_ebb(&text, platform)
        )
    })
}

/// Whether the text of a manifest names a crate nowhere outside comments.
fn says_lack(manifest: &str, name: &str) -> bool {
    let mut code = manifest
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let own = format!("name = \"{name}\"");
    !code.any(|line| line.replace('_', "-").contains(name) && !line.contains(&own))
}

/// The line that names a crate of ebb's, from where the package has `ebb`.
fn like_ebb(manifest: &str, name: &str) -> String {
    let ebb = manifest.lines().find_map(|line| {
        let line = line.trim_start();
        let rest = line
            .strip_prefix("ebb-os")
            .or_else(|| line.strip_prefix("ebb"))?;
        let rest = rest.trim_start();
        (rest.starts_with('=') || rest.starts_with(".workspace")).then_some(rest)
    });
    let quoted = |key: &str| {
        let (_, rest) = ebb?.split_once(key)?;
        rest.split('"').nth(1).map(str::to_owned)
    };
    if let Some(path) = quoted("path") {
        format!(
            "{name} = {{ path = \"{}/{name}\" }}",
            path.trim_end_matches('/')
        )
    } else if let Some(git) = quoted("git") {
        format!("{name} = {{ git = \"{git}\" }}")
    } else if ebb.is_some_and(|rest| rest.contains("workspace")) {
        format!("{name}.workspace = true")
    } else {
        format!("{name} = \"{}\"", env!("CARGO_PKG_VERSION"))
    }
}

/// Whether a file says `#![no_main]` whatever is built.
pub fn has_no_main(file: &str) -> bool {
    syn::parse_file(file).is_ok_and(|file| {
        let mut attributes = file.attrs.iter();
        attributes.any(|attribute| attribute.path().is_ident("no_main"))
    })
}

#[cfg(test)]
mod tests {
    use super::{has_no_main, like_ebb, says_lack};

    #[test]
    fn a_crate_that_the_manifest_does_not_name_is_missed() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\nebb = \"0.1\" # not ebb-hosted\n";
        assert!(says_lack(manifest, "ebb-hosted"));
        for line in [
            "ebb-hosted = \"0.1\"",
            "h = { package = \"ebb-hosted\" }",
            "[dependencies.ebb_hosted]",
        ] {
            assert!(
                !says_lack(&format!("{manifest}{line}\n"), "ebb-hosted"),
                "{line}"
            );
        }
        assert!(says_lack("[package]\nname = \"ebb-hosted\"", "ebb-hosted"));
    }

    #[test]
    fn a_missing_crate_comes_from_where_ebb_comes_from() {
        for (ebb, hosted) in [
            (
                "ebb = { path = \"../ebb\" }",
                "ebb-hosted = { path = \"../ebb/ebb-hosted\" }",
            ),
            (
                "ebb = { git = \"https://a.b/c\" }",
                "ebb-hosted = { git = \"https://a.b/c\" }",
            ),
            ("ebb.workspace = true", "ebb-hosted.workspace = true"),
            ("ebb = { workspace = true }", "ebb-hosted.workspace = true"),
            ("ebb-os.workspace = true", "ebb-hosted.workspace = true"),
        ] {
            let manifest = format!("[dependencies]\nebb-net = \"1\"\n{ebb}\n");
            assert_eq!(like_ebb(&manifest, "ebb-hosted"), hosted);
        }
    }

    #[test]
    fn no_main_is_seen_where_it_always_holds() {
        assert!(has_no_main("#![no_std]\n#![no_main]\nfn main() {}"));
        assert!(!has_no_main(
            "#![cfg_attr(not(test), no_main)]\nfn main() {}"
        ));
        assert!(!has_no_main("// #![no_main]\nfn main() {}"));
    }
}
