//! Made-up crates with one fault each: what the checker is there for, it finds.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{circles_told, misplaced, source::Source};

/// A crate's folder, gone at the end.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("layers-{name}"));
        let _ = fs::remove_dir_all(&folder);
        for (path, text) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
            fs::write(path, text).expect("the file is written");
        }
        Self(folder)
    }

    fn read(&self) -> Source {
        Source::read(&self.0, &self.0.join("src/lib.rs"))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const LAYERED: &str =
    "//! # Layers\n//! - `low`: below\n//! - `high`: above\nmod high;\nmod low;\n";

/// What is told of a crate in which `high` is above `low`, with this text of `low`.
fn told_of(name: &str, low: &str) -> Vec<String> {
    let high = "use crate::low::Base;\npub struct Top(Base);\npub fn top() {}\n";
    let files = [
        ("src/lib.rs", LAYERED),
        ("src/high.rs", high),
        ("src/low.rs", low),
    ];
    let source = Tree::new(name, &files).read();
    let mut told = misplaced(&source).expect("the list of layers is read");
    told.extend(circles_told(&source));
    told
}

#[track_caller]
fn assert_names_both(told: &[String], name: &str) {
    let arrow = format!("src/low.rs uses `{name}` of src/high.rs");
    let with_both = told.iter().filter(|line| line.contains(&arrow));
    // Once as a layer above, once as part of a circle.
    assert_eq!(with_both.count(), 2, "{told:#?}");
}

#[test]
fn a_crate_in_order_is_told_nothing_of() {
    let told = told_of("order", "pub struct Base;\n");
    assert_eq!(told, Vec::<String>::new());
}

#[test]
fn an_upward_use_declaration_is_told_with_both_names() {
    let told = told_of(
        "use",
        "use super::high::Top;\npub struct Base;\nfn f(_: Top) {}\n",
    );
    assert_names_both(&told, "Top");
}

#[test]
fn an_upward_path_within_code_is_told_with_both_names() {
    let told = told_of("path", "pub struct Base;\nfn f() { crate::high::top() }\n");
    assert_names_both(&told, "top");
}

#[test]
fn an_upward_path_among_a_macros_arguments_is_told_with_both_names() {
    let told = told_of(
        "macro",
        "pub struct Base;\nfn f() { assert!({ crate::high::top(); true }) }\n",
    );
    assert_names_both(&told, "top");
}

#[test]
fn a_name_that_the_root_passes_on_belongs_to_the_file_that_defines_it() {
    let root = format!("{LAYERED}pub use high::Top;\n");
    let low = "pub struct Base;\nfn f(_: crate::Top) {}\n";
    let high = "use crate::low::Base;\npub struct Top(Base);\n";
    let files = [
        ("src/lib.rs", &root[..]),
        ("src/high.rs", high),
        ("src/low.rs", low),
    ];
    let source = Tree::new("root", &files).read();
    assert!(misplaced(&source).is_some_and(|told| told.len() == 1));
    assert_eq!(circles_told(&source).len(), 1);
}

#[test]
fn an_exported_macro_belongs_to_the_file_that_defines_it() {
    let low = "pub struct Base;\nfn f() { crate::say!() }\n";
    let high = "use crate::low::Base;\npub struct Top(Base);\n#[macro_export]\nmacro_rules! say { () => {} }\n";
    let files = [
        ("src/lib.rs", LAYERED),
        ("src/high.rs", high),
        ("src/low.rs", low),
    ];
    let source = Tree::new("exported", &files).read();
    let told = misplaced(&source).expect("the list of layers is read");
    assert_eq!(
        told,
        ["src/low.rs uses `say` of src/high.rs, which is not below it"]
    );
}

#[test]
fn a_file_that_the_list_of_layers_lacks_is_told() {
    let root = format!("{LAYERED}mod other;\n");
    let files = [
        ("src/lib.rs", &root[..]),
        ("src/high.rs", ""),
        ("src/low.rs", ""),
        ("src/other.rs", ""),
    ];
    let told = misplaced(&Tree::new("lacking", &files).read());
    assert_eq!(
        told.as_deref(),
        Some(&["src/other.rs is in no layer of src/lib.rs".to_string()][..])
    );
}

#[test]
fn a_module_and_the_files_that_it_is_split_into_may_need_one_another() {
    let files = [
        ("src/lib.rs", "mod whole;\n"),
        (
            "src/whole/mod.rs",
            "mod part;\npub struct Whole(part::Part);\n",
        ),
        (
            "src/whole/part.rs",
            "pub struct Part(Option<Box<super::Whole>>);\n",
        ),
    ];
    assert_eq!(
        circles_told(&Tree::new("split", &files).read()),
        Vec::<String>::new()
    );
}
