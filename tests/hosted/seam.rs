//! The table of components in the book's chapter on the architecture, against the sources.

use std::{collections::BTreeMap, fs, path::Path};

use test_support::WORKSPACE;

/// Every component of a crate's sources: its name, its file, and whether it is replaceable.
fn components(folder: &Path, found: &mut BTreeMap<String, (String, bool)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            components(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let mut replaceable = None;
            for line in text.lines() {
                match line {
                    "#[component]" | "#[ebb::component]" => replaceable = Some(false),
                    "#[component(replaceable)]" | "#[ebb::component(replaceable)]" => {
                        replaceable = Some(true)
                    }
                    _ => {
                        let name = line
                            .strip_prefix("pub trait ")
                            .and_then(|rest| rest.split([' ', ':']).next());
                        if let (Some(name), Some(replaceable)) =
                            (name, replaceable.filter(|_| !line.starts_with("#[")))
                        {
                            let file = path.strip_prefix(WORKSPACE).expect("below the workspace");
                            found
                                .insert(name.to_owned(), (file.display().to_string(), replaceable));
                        }
                        if !line.starts_with("#[") {
                            replaceable = None;
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn the_table_of_components_in_the_book_is_that_of_the_sources() {
    let mut sources = BTreeMap::new();
    for entry in fs::read_dir(WORKSPACE).expect("the workspace").flatten() {
        let source = entry.path().join("src");
        if source.is_dir() && !entry.path().ends_with("ebb-macros") {
            components(&source, &mut sources);
        }
    }
    let chapter = fs::read_to_string(Path::new(WORKSPACE).join("docs/src/architecture.md"))
        .expect("the chapter");
    let rows = chapter.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        let file = cells.get(2)?.strip_prefix('`')?.strip_suffix('`')?;
        file.ends_with(".rs")
            .then(|| (name.to_owned(), (file.to_owned(), cells[3] == "yes")))
    });
    assert_eq!(rows.collect::<BTreeMap<_, _>>(), sources);
    assert!(sources.contains_key("Clock"));
}
