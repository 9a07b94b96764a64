//! What goes into an archive and where it comes from.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    env,
    ffi::OsString,
    fs::{self, Metadata as HostMetadata},
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Component, Path, PathBuf},
};

use ebb_archive::{
    Metadata,
    write::{Builder, Error, Layout},
};

use super::{
    Surroundings, elf, libraries,
    manifest::{Item, Manifest, Program},
    node, npm, python,
};
use crate::tell::tell;
use crate::{
    failure::{Failure, NOT_FOUND},
    install,
};

/// The most symbolic links on the way to a file.
const LINKS: u32 = 40;
/// Time zones as the C library and languages look for them, and what there is of each a second and a third time, with leap seconds.
const TIME_ZONES: &str = "/usr/share/zoneinfo";
const LEFT_OUT_OF_TIME_ZONES: [&str; 2] = ["posix", "right"];
/// Everywhere but on the host.
const LEFT_OUT: [&str; 1] = [".git"];

/// Where a file's data comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file of the host.
    File(PathBuf),
    /// A text of the manifest or of the packer.
    Text(String),
}

/// An archive before it is written.
pub struct Plan {
    builder: Builder,
    sources: Vec<Source>,
    /// Device and inode to the source, so that hard links stay one file.
    known: BTreeMap<(u64, u64), u64>,
    /// What the archive depends on beside the builder's content.
    hasher: DefaultHasher,
    bytes: u64,
    /// Packed files whose names are those of shared objects.
    loadable: Vec<PathBuf>,
    /// Packed programs with a loader, for other programs to start.
    programs: Vec<PathBuf>,
    /// The Node whose version is to be checked before it is packed.
    node: Option<PathBuf>,
}

impl Plan {
    /// Finds everything that the manifest and the arguments ask for.
    ///
    /// # Errors
    /// With what is missing and who needs it.
    pub fn new(
        manifest: &Manifest,
        arguments: &[OsString],
        around: &Surroundings,
    ) -> Result<Self, Failure> {
        let mut plan = Self {
            builder: Builder::new(),
            sources: Vec::new(),
            known: BTreeMap::new(),
            hasher: DefaultHasher::new(),
            bytes: 0,
            loadable: Vec::new(),
            programs: Vec::new(),
            node: None,
        };
        format!("{manifest:?}").hash(&mut plan.hasher);
        env!("CARGO_PKG_VERSION").hash(&mut plan.hasher);
        // Archives with a name of their content.
        2_u32.hash(&mut plan.hasher);
        // The manifest's own words first: what the host has of the same directory gives way.
        let (of_host, own): (Vec<_>, Vec<_>) = manifest.items.iter().partition(|i| {
            !matches!(
                i,
                Item::Text { .. } | Item::Directory { .. } | Item::Symlink { .. }
            )
        });
        for item in own.into_iter().chain(of_host) {
            plan.item(item, arguments, around)?;
        }
        let program = plan.program(manifest, arguments, around)?;
        for path in &around.files {
            plan.host(&around.base.join(path))?;
        }
        if manifest.files_of_arguments {
            plan.files_of(arguments)?;
        }
        plan.libraries(program.as_deref(), &manifest.libraries)?;
        let here = env::current_dir().unwrap_or_else(|_| "/".into());
        let directory = manifest.directory.as_ref().map_or(here, PathBuf::from);
        plan.usual(&directory)?;
        plan.builder
            .working_directory(directory.as_os_str().as_bytes())
            .map_err(refused)?;
        for string in &manifest.environment {
            plan.builder
                .environment(string.as_bytes())
                .map_err(refused)?;
        }
        Ok(plan)
    }

    /// A number for all that goes in: it changes with the manifest and with each source's path,
    /// size, time and inode.
    pub fn key(&self) -> u64 {
        self.hasher.finish()
    }

    /// Where the data comes from.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The layout, and the sources that its content numbers mean.
    ///
    /// # Errors
    /// When the archive would be too large, or Node is of an unknown version.
    pub fn finish(self) -> Result<(Layout, Vec<Source>), Failure> {
        self.node.as_deref().map_or(Ok(()), node::check)?;
        Ok((self.builder.finish().map_err(refused)?, self.sources))
    }

