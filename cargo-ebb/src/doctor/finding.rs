//! Something that is wrong: what, what to do about it, and the change that does it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use toml_edit::DocumentMut;

use crate::{
    failure::{Result, at},
    say::say,
};

/// Something that is wrong.
pub struct Finding {
    /// What is wrong, and where.
    wrong: String,
    /// What to do.
    advice: String,
    /// A file and its text when it is mended.
    mended: Option<(PathBuf, String)>,
}

impl Finding {
    pub fn new(wrong: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            wrong: wrong.into(),
            advice: advice.into(),
            mended: None,
        }
    }

    /// Can be mended by a file with this text.
    pub fn mended_by(mut self, path: &Path, text: impl Into<String>) -> Self {
        self.mended = Some((path.into(), text.into()));
        self
    }

    /// Whether it can be mended by itself.
    pub fn is_mendable(&self) -> bool {
        self.mended.is_some()
    }

    /// Prints it, and mends it where that is asked for and can be done; says whether it was.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn report(&self, fix: bool) -> Result<bool> {
        let indented = |text: &str| text.replace('\n', "\n         ");
        say!("  WRONG  {}", indented(&self.wrong));
        match &self.mended {
            Some((path, text)) if fix => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder).map_err(at(folder.display()))?;
                }
                fs::write(path, text).map_err(at(path.display()))?;
                say!("         mended: {}", path.display());
                Ok(true)
            }
            mended => {
                let by = if mended.is_some() {
                    " (--fix does it)"
                } else {
                    ""
                };
                say!("         {}{by}", indented(&self.advice));
                Ok(false)
            }
        }
    }
}

/// A file of TOML; empty when it is not there.
///
/// # Errors
/// When it cannot be read, or is no TOML.
pub fn toml(path: &Path) -> Result<DocumentMut> {
    if !path.exists() {
        return Ok(DocumentMut::new());
    }
    let text = fs::read_to_string(path).map_err(at(path.display()))?;
    text.parse().map_err(at(path.display()))
}
