//! What is to be run: path, arguments, environment, working directory.

use crate::abi::errno::Errno;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A program with what it is started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Its path among the UC's files; a name without a slash is looked up in `/usr/local/bin`, `/usr/bin` and `/bin`.
    pub path: Vec<u8>,
    /// Arguments, its own name first.
    pub arguments: Vec<Vec<u8>>,
    /// Environment, `NAME=VALUE` each.
    pub environment: Vec<Vec<u8>>,
    /// Working directory; empty for the root.
    pub directory: Vec<u8>,
    /// Files that its UC has besides those of the archive. Missing directories are made; a file of the same path gives way.
    pub files: Vec<ProgramFile>,
}

/// A file that a program is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFile {
    /// Its absolute path.
    pub path: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Its content, which other UCs may be given as well.
    pub bytes: Arc<Vec<u8>>,
}

/// What a program finds in its environment unless the archive says otherwise.
const DEFAULTS: [&[u8]; 3] = [
    b"PATH=/usr/local/bin:/usr/bin:/bin",
    b"HOME=/root",
    b"LANG=C.UTF-8",
];

impl Program {
    /// The program that the boot archive names, with its arguments and then these. When the archive names none, the first
    /// of these is the program.
    ///
    /// # Errors
    /// `ENOENT` when neither names one.
    pub fn archived(arguments: &[&str]) -> Result<Self, Errno> {
        let named = super::archive::archive();
        let named = named.iter().flat_map(|archive| archive.arguments());
        let words = named.chain(arguments.iter().map(|a| a.as_bytes()));
        Self::of(words.map(<[u8]>::to_vec).collect())
    }

    /// Another program than the boot archive names, by its path or name, in the environment and the directory that the archive
    /// says.
    ///
    /// # Errors
    /// `ENOENT` without a word.
    pub fn named(words: &[&str]) -> Result<Self, Errno> {
        Self::of(words.iter().map(|word| word.as_bytes().to_vec()).collect())
    }

    fn of(words: Vec<Vec<u8>>) -> Result<Self, Errno> {
        let mut program = Self {
            path: words.first().cloned().ok_or(Errno::ENOENT)?,
            arguments: words,
            ..Self::default()
        };
        if let Some(archive) = super::archive::archive() {
            program
                .environment
                .extend(archive.environment().map(<[u8]>::to_vec));
            program.directory = archive.directory().to_vec();
        }
        for default in DEFAULTS {
            let name = default.split(|b| *b == b'=').next().unwrap_or(default);
            let given = program
                .environment
                .iter()
                .any(|e| e.starts_with(name) && e.get(name.len()) == Some(&b'='));
            if !given {
                program.environment.push(default.to_vec());
            }
        }
        Ok(program)
    }

    /// Sets a variable of its environment, `NAME=VALUE`, in place of one of that name.
    pub fn set_variable(&mut self, variable: Vec<u8>) {
        let name = |variable: &[u8]| variable.iter().position(|&byte| byte == b'=');
        let length = name(&variable);
        self.environment.retain(|old| {
            name(old) != length || old[..length.unwrap_or(0)] != variable[..length.unwrap_or(0)]
        });
        self.environment.push(variable);
    }

    /// Whether a path, as the program would name it, is in the boot archive.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        let path = match path.as_bytes() {
            path if path.starts_with(b"/") || self.directory.is_empty() => path.to_vec(),
            path => [&self.directory[..], b"/", path].concat(),
        };
        super::archive::archive().is_some_and(|a| a.resolve(&path).is_some())
    }

    /// The absolute path of its file.
    pub(crate) fn found(&self) -> Vec<u8> {
        if self.path.contains(&b'/') {
            if self.path.first() == Some(&b'/') || self.directory.is_empty() {
                return self.path.clone();
            }
            return [&self.directory[..], b"/", &self.path[..]].concat();
        }
        for directory in [&b"/usr/local/bin/"[..], b"/usr/bin/", b"/bin/"] {
            let path = [directory, &self.path[..]].concat();
            if super::archive::archive().is_some_and(|a| a.resolve(&path).is_some()) {
                return path;
            }
        }
        self.path.clone()
    }
}
