//! A Python to pack: its program, its standard library, and some of the packages that are installed for it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Parts of the standard library that no function needs: tests, graphical programs, installers.
pub const LEFT_OUT: [&str; 8] = [
    "test",
    "tests",
    "idlelib",
    "idle_test",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
];

/// Debian's, unless `EBB_PYTHON` names another.
const USUAL: &str = "/usr/bin/python3";

/// Tells where its parts are. A version manager's script starts the Python that it stands for.
const ASK: &str = "import os, sys, sysconfig\n\
    print(os.path.realpath(sys.executable)); print(sysconfig.get_path('stdlib')); print(sysconfig.get_path('platstdlib'))\n\
    print('\\n'.join(p for p in sys.path if p.endswith('-packages')))";

/// What is to be packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// The interpreter.
    pub program: PathBuf,
    /// The folders of its standard library.
    pub library: Vec<PathBuf>,
    /// The wanted packages that are there: files and folders.
    pub packages: Vec<PathBuf>,
}

/// The Python that an image is packed with by itself.
pub fn usual() -> PathBuf {
    env::var_os("EBB_PYTHON")
        .filter(|set| !set.is_empty())
        .map_or_else(|| USUAL.into(), PathBuf::from)
}

/// Asks a Python for its parts. `packages` are the names of folders or files among its installed packages; those that are not there are
/// left out.
///
/// # Errors
/// It is not there, or does not answer as Python 3 does.
pub fn find(program: &Path, packages: &[String]) -> Result<Python, String> {
    let asked = Command::new(program).args(["-I", "-c", ASK]).output();
    let asked = asked.map_err(|error| format!("{}: {error}", program.display()))?;
    if !asked.status.success() {
        return Err(format!("{} is no Python 3", program.display()));
    }
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    let mut lines = said.lines().map(PathBuf::from);
    let (Some(interpreter), Some(library), Some(platform)) =
        (lines.next(), lines.next(), lines.next())
    else {
        return Err(format!("{} does not say where it is", program.display()));
    };
    let mut libraries = vec![library];
    if !libraries.contains(&platform) {
        libraries.push(platform);
    }
    let sites: Vec<PathBuf> = lines.collect();
    let packages = packages
        .iter()
        .filter_map(|name| {
            let places = sites.iter().map(|site| site.join(name));
            places.into_iter().find(|place| place.exists())
        })
        .collect();
    Ok(Python {
        program: interpreter,
        library: libraries,
        packages,
    })
}
