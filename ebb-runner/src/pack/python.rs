//! A Python to pack: its program, its standard library, and packages: those that its pip installs into a folder of the cache, and some of
//! those that are installed for it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use super::cached;

/// Parts of the standard library that no function needs: tests, graphical programs, installers, and what programs in C that
/// contain a Python are linked with.
pub const LEFT_OUT: [&str; 9] = [
    "test",
    "tests",
    "idlelib",
    "idle_test",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "*.a",
];

/// Parts of packages that no function needs: tests, and scripts that begin with the path of the Python that packs.
pub const LEFT_OUT_OF_PACKAGES: [&str; 3] = ["test", "tests", "bin"];

/// Debian's, unless `EBB_PYTHON` names another.
const USUAL: &str = "/usr/bin/python3";

/// Tells where its parts are. A version manager's script starts the Python that it stands for, and that of a virtual environment is
/// packed without its environment.
const ASK: &str = "import os, sys, sysconfig\n\
    print(os.path.realpath(sys.executable)); print(sysconfig.get_path('stdlib')); print(sysconfig.get_path('platstdlib'))\n\
    local = 'posix_local' if 'posix_local' in sysconfig.get_scheme_names() else 'posix_prefix'\n\
    print(sysconfig.get_path('purelib', local, {'base': sys.base_prefix})); print(sys.version.replace('\\n', ' '))\n\
    print('\\n'.join(p for p in sys.path if p.endswith('-packages')))";

/// What is to be packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// The interpreter.
    pub program: PathBuf,
    /// The folders of its standard library.
    pub library: Vec<PathBuf>,
    /// Where it looks for packages that an administrator has installed.
    site: PathBuf,
    /// Where it has packages: the that of the administrator, the distribution's and the like.
    sites: Vec<PathBuf>,
    /// What pip makes of the packages depends on it.
    version: String,
}

/// Packages of a Python.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Packages {
    /// What pip has installed, and where Python is to find it.
    pub by_pip: Option<(PathBuf, PathBuf)>,
    /// Files and folders that were there.
    pub installed: Vec<PathBuf>,
    /// Why there are none by pip, in words that end a sentence.
    pub lacks: Option<String>,
}

/// The Python that an image is packed with by itself.
pub fn usual() -> PathBuf {
    env::var_os("EBB_PYTHON")
        .filter(|set| !set.is_empty())
        .map_or_else(|| USUAL.into(), PathBuf::from)
}

/// Asks a Python for its parts.
///
/// # Errors
/// It is not there, or does not answer as Python 3 does.
pub fn find(program: &Path) -> Result<Python, String> {
    let asked = Command::new(program).args(["-I", "-c", ASK]).output();
    let asked = asked.map_err(|error| format!("{}: {error}", program.display()))?;
    if !asked.status.success() {
        return Err(format!("{} is no Python 3", program.display()));
    }
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    let mut lines = said.lines();
    let mut path = || lines.next().map(PathBuf::from);
    let (Some(interpreter), Some(library), Some(platform), Some(site)) =
        (path(), path(), path(), path())
    else {
        return Err(format!("{} does not say where it is", program.display()));
    };
    let mut libraries = vec![library];
    if !libraries.contains(&platform) {
        libraries.push(platform);
    }
    Ok(Python {
        program: interpreter,
        library: libraries,
        site,
        version: lines.next().unwrap_or_default().into(),
        sites: lines.map(PathBuf::from).collect(),
    })
}

impl Python {
    /// Packages for it. `NAME==VERSION` is one that its pip installs with all that it depends on; another word is the name of a file, a
    /// folder or a library in C among those that are installed, and is left out where it is not there, or pip has brought it.
    pub fn packages(&self, wanted: &[String], no_install: bool) -> Packages {
        let (pinned, named): (Vec<_>, Vec<_>) = wanted.iter().partition(|word| word.contains("=="));
        let mut packages = Packages::default();
        if !pinned.is_empty() {
            match self.install(&pinned, no_install) {
                Ok(folder) => packages.by_pip = Some((folder, self.site.clone())),
                Err(why) => packages.lacks = Some(why),
            }
        }
        let has = |name: &str| {
            let by_pip = packages.by_pip.as_ref();
            by_pip.is_some_and(|(folder, _)| folder.join(name).exists())
        };
        let found = |name: &&String| self.sites.iter().find_map(|site| installed(site, name));
        let named = named.into_iter().filter(|name| !has(name));
        packages.installed = named.filter_map(|name| found(&name)).collect();
        packages
    }

    /// What pip makes of these: wheels only, so nothing of a package runs here.
    fn install(&self, pinned: &[&String], no_install: bool) -> Result<PathBuf, String> {
        let key = (&self.program, &self.version, pinned);
        cached::installed("pip", key, "packages", no_install, |draft| {
            let mut pip = Command::new(&self.program);
            pip.args(["-m", "pip", "install", "--quiet", "--no-compile"])
                .args([
                    "--disable-pip-version-check",
                    "--no-input",
                    "--retries",
                    "0",
                ])
                .args(["--only-binary", ":all:", "--target"])
                .arg(draft.join("packages"))
                .args(pinned)
                .env("PIP_ROOT_USER_ACTION", "ignore");
            pip
        })
    }
}

/// The file, the folder or the library in C of that name.
fn installed(site: &Path, name: &str) -> Option<PathBuf> {
    let place = site.join(name);
    if place.exists() {
        return Some(place);
    }
    let is_library = |file: &str| {
        let rest = file.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".so"))
    };
    let entries = site.read_dir().ok()?.flatten();
    entries.map(|entry| entry.path()).find(|path| {
        path.file_name()
            .is_some_and(|f| f.to_str().is_some_and(is_library))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_folders_files_and_libraries_and_pip_says_why_it_brings_none() {
        let site = env::temp_dir().join(format!("ebb-python-site-{}", std::process::id()));
        std::fs::create_dir_all(site.join("folder")).unwrap();
        for file in [
            "file.py",
            "library.cpython-311-x86_64-linux-gnu.so",
            "library2.so",
        ] {
            std::fs::write(site.join(file), "").unwrap();
        }
        let python = Python {
            program: "/no/such/python".into(),
            library: Vec::new(),
            site: "/usr/lib/python3/dist-packages".into(),
            sites: vec!["/no/such/site".into(), site.clone()],
            version: "3".into(),
        };
        let wanted = ["folder", "file.py", "library", "missing", "six==1.17.0"];
        let packages = python.packages(&wanted.map(String::from), true);
        std::fs::remove_dir_all(&site).unwrap();
        assert_eq!(
            packages.installed,
            [
                "folder",
                "file.py",
                "library.cpython-311-x86_64-linux-gnu.so"
            ]
            .map(|n| site.join(n))
        );
        assert_eq!(packages.by_pip, None);
        assert_eq!(packages.lacks.as_deref(), Some("EBB_NO_INSTALL is set"));
    }
}
