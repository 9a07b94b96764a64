//! The tree is the architecture: a file uses what is below it, and no two need one another. Read from the source, so that a
//! change that turns an arrow round is told with the names of both files.

mod made_up;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use source::{Source, root_of};
use test_support::WORKSPACE;

/// The folders of the workspace's crates that are not tests or benches.
fn crates() -> Vec<PathBuf> {
    let is_ours =
        |name: &str| name.starts_with("ebb-") || ["cargo-ebb", "native-target"].contains(&name);
    let workspace = fs::canonicalize(WORKSPACE).expect("the workspace");
    let mut folders = crates_in(&workspace, is_ours);
    folders.push(workspace);
    folders.sort();
    folders
}

/// The folders of all of the workspace's crates.
fn all_crates() -> Vec<PathBuf> {
    let workspace = fs::canonicalize(WORKSPACE).expect("the workspace");
    let mut folders = crates();
    for within in ["native-target", "tests", "benches"] {
        folders.extend(crates_in(&workspace.join(within), |_| true));
    }
    folders.push(workspace.join("benches"));
    folders
}

fn crates_in(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let folders = entries.map(|entry| entry.expect("an entry").path());
    folders
        .filter(|folder| {
            let name = folder.file_name().and_then(|name| name.to_str());
            name.is_some_and(&is_wanted) && folder.join("Cargo.toml").exists()
        })
        .collect()
}

fn read(folder: &Path) -> Option<Source> {
    let workspace = fs::canonicalize(WORKSPACE).expect("the workspace");
    Some(Source::read(&workspace, &root_of(folder)?))
}

/// Every library and program of the workspace: the crates' roots, and the other files that their manifests name.
fn all_sources() -> Vec<Source> {
    let workspace = fs::canonicalize(WORKSPACE).expect("the workspace");
    let mut found = Vec::new();
    for folder in all_crates() {
        found.extend(root_of(&folder));
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        let named = manifest.lines().filter_map(|line| {
            let path = line.strip_prefix("path = \"")?.strip_suffix('"')?;
            path.ends_with(".rs").then(|| folder.join(path))
        });
        found.extend(named);
        let implied = ["src/main.rs"].iter().map(|name| folder.join(name));
        found.extend(implied.filter(|path| path.exists()));
    }
    found.sort();
    found.dedup();
    found
        .iter()
        .map(|root| Source::read(&workspace, root))
        .collect()
}