    fn item(
        &mut self,
        item: &Item,
        arguments: &[OsString],
        around: &Surroundings,
    ) -> Result<(), Failure> {
        match item {
            Item::Host { to: None, from } => self.host(&around.base.join(from)),
            Item::Host { to: Some(to), from } => self.copy(Path::new(to), &around.base.join(from)),
            Item::Text { to, text } => self.text(to, &format!("{text}\n")),
            Item::Directory { to, mode } => self
                .builder
                .directory(to.as_bytes(), Metadata::root(*mode))
                .map_err(refused),
            Item::Packages { to, names } => match npm::install(names, around.no_install) {
                Ok(modules) => self.copy(Path::new(to), &modules),
                Err(why) => {
                    tell!(
                        "ebb-runner: going on without the npm packages {} ({why})",
                        names.join(", ")
                    );
                    Ok(())
                }
            },
            Item::OfArgument { to, option } => match named_by(option, arguments) {
                Some(named) => self.copy(Path::new(to), &named),
                None => Ok(()),
            },
            Item::Python { packages } => {
                let usual = python::usual();
                match python::find(&usual) {
                    Ok(found) => {
                        self.python(&usual, &found)?;
                        self.python_packages(found.packages(packages, around.no_install))
                    }
                    // An image that can do without says so by itself.
                    Err(_) => Ok(()),
                }
            }
            Item::TimeZones if !Path::new(TIME_ZONES).is_dir() => Ok(()),
            Item::TimeZones => self.host_without(Path::new(TIME_ZONES), &LEFT_OUT_OF_TIME_ZONES),
            Item::Runtimes { to, option } => match named_by(option, arguments) {
                Some(named) => {
                    self.copy(Path::new(to), &named)?;
                    self.runtimes(&named)
                }
                None => Ok(()),
            },
            Item::Symlink { to, target } => self
                .builder
                .symlink(to.as_bytes(), target.as_bytes(), Metadata::root(0o777))
                .map_err(refused),
        }
    }

    /// A Python under its own path and the name that it was found by.
    fn python(&mut self, name: &Path, found: &python::Python) -> Result<(), Failure> {
        self.host(&found.program)?;
        if name != found.program {
            self.host(name)?;
        }
        for library in &found.library {
            self.host_without(library, &python::LEFT_OUT)?;
        }
        Ok(())
    }

    fn python_packages(&mut self, packages: python::Packages) -> Result<(), Failure> {
        if let Some((folder, site)) = &packages.by_pip {
            let unreadable = |e: std::io::Error| {
                Failure::new(NOT_FOUND, format!("cannot pack {}: {e}", folder.display()))
            };
            let meta = fs::metadata(folder).map_err(unreadable)?;
            self.copy_without(site, folder, &meta, &python::LEFT_OUT_OF_PACKAGES)?;
        }
        if let Some(why) = &packages.lacks {
            tell!(
                "ebb-runner: going on with the Python packages that are installed here, for pip brings none ({why})"
            );
        }
        for package in &packages.installed {
            self.host(package)?;
        }
        Ok(())
    }

