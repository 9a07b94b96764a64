//! Packages of a language for a boot archive: installed once by that language's installer into the user's cache.
//!
//! They are a convenience (what programs may load), so an archive without them is better than none: where the installer is
//! missing or has no network, the caller says so and goes on.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
};

use crate::tell::tell;

/// Where packages of this sort are kept, by what was asked for.
fn cache(sort: &str) -> Option<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(base.join("ebb").join(sort))
}

/// The folder `inside` the one in which `installer` has installed what `key` says, which it does if nobody has. The installer is made for a draft of
/// that folder, so what is kept is whole.
///
/// # Errors
/// Why there is none, in words that end a sentence.
pub fn installed(
    sort: &str,
    key: impl Hash,
    inside: &str,
    no_install: bool,
    installer: impl FnOnce(&Path) -> Command,
) -> Result<PathBuf, String> {
    let cache = cache(sort).ok_or("neither XDG_CACHE_HOME nor HOME is set")?;
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let place = cache.join(format!("{:016x}", hasher.finish()));
    let packages = place.join(inside);
    if packages.is_dir() {
        return Ok(packages);
    }
    if no_install {
        return Err("EBB_NO_INSTALL is set".into());
    }
    let draft = cache.join(format!("draft{}", process::id()));
    let unwritable = |error: std::io::Error| format!("{}: {error}", draft.display());
    fs::create_dir_all(&draft).map_err(unwritable)?;
    tell!("ebb-runner: installing packages with {sort} (once)");
    let mut command = installer(&draft);
    let ran = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    let done = match ran {
        Err(error) => Err(format!("{sort} cannot be started: {error}")),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = said.lines().rfind(|line| !line.trim().is_empty());
            Err(format!(
                "{sort} failed: {}",
                last.unwrap_or("it said nothing")
            ))
        }
        // Another runner may have been faster: its folder is as good.
        Ok(_) => match fs::rename(&draft, &place) {
            Err(error) if !packages.is_dir() => Err(unwritable(error)),
            _ => Ok(packages),
        },
    };
    let _ = fs::remove_dir_all(&draft);
    done
}