/// The sets of files of which each needs every other.
fn circles(files: &BTreeSet<usize>, source: &Source) -> Vec<BTreeSet<usize>> {
    let reach = |from: usize| {
        let mut seen = BTreeSet::new();
        let mut next = vec![from];
        while let Some(file) = next.pop() {
            for used in source.files[file].uses.keys() {
                if files.contains(used) && seen.insert(*used) {
                    next.push(*used);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<usize, BTreeSet<usize>> = files.iter().map(|f| (*f, reach(*f))).collect();
    let mut found = BTreeSet::new();
    for (file, there) in &reached {
        let mutual: BTreeSet<usize> = there
            .iter()
            .copied()
            .filter(|other| other == file || reached[other].contains(file))
            .collect();
        if mutual.len() > 1 {
            found.insert(mutual);
        }
    }
    found.into_iter().collect()
}

/// Of these files those circles that are not only between a module and the files that it is split into.
fn faults(files: &BTreeSet<usize>, source: &Source) -> Vec<BTreeSet<usize>> {
    let mut found = Vec::new();
    for mut circle in circles(files, source) {
        let module = |file: usize| &source.files[file].module;
        let parent = circle.iter().copied().find(|parent| {
            circle
                .iter()
                .all(|f| module(*f).starts_with(module(*parent)))
        });
        match parent {
            Some(parent) => {
                circle.remove(&parent);
                found.extend(faults(&circle, source));
            }
            None => found.push(circle),
        }
    }
    found
}

/// What is to be told of a crate's circles: for each the uses that it consists of.
fn circles_told(source: &Source) -> Vec<String> {
    let all: BTreeSet<usize> = (0..source.files.len()).collect();
    let tell = |circle: BTreeSet<usize>| {
        let mut text = String::from("a circle:");
        for from in &circle {
            let file = &source.files[*from];
            for (to, name) in file.uses.iter().filter(|(to, _)| circle.contains(to)) {
                let used = &source.files[*to].path;
                text += &format!("\n  {} uses `{name}` of {used}", file.path);
            }
        }
        text
    };
    faults(&all, source).into_iter().map(tell).collect()
}

#[test]
fn no_two_files_need_one_another() {
    let sources = all_sources();
    assert!(sources.len() >= 60, "only {} were read", sources.len());
    let told: Vec<String> = sources.iter().flat_map(circles_told).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// Lines of a file, at most: CONTRIBUTING.md.
const LINES: usize = 750;

/// To link a test program without tests takes as long as one with them, and 7 MB.
#[test]
fn only_crates_without_unit_tests_say_that_they_have_none() {
    let says_so = |folder: &Path| {
        let text = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        let library = text.split("\n[lib]\n").nth(1).unwrap_or_default();
        let library = library.split("\n[").next().unwrap_or_default().to_owned();
        library.lines().any(|line| line == "test = false")
    };
    for folder in all_crates() {
        let Some(source) = read(&folder) else {
            continue;
        };
        let mut files = source.files.iter();
        let has_tests = files.any(|file| {
            let path = Path::new(WORKSPACE).join(&file.path);
            let text = fs::read_to_string(path).expect("a source");
            text.lines().any(|line| line.trim() == "#[test]")
        });
        assert!(
            !(has_tests && says_so(&folder)),
            "{}: its unit tests do not run, since its manifest says `test = false`",
            folder.display()
        );
    }
}

#[test]
fn no_file_is_longer_than_can_be_read_at_once() {
    let workspace = fs::canonicalize(WORKSPACE).expect("the workspace");
    let sources = all_sources();
    let files: BTreeSet<&String> = sources
        .iter()
        .flat_map(|source| source.files.iter().map(|file| &file.path))
        .collect();
    assert!(files.len() >= 500, "only {} were read", files.len());
    let long = files.into_iter().filter_map(|path| {
        let text = fs::read_to_string(workspace.join(path)).expect("a file that was read before");
        let lines = text.lines().count();
        (lines > LINES).then(|| format!("{path} has {lines} lines: split it"))
    });
    let told: Vec<String> = long.collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// The layers that a module's documentation lists, the lowest first: each with the modules of its line.
///
/// Below a heading `# Layers`, lines or rows of a table that begin with names in backquotes.
fn layers(text: &str) -> Vec<Vec<String>> {
    let documentation = text
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(str::trim);
    let mut found = Vec::new();
    let mut within = false;
    for line in documentation {
        if line.starts_with('#') {
            within = line == "# Layers";
        } else if within && (line.starts_with("- `") || line.starts_with("| [`")) {
            let end = if line.starts_with('-') { ':' } else { '|' };
            let names = line[1..].split(end).next().unwrap_or_default();
            let names = names.split('`').skip(1).step_by(2).map(String::from);
            found.push(names.collect());
        }
    }
    found
}

/// What is to be told of the layers that modules of a crate list; `None` when none lists any.
fn misplaced(source: &Source) -> Option<Vec<String>> {
    let mut told = None;
    for root in &source.files {
        let layers = layers(&root.text);
        if layers.is_empty() {
            continue;
        }
        let told = told.get_or_insert_with(Vec::new);
        let depth = root.module.len();
        let layer_of = |module: &[String]| {
            let name = module.strip_prefix(root.module.as_slice())?.first()?;
            layers.iter().position(|names| names.contains(name))
        };
        let below = source
            .files
            .iter()
            .filter(|file| file.module.starts_with(&root.module) && file.module.len() > depth);
        for file in below {
            let Some(own) = layer_of(&file.module) else {
                told.push(format!("{} is in no layer of {}", file.path, root.path));
                continue;
            };
            for (used, name) in &file.uses {
                let used = &source.files[*used];
                let same = file.module.get(depth) == used.module.get(depth);
                if !same && layer_of(&used.module).is_some_and(|layer| layer >= own) {
                    told.push(format!(
                        "{} uses `{name}` of {}, which is not below it",
                        file.path, used.path
                    ));
                }
            }
        }
    }
    told
}

#[test]
fn a_file_uses_only_layers_that_its_module_lists_above_its_own() {
    let crates = crates();
    let sources: Vec<Source> = crates.iter().filter_map(|folder| read(folder)).collect();
    let files = sources.iter().flat_map(|source| &source.files);
    let lists = files.filter(|file| !layers(&file.text).is_empty()).count();
    assert!(lists >= 2, "only {lists} lists of layers were found");
    let told: Vec<String> = sources.iter().filter_map(misplaced).flatten().collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// The names in backquotes of a text.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(String::from)
        .collect()
}

#[test]
fn crates_depend_on_those_that_the_architecture_says() {
    let chapter = fs::read_to_string(Path::new(WORKSPACE).join("docs/src/architecture.md"))
        .expect("the chapter");
    // Folder, and what it may depend on: in the order of the table.
    let rows: Vec<(String, Vec<String>)> = chapter
        .lines()
        .skip_while(|line| *line != "## Crates")
        .skip_while(|line| !line.starts_with("| `"))
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let folder = quoted(cells[1]).pop_first().expect("a folder");
            (
                folder,
                cells[3]
                    .split(", ")
                    .map(|n| String::from(n.trim_matches('`')))
                    .collect(),
            )
        })
        .collect();
    let allowed: BTreeMap<&str, &Vec<String>> = rows
        .iter()
        .map(|(name, may)| (name.as_str(), may))
        .collect();
    let mut told = Vec::new();
    let workspace = fs::canonicalize(WORKSPACE).expect("the workspace");
    for folder in crates() {
        let shown = match folder.strip_prefix(&workspace).expect("within") {
            root if root.as_os_str().is_empty() => ".",
            other => other.to_str().expect("text"),
        };
        let Some(may) = allowed.get(shown) else {
            told.push(format!("{shown} is not in the table"));
            continue;
        };
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        let dependencies = manifest
            .lines()
            .skip_while(|line| *line != "[dependencies]")
            .skip(1)
            .take_while(|line| !line.starts_with('['));
        for line in dependencies {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let ours = name == "ebb" || allowed.contains_key(name);
            if ours && !may.iter().any(|m| m == name) {
                told.push(format!(
                    "{shown} depends on {name}; the table does not say so"
                ));
            }
        }
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
}
