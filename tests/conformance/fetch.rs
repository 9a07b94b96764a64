//! Where suites come from: packages of registries, fetched once into `target/conformance` and built there. Nothing of them is
//! part of this repository.

use std::{
    fs,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use test_support::scratch;

/// Where a suite's files come from.
pub enum Source {
    /// The source package of this machine's Debian or Ubuntu release.
    Debian(&'static str),
    /// One folder of such a package: the others of a large one are not unpacked.
    DebianFolder(&'static str, &'static str),
    /// The files of a binary package of the release, unpacked and not installed.
    DebianFiles(&'static str),
    /// A source distribution on PyPI: name and version.
    Python(&'static str, &'static str),
    /// Nothing but what is in this repository.
    Own,
}

/// What was fetched.
pub struct Place {
    /// Where the sources are.
    pub source: PathBuf,
    /// The suite's own folder, in which `source` lies; builds leave their results in it.
    pub folder: PathBuf,
    /// What was fetched, with its version.
    pub version: String,
}

/// Fetches and builds a suite unless that was done.
///
/// # Errors
/// With what failed and the end of what it said.
pub fn fetch(name: &str, source: &Source, build: &str) -> Result<Place, String> {
    let folder = root().join(name);
    let stamp = folder.join("built");
    let wanted = format!("{}\n{build}", source.describe());
    let built = fs::read_to_string(&stamp).unwrap_or_default();
    // What lies in this repository may have changed.
    let cached = !matches!(source, Source::Own);
    if let Some((version, how)) = built.split_once('\n')
        && how == wanted
        && cached
    {
        return Ok(Place {
            source: folder.join("source"),
            version: version.to_owned(),
            folder,
        });
    }
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("source")).map_err(|e| format!("{}: {e}", folder.display()))?;
    if cached {
        eprintln!("conformance: fetching and building {name} (once)");
    }
    let script = format!("{}\nversion=$(cat ../version)\n{build}", source.script());
    shell(&folder.join("source"), &folder.join("log"), &script)?;
    let version = fs::read_to_string(folder.join("version")).unwrap_or_default();
    let version = version.trim().to_owned();
    fs::write(&stamp, format!("{version}\n{wanted}")).map_err(|e| e.to_string())?;
    Ok(Place {
        source: folder.join("source"),
        folder,
        version,
    })
}

/// The folder of all suites.
pub fn root() -> PathBuf {
    scratch("conformance")
}

impl Source {
    fn describe(&self) -> String {
        match self {
            Self::Debian(package) => format!("Debian's sources of {package}"),
            Self::DebianFolder(package, folder) => {
                format!("Debian's sources of {package}, {folder}")
            }
            Self::DebianFiles(package) => format!("Debian's {package}"),
            Self::Python(package, version) => format!("PyPI's {package} {version}"),
            Self::Own => "this repository".into(),
        }
    }

    /// Shell commands that leave the files in the working directory and the version in `../version`.
    fn script(&self) -> String {
        match self {
            Self::Debian(package) => debian(package, ""),
            Self::DebianFolder(package, folder) => debian(
                package,
                &format!("--wildcards --no-wildcards-match-slash '*/{folder}'"),
            ),
            Self::DebianFiles(package) => format!(
                "mkdir ../package; cd ../package
                 apt-get download -qq {package} || {{ apt-get update -qq; apt-get download -qq {package}; }}
                 cd ../source; dpkg-deb -x ../package/*.deb .
                 dpkg-deb -f ../package/*.deb Version >../version; rm -r ../package"
            ),
            Self::Python(package, version) => format!(
                "pip3 download --quiet --no-deps --no-binary {package} --dest ../package {package}=={version}
                 tar xf ../package/*.tar.gz --strip-components=1; rm -r ../package
                 echo {version} >../version"
            ),
            Self::Own => "echo >../version".into(),
        }
    }
}

/// Of a source package what tar's options `chosen` say. Such packages are seldom among what a machine's apt knows, so it gets lists
/// of its own beside, made from the machine's: the same mirror, the same release.
fn debian(package: &str, chosen: &str) -> String {
    format!(
        "{APT}
         mkdir ../package; cd ../package
         fetch() {{ apt-get $options source -qq --download-only $1; }}
         # A mirror's list of security updates may be newer than what it has: then what was released.
         fetch {package} || {{ rm -f *.dsc; fetch {package}/$VERSION_CODENAME; }}
         cd ../source
         for part in ../package/*.orig.tar.*; do tar xf \"$part\" --strip-components=1 {chosen}; done
         ls ../package/*.dsc | sed 's/.*_//; s/\\.dsc$//' >../version; rm -r ../package"
    )
}

/// Sets `options` so that `apt-get` knows the source packages of this release.
const APT: &str = r#"
apt=$PWD/../../apt; . /etc/os-release
options="-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=$apt/sources -o Dir::State::Lists=$apt/lists
    -o Dir::Cache=$apt/cache -o APT::Sandbox::User=root"
if [ ! -e "$apt/made" ]; then
    mkdir -p "$apt/sources" "$apt/lists/partial" "$apt/cache/archives/partial"
    for list in /etc/apt/sources.list.d/*.sources; do
        # Stanzas of this release only: other repositories seldom have sources.
        [ -e "$list" ] && awk -v RS= -v ORS='\n\n' -v name="$VERSION_CODENAME" '$0 ~ "Suites:[^\n]*[ ]" name' "$list" |
            sed 's/^Types:.*/Types: deb-src/' >"$apt/sources/$(basename "$list")"
    done
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -e "$list" ] && sed -n "/^deb .* $VERSION_CODENAME/s/^deb /deb-src /p" "$list" >"$apt/sources/own-$(basename "$list" .list).list"
    done
    apt-get $options update -qq
    touch "$apt/made"
fi
"#;

/// Runs commands in a folder; what they say is kept in a file.
fn shell(folder: &Path, log: &Path, script: &str) -> Result<(), String> {
    let output = File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
    let error = output.try_clone().map_err(|e| e.to_string())?;
    let status = Command::new("sh")
        .args(["-euc", script])
        .current_dir(folder)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Cargo's words for its own compilers.
        .env_remove("MAKEFLAGS")
        .env_remove("LD_LIBRARY_PATH")
        // The workspace's, for libraries that it contains itself.
        .env_remove("CFLAGS")
        .env_remove("CXXFLAGS")
        .stdin(std::process::Stdio::null())
        .stdout(output)
        .stderr(error)
        .status()
        .map_err(|e| format!("sh: {e}"))?;
    if status.success() {
        return Ok(());
    }
    let said = fs::read_to_string(log).unwrap_or_default();
    let last: Vec<&str> = said.lines().rev().take(12).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(format!(
        "{status}; all that was said is in {}:\n  {}",
        log.display(),
        last.join("\n  ")
    ))
}
