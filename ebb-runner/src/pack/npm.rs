//! npm packages for a boot archive: installed once by the host's npm into the user's cache.
//!
//! They are a convenience (what programs may `require`), so an archive without them is better than none: where npm is
//! missing or has no network, the caller says so and goes on.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    process::{self, Command, Stdio},
};

/// Where installed packages are kept, by what was asked for.
fn cache() -> Option<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(base.join("ebb/npm"))
}

/// The directory `node_modules` with these packages (`NAME@VERSION`) and what they depend on.
///
/// # Errors
/// Why there is none, in words that end a sentence.
pub fn install(packages: &[String], no_install: bool) -> Result<PathBuf, String> {
    let cache = cache().ok_or("neither XDG_CACHE_HOME nor HOME is set")?;
    let mut hasher = DefaultHasher::new();
    packages.hash(&mut hasher);
    let place = cache.join(format!("{:016x}", hasher.finish()));
    let modules = place.join("node_modules");
    if modules.is_dir() {
        return Ok(modules);
    }
    if no_install {
        return Err("EBB_NO_INSTALL is set".into());
    }
    let draft = cache.join(format!("draft{}", process::id()));
    let unwritable = |error: std::io::Error| format!("{}: {error}", draft.display());
    fs::create_dir_all(&draft).map_err(unwritable)?;
    // Nothing of a package runs here; what cannot be had at once will not be had by trying again.
    let installed = Command::new("npm")
        .args([
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--silent",
        ])
        .args(["--omit=dev", "--fetch-retries=0", "--prefix"])
        .arg(&draft)
        .args(packages)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output();
    let done = match installed {
        Err(error) => Err(format!("npm cannot be started: {error}")),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = said.lines().rfind(|line| !line.trim().is_empty());
            Err(format!("npm failed: {}", last.unwrap_or("it said nothing")))
        }
        // Another runner may have been faster: its directory is as good.
        Ok(_) => match fs::rename(&draft, &place) {
            Err(error) if !modules.is_dir() => Err(unwritable(error)),
            _ => Ok(modules),
        },
    };
    let _ = fs::remove_dir_all(&draft);
    done
}