    /// What the kinds of a manifest of runtimes need: the programs that their members `ebb` name, and files and folders.
    fn runtimes(&mut self, path: &Path) -> Result<(), Failure> {
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::unusable(format!("the runtimes {}: {why}", path.display()))
        };
        let text = fs::read_to_string(path).map_err(|e| wrong(&e))?;
        let document: serde_json::Value = serde_json::from_str(&text).map_err(|e| wrong(&e))?;
        let families = document["runtimes"].as_object();
        let base = path.parent().unwrap_or(Path::new("."));
        for kind in families
            .into_iter()
            .flat_map(|families| families.values())
            .flat_map(|kinds| kinds.as_array().into_iter().flatten())
        {
            let ours = &kind["ebb"];
            let is_python = match ours["loader"].as_str() {
                Some(loader) => loader == "python",
                None => kind["kind"]
                    .as_str()
                    .is_some_and(|k| k.starts_with("python:")),
            };
            let program = ours["program"].as_str().map(PathBuf::from);
            if is_python {
                let name = program.unwrap_or_else(python::usual);
                let found = python::find(&name).map_err(|e| wrong(&e))?;
                self.python(&name, &found)?;
            } else if let Some(program) = program {
                self.host(&program)?;
            }
            let files = ours["files"].as_array();
            for file in files.into_iter().flatten().filter_map(|file| file.as_str()) {
                self.host(&base.join(file))?;
            }
        }
        Ok(())
    }

    /// The program itself, and the archive's arguments.
    fn program(
        &mut self,
        manifest: &Manifest,
        arguments: &[OsString],
        around: &Surroundings,
    ) -> Result<Option<PathBuf>, Failure> {
        let path = match &manifest.program {
            None => None,
            Some(Program::FirstArgument) => {
                let usage = || {
                    Failure::unusable(
                        "this image runs the program that its first argument names; give one after `--`",
                    )
                };
                let first = arguments.first().ok_or_else(usage)?;
                if first.as_bytes().starts_with(b"-") {
                    return Err(Failure::unusable(format!(
                        "this image runs the program that its first argument names, and {} is none; options of the image are \
                         given by EBB_OPTIONS",
                        first.display()
                    )));
                }
                let path = install::find_program(Path::new(first), &around.base)?;
                path.hash(&mut self.hasher);
                Some(path)
            }
            Some(Program::Named(name)) => {
                let path = if name == "node" {
                    node::find(around)?
                } else {
                    install::find_program(Path::new(name), &around.base)?
                };
                self.node = (name == "node").then(|| path.clone());
                self.builder
                    .argument(path.as_os_str().as_bytes())
                    .map_err(refused)?;
                Some(path)
            }
        };
        for argument in &manifest.arguments {
            self.builder
                .argument(argument.as_bytes())
                .map_err(refused)?;
        }
        if let Some(path) = &path {
            self.host(path)?;
        }
        Ok(path)
    }

    /// The loaders and the libraries of the program, of what it may load (the shared objects that are packed already: Python's
    /// extension modules, Node's addons), and of every other program that is packed. What the program itself needs has to
    /// be there; the others may never be started.
    fn libraries(&mut self, program: Option<&Path>, extra: &[String]) -> Result<(), Failure> {
        let mut found = BTreeSet::new();
        if let Some(program) = program {
            let main = elf::read(program).map_err(Failure::unusable)?;
            let loadable = std::mem::take(&mut self.loadable);
            if let Some(loader) = &main.interpreter {
                self.host(loader).map_err(|f| {
                    let who = program.display();
                    Failure::new(f.status, format!("{}, the loader of {who}", f.message))
                })?;
                found.insert(loader.clone());
            }
            for library in libraries::find(program, &main, extra, &loadable)? {
                if found.insert(library.clone()) {
                    self.host(&library)?;
                }
            }
        }
        for other in std::mem::take(&mut self.programs) {
            let Some((loader, main)) = loader_of(&other).filter(|(loader, _)| loader.exists())
            else {
                continue;
            };
            let libraries = libraries::find_some(&other, &main);
            for library in [loader].into_iter().chain(libraries) {
                if found.insert(library.clone()) {
                    self.host(&library)?;
                }
            }
        }
        for file in found.iter().flat_map(|library| node::scripts_of(library)) {
            self.host(&file)?;
        }
        // Where a loader finds libraries outside the usual directories.
        let configured = ["/etc/ld.so.cache", "/etc/ld-musl-x86_64.path"].map(Path::new);
        for conf in configured
            .into_iter()
            .filter(|conf| !found.is_empty() && conf.exists())
        {
            self.host(conf)?;
        }
        Ok(())
    }

    /// Host files that arguments name. A script in a package (there is a package.json beside it)
    /// brings its whole directory, for the modules that it loads.
    fn files_of(&mut self, arguments: &[OsString]) -> Result<(), Failure> {
        let here = env::current_dir().unwrap_or_else(|_| "/".into());
        for argument in arguments {
            let path = here.join(argument);
            let Ok(meta) = fs::metadata(&path) else {
                continue;
            };
            let package = path
                .parent()
                .filter(|dir| meta.is_file() && dir.join("package.json").is_file());
            match package {
                Some(directory) => self.host(directory)?,
                // `.` or `/` is hardly meant as a file to bring along.
                None if meta.is_file() => self.host(&path)?,
                None => {}
            }
        }
        Ok(())
    }

    /// What programs expect and the manifest has not said.
    fn usual(&mut self, working_directory: &Path) -> Result<(), Failure> {
        for (path, text) in [
            (
                "/etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
            ),
            ("/etc/group", "root:x:0:\nnogroup:x:65534:\n"),
            (
                "/etc/hosts",
                "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 ebb\n",
            ),
            (
                "/etc/nsswitch.conf",
                "passwd: files\ngroup: files\nhosts: files dns\n",
            ),
            // The resolver of QEMU's user networking.
            ("/etc/resolv.conf", "nameserver 10.0.2.3\n"),
        ] {
            if !self.builder.contains(path.as_bytes()) {
                self.text(path, text)?;
            }
        }
        let directories = [
            ("/tmp", 0o1777),
            ("/proc", 0o555),
            ("/sys", 0o555),
            ("/dev", 0o755),
            ("/run", 0o755),
            ("/root", 0o700),
        ];
        let directories = directories.map(|(path, mode)| (Path::new(path), mode));
        for (path, mode) in directories.into_iter().chain([(working_directory, 0o755)]) {
            if !self.builder.contains(path.as_os_str().as_bytes()) {
                self.builder
                    .directory(path.as_os_str().as_bytes(), Metadata::root(mode))
                    .map_err(refused)?;
            }
        }
        Ok(())
    }

    /// Adds a host path under its own name: the file or the whole directory it leads to, and the
    /// symbolic links on the way.
    fn host(&mut self, path: &Path) -> Result<(), Failure> {
        let unreadable = |at: &Path, e: std::io::Error| {
            Failure::new(
                NOT_FOUND,
                format!("cannot pack {}: {}: {e}", path.display(), at.display()),
            )
        };
        let absolute = std::path::absolute(path).map_err(|e| unreadable(path, e))?;
        let mut rest: VecDeque<OsString> = absolute.components().filter_map(name_of).collect();
        let mut at = PathBuf::from("/");
        let mut links = LINKS;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&name);
            let meta = fs::symlink_metadata(&next).map_err(|e| unreadable(&next, e))?;
            if meta.is_symlink() {
                links = links.checked_sub(1).ok_or_else(|| {
                    unreadable(&next, std::io::Error::other("too many symbolic links"))
                })?;
                let target = fs::read_link(&next).map_err(|e| unreadable(&next, e))?;
                self.link(&next, &target, &meta)?;
                if target.is_absolute() {
                    at = "/".into();
                }
                for name in target.components().filter_map(name_of).rev() {
                    rest.push_front(name);
                }
            } else if rest.is_empty() {
                return self.copy_entry(&next, &next, &meta);
            } else {
                self.directory(&next, &meta)?;
                at = next;
            }
        }
        Err(Failure::unusable(format!(
            "{} is the root directory; pack a part of it",
            path.display()
        )))
    }

    /// Adds a host path under another name; links at its end are followed.
    fn copy(&mut self, to: &Path, from: &Path) -> Result<(), Failure> {
        let unreadable = |e: std::io::Error| {
            Failure::new(NOT_FOUND, format!("cannot pack {}: {e}", from.display()))
        };
        let real = from.canonicalize().map_err(unreadable)?;
        let meta = fs::metadata(&real).map_err(unreadable)?;
        self.copy_entry(to, &real, &meta)
    }

    fn copy_entry(&mut self, to: &Path, from: &Path, meta: &HostMetadata) -> Result<(), Failure> {
        self.copy_without(to, from, meta, &LEFT_OUT)
    }

    /// A host directory under its own path, but for what has one of these names (or endings, behind a `*`).
    fn host_without(&mut self, path: &Path, left_out: &[&str]) -> Result<(), Failure> {
        let unreadable = |e: std::io::Error| {
            Failure::new(NOT_FOUND, format!("cannot pack {}: {e}", path.display()))
        };
        let real = path.canonicalize().map_err(unreadable)?;
        let meta = fs::metadata(&real).map_err(unreadable)?;
        self.copy_without(path, &real, &meta, left_out)
    }

    fn copy_without(
        &mut self,
        to: &Path,
        from: &Path,
        meta: &HostMetadata,
        left_out: &[&str],
    ) -> Result<(), Failure> {
        let unreadable = |e: std::io::Error| {
            Failure::new(NOT_FOUND, format!("cannot pack {}: {e}", from.display()))
        };
        if meta.is_symlink() {
            let target = fs::read_link(from).map_err(unreadable)?;
            self.link(to, &target, meta)
        } else if meta.is_file() {
            self.file(to, from, meta)
        } else if meta.is_dir() {
            self.directory(to, meta)?;
            let mut entries: Vec<_> = fs::read_dir(from)
                .and_then(Iterator::collect)
                .map_err(unreadable)?;
            entries.sort_by_key(fs::DirEntry::file_name);
            let is_kept = |entry: &&fs::DirEntry| {
                let name = entry.file_name();
                let name = name.as_bytes();
                !left_out.iter().any(|out| match out.strip_prefix('*') {
                    Some(ending) => name.ends_with(ending.as_bytes()),
                    None => name == out.as_bytes(),
                })
            };
            for entry in entries.iter().filter(is_kept) {
                let meta = entry.metadata().map_err(unreadable)?;
                let to = to.join(entry.file_name());
                self.copy_without(&to, &entry.path(), &meta, left_out)?;
            }
            Ok(())
        } else {
            // Sockets, pipes and devices are the host's.
            Ok(())
        }
    }

    fn file(&mut self, to: &Path, from: &Path, meta: &HostMetadata) -> Result<(), Failure> {
        let next = self.sources.len() as u64;
        let content = *self.known.entry((meta.dev(), meta.ino())).or_insert(next);
        if content == next {
            self.sources.push(Source::File(from.into()));
            self.bytes += meta.len();
            let name = from.file_name().unwrap_or_default().to_string_lossy();
            if meta.mode() & 0o111 != 0 && loader_of(from).is_some() {
                self.programs.push(from.into());
            }
            if name.ends_with(".so") || name.ends_with(".node") || name.contains(".so.") {
                self.loadable.push(from.into());
            }
        }
        self.note(to, meta);
        self.builder
            .file(
                to.as_os_str().as_bytes(),
                content,
                meta.len(),
                metadata(meta),
            )
            .map_err(refused)
    }

    fn directory(&mut self, to: &Path, meta: &HostMetadata) -> Result<(), Failure> {
        // What the manifest says of a directory stands. Its time of change is that of the host's
        // directory, not of what is packed of it, so it is left out.
        if self.builder.contains(to.as_os_str().as_bytes()) {
            return Ok(());
        }
        (to, meta.mode()).hash(&mut self.hasher);
        self.builder
            .directory(
                to.as_os_str().as_bytes(),
                Metadata::root(meta.mode() & 0o7777),
            )
            .map_err(refused)
    }

    fn link(&mut self, to: &Path, target: &Path, meta: &HostMetadata) -> Result<(), Failure> {
        self.note(to, meta);
        target.hash(&mut self.hasher);
        self.builder
            .symlink(
                to.as_os_str().as_bytes(),
                target.as_os_str().as_bytes(),
                metadata(meta),
            )
            .map_err(refused)
    }

    fn text(&mut self, to: &str, text: &str) -> Result<(), Failure> {
        (to, text).hash(&mut self.hasher);
        let content = self.sources.len() as u64;
        self.sources.push(Source::Text(text.into()));
        self.builder
            .file(
                to.as_bytes(),
                content,
                text.len() as u64,
                Metadata::root(0o644),
            )
            .map_err(refused)
    }

    fn note(&mut self, to: &Path, meta: &HostMetadata) {
        let what = (
            meta.mode(),
            meta.size(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.dev(),
            meta.ino(),
        );
        (to, what).hash(&mut self.hasher);
    }
}

/// The host path that the argument after this one names.
fn named_by(option: &str, arguments: &[OsString]) -> Option<PathBuf> {
    let at = arguments.iter().position(|argument| argument == option)?;
    let here = env::current_dir().unwrap_or_else(|_| "/".into());
    Some(here.join(arguments.get(at + 1)?))
}

/// The loader of a dynamically linked program, and what its file says. `None` for anything else.
fn loader_of(path: &Path) -> Option<(PathBuf, elf::Elf)> {
    let elf = elf::read(path).ok()?;
    Some((elf.interpreter.clone()?, elf))
}

/// The host's permissions and times; everything belongs to root.
fn metadata(meta: &HostMetadata) -> Metadata {
    Metadata {
        permissions: meta.mode() & 0o7777,
        uid: 0,
        gid: 0,
        mtime: meta.mtime(),
        mtime_nanoseconds: u32::try_from(meta.mtime_nsec()).unwrap_or(0),
    }
}

fn name_of(component: Component<'_>) -> Option<OsString> {
    match component {
        Component::Normal(name) => Some(name.into()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    }
}

fn refused(error: Error) -> Failure {
    Failure::unusable(format!("cannot pack: {error}"))
}
