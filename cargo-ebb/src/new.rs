//! `cargo ebb new`: writes a project's files where there was nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::{
    arguments::New,
    failure::{Failure, Result, at},
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
    let name = options
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    check_name(&name)?;
    let here = options.path.display();
    // A folder that was made for it is as good as none.
    if fs::read_dir(&options.path).is_ok_and(|mut entries| entries.next().is_some())
        || options.path.is_file()
    {
        return Err(Failure(format!(
            "{here} is not empty; choose another name, or remove it"
        )));
    }
    let existed = options.path.exists();
    fs::create_dir_all(&options.path).map_err(at(&here))?;
    let root = fs::canonicalize(&options.path).map_err(at(&here))?;
    let workspace = workspace_around(&root);
    let text = workspace.as_ref().map_or("", |_| OWN_WORKSPACE);
    let files = template::files(options.template, &name, text, |package| {
        source.dependency(package)
    });
    if let Err(failure) = write(&root, &files) {
        let _ = fs::remove_dir_all(&root);
        if existed {
            let _ = fs::create_dir(&root);
        }
        return Err(failure);
    }
    println!("made {here}, with ebb from {}\n", described(&source));
    if let Some(around) = workspace {
        println!(
            "it is a workspace of its own: profiles of {} are not for images\n",
            around.display()
        );
    }
    println!(
        "    cd {here}\n    cargo ebb run             # as a virtual machine\n    cargo ebb run --hosted    # as a Linux process\n    cargo ebb test            # both\n\nREADME.md has the rest."
    );
    Ok(ExitCode::SUCCESS)
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
    let rule = if name.is_empty() {
        "say a name: `cargo ebb new NAME`"
    } else if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        "it has to begin with a letter"
    } else if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    {
        "it has letters, digits, `-` and `_` only"
    } else if KEYWORDS.contains(&crate_name.as_str()) {
        "it is a word of Rust's"
    } else if OURS.contains(&crate_name.as_str()) || crate_name.starts_with("ebb_") {
        "a crate that the project depends on has that name"
    } else {
        return Ok(());
    };
    Err(Failure(format!(
        "`{name}` cannot be a project's name: {rule}"
    )))
}

const OURS: [&str; 7] = [
    "ebb",
    "core",
    "alloc",
    "std",
    "test",
    "proc_macro",
    "native_target",
];

/// Rust's strict and reserved keywords (The Rust Reference, "Keywords"), in lower case.
const KEYWORDS: [&str; 50] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while",
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
    use super::check_name;

    #[test]
    fn a_name_that_is_none_is_told_by_which_rule() {
        check_name("my-service2").unwrap();
        for (name, rule) in [
            ("", "say a name"),
            ("2nd", "begin with a letter"),
            ("a.b", "letters, digits"),
            ("async", "a word of Rust's"),
            ("ebb", "depends on"),
            ("native-target", "depends on"),
        ] {
            let told = check_name(name).unwrap_err().0;
            assert!(told.contains(rule), "{name}: {told}");
        }
    }
}
