//! `cargo ebb new`: writes a project's files where there was nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::{
    arguments::New,
    failure::{Failure, Result, at},
    say::say,
    source::Source,
    template,
};

/// What a manifest says to be no member of a workspace around it.
const OWN_WORKSPACE: &str = "
# Of its own, although it lies in another workspace's folder: profiles are read at the root only.
[workspace]
";

/// Makes the project.
///
/// # Errors
/// When the name cannot be one, when something is there, or when it cannot be written; nothing is left over then.
pub fn new(options: &New) -> Result<ExitCode> {
    let source = Source::of(options.ebb.as_deref())?;
    let here = options.path.display();
    let name = name_of(&options.path);
    if name.is_empty() {
        return Err(Failure(format!(
            "{here} has no name that a project could have; say the folder to make, as in `cargo ebb new my-service`"
        )));
    }
    // A folder that was made for it is as good as none.
    if fs::read_dir(&options.path).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure(format!(
            "{here} is not empty, and a project is made where nothing is: name another folder"
        )));
    }
    check_name(&name)?;
    let existed = options.path.exists();
    if existed && !options.path.is_dir() {
        return Err(Failure(format!(
            "{here} is a file; choose another name, or remove it"
        )));
    }
    fs::create_dir_all(&options.path).map_err(at(&here))?;
    let root = fs::canonicalize(&options.path).map_err(at(&here))?;
    let workspace = workspace_around(&root);
    let text = workspace.as_ref().map_or("", |_| OWN_WORKSPACE);
    let files = template::files(options.template, &name, text, |package| {
        source.dependency(package)
    });
    if let Err(failure) = write(&root, &files) {
        take_back(&root, existed);
        return Err(failure);
    }
    say!("made {here}, with ebb from {}\n", described(&source));
    if let Some(around) = workspace {
        say!(
            "it is a workspace of its own: profiles of {} are not for images\n",
            around.display()
        );
    }
    if std::env::current_dir().is_ok_and(|current| current != root) {
        say!("    cd {}", for_a_shell(&here.to_string()));
    }
    say!(
        "    cargo ebb run             # as a virtual machine\n    cargo ebb run --hosted    # as a Linux process\n    cargo ebb test            # both\n\nREADME.md has the rest."
    );
    Ok(ExitCode::SUCCESS)
}

/// The last part of a path; of `.` and `..`, the name of the folder that they stand for.
fn name_of(path: &Path) -> String {
    let named = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
    named(path)
        .or_else(|| named(&fs::canonicalize(path).ok()?))
        .unwrap_or_default()
}

/// A path as a word of a shell's command line.
fn for_a_shell(path: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if path.chars().all(is_plain) {
        return path.into();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

/// Removes what was written. A folder that was there stays the same one: a shell may be in it.
fn take_back(root: &Path, existed: bool) {
    if !existed {
        let _ = fs::remove_dir_all(root);
        return;
    }
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }
}

fn described(source: &Source) -> String {
    match source {
        Source::Version(version) => format!("the registry, version {version}"),
        Source::Checkout(folder) => folder.display().to_string(),
        Source::Git(url) => url.clone(),
    }
}

fn write(root: &Path, files: &[(&str, String)]) -> Result<()> {
    for (path, text) in files {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(at(folder.display()))?;
        }
        fs::write(&path, text).map_err(at(path.display()))?;
    }
    Ok(())
}

/// A name is that of a package and of a crate.
fn check_name(name: &str) -> Result<()> {
    let crate_name = name.replace('-', "_");
    let rule = if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        "it has to begin with a letter"
    } else if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    {
        "it has letters, digits, `-` and `_` only"
    } else if KEYWORDS.contains(&crate_name.as_str()) {
        "it is a keyword of Rust"
    } else if CARGOS.contains(&name) {
        "Cargo has a folder of that name beside the program"
    } else if OURS.contains(&crate_name.as_str()) || crate_name.starts_with("ebb_") {
        "a crate that the project depends on has that name"
    } else {
        return Ok(());
    };
    Err(Failure(format!(
        "`{name}` cannot be a project's name: {rule}"
    )))
}

/// What Cargo refuses as a program's name.
const CARGOS: [&str; 4] = ["build", "deps", "examples", "incremental"];

const OURS: [&str; 7] = [
    "ebb",
    "core",
    "alloc",
    "std",
    "test",
    "proc_macro",
    "native_target",
];

/// Rust's strict and reserved keywords (The Rust Reference, "Keywords").
const KEYWORDS: [&str; 52] = [
    "Self", "abstract", "as", "async", "await", "become", "box", "break", "const", "continue",
    "crate", "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if",
    "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub",
    "ref", "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// The manifest of the workspace that the folder would belong to.
fn workspace_around(folder: &Path) -> Option<PathBuf> {
    let parent = folder.parent()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let found = Command::new(cargo)
        .current_dir(parent)
        .args(["locate-project", "--workspace", "--message-format", "plain"])
        .output()
        .ok()?;
    let text = String::from_utf8(found.stdout).ok()?;
    (found.status.success() && !text.trim().is_empty()).then(|| text.trim().into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{check_name, for_a_shell, name_of, take_back};

    #[test]
    fn a_name_that_is_none_is_told_by_which_rule() {
        check_name("my-service2").unwrap();
        for (name, rule) in [
            ("2nd", "begin with a letter"),
            ("a.b", "letters, digits"),
            ("async", "a keyword"),
            ("yield", "a keyword"),
            ("Self", "a keyword"),
            ("deps", "Cargo has a folder"),
            ("ebb", "depends on"),
            ("native-target", "depends on"),
        ] {
            let told = check_name(name).unwrap_err().0;
            assert!(told.contains(rule), "{name}: {told}");
        }
    }

    #[test]
    fn a_dot_is_the_name_of_the_folder_that_it_stands_for() {
        let here = std::env::current_dir().unwrap();
        let name = here.file_name().unwrap().to_str().unwrap();
        assert_eq!(name_of(Path::new(".")), name);
        assert_eq!(name_of(Path::new("src/..")), name);
        assert_eq!(name_of(Path::new("far/off")), "off");
        assert_eq!(name_of(Path::new("/")), "");
    }

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        assert_eq!(for_a_shell("a/b-2.c"), "a/b-2.c");
        assert_eq!(for_a_shell("my folder/it's"), r"'my folder/it'\''s'");
    }

    #[test]
    fn what_was_written_is_taken_back_and_a_folder_that_was_there_stays() {
        use std::os::unix::fs::MetadataExt;
        let root = std::env::temp_dir().join(format!("cargo-ebb-new-{}", std::process::id()));
        std::fs::create_dir_all(root.join("src")).unwrap();
        std::fs::write(root.join("Cargo.toml"), "").unwrap();
        let before = std::fs::metadata(&root).unwrap().ino();
        take_back(&root, true);
        assert_eq!(std::fs::metadata(&root).unwrap().ino(), before);
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
        take_back(&root, false);
        assert!(!root.exists());
    }
}
