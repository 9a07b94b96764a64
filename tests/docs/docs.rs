//! The book and the pages at the root: what they point to is there. mdBook builds a book whose links lead nowhere and whose
//! excerpts are empty, so building it would show little of this.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use test_support::WORKSPACE;

/// A page as written.
struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    fn folder(&self) -> &Path {
        self.path.parent().expect("a page is in a folder")
    }

    fn events(&self) -> impl Iterator<Item = Event<'_>> {
        Parser::new_ext(&self.text, Options::ENABLE_TABLES)
    }

    /// Where its links and pictures lead, as written.
    fn links(&self) -> Vec<String> {
        let links = self.events().filter_map(|event| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some(dest_url.into_string())
            }
            _ => None,
        });
        links.collect()
    }

    /// The anchors of its headings, as mdBook and GitHub make them.
    fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        let mut heading: Option<String> = None;
        for event in self.events() {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    anchors.extend(heading.take().map(|text| anchor(&text)));
                }
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        anchors
    }

    /// What stands between backticks within text.
    fn code(&self) -> Vec<String> {
        let code = self.events().filter_map(|event| match event {
            Event::Code(text) => Some(text.into_string()),
            _ => None,
        });
        code.collect()
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    kept.collect()
}

/// All pages, by their canonical paths.
fn pages() -> BTreeMap<PathBuf, Page> {
    let root = Path::new(WORKSPACE).canonicalize().expect("the workspace");
    let chapters = fs::read_dir(root.join("docs/src")).expect("the book");
    let chapters = chapters.map(|entry| entry.expect("an entry").path());
    let front = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root.join(name));
    let paths = chapters.filter(|path| path.extension().is_some_and(|e| e == "md"));
    let pages = paths.chain(front).map(|path| {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path.clone(), Page { path, text })
    });
    pages.collect()
}

#[track_caller]
fn nothing_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n  {}", wrong.join("\n  "));
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let pages = pages();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for page in pages.values() {
        for link in page.links() {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => page.path.clone(),
                file => page.folder().join(file),
            };
            let Ok(target) = target.canonicalize() else {
                wrong.push(format!("{}: {link} is not there", page.path.display()));
                continue;
            };
            let has_heading = |page: &Page| page.anchors().contains(heading);
            if !heading.is_empty() && !pages.get(&target).is_some_and(has_heading) {
                wrong.push(format!("{}: {link} names no heading", page.path.display()));
            }
        }
    }
    nothing_wrong(&wrong);
    assert!(checked > 50, "only {checked} links were found");
}

#[test]
fn the_summary_lists_every_chapter_once() {
    let pages = pages();
    let summary = pages
        .values()
        .find(|page| page.path.ends_with("SUMMARY.md"))
        .expect("a summary");
    let mut listed = summary.links();
    listed.sort();
    let chapters = pages
        .keys()
        .filter(|path| path.parent() == Some(summary.folder()));
    let chapters: Vec<_> = chapters
        .filter_map(|path| path.file_name()?.to_str())
        .filter(|name| *name != "SUMMARY.md")
        .collect();
    assert_eq!(listed, chapters);
}

#[test]
fn every_excerpt_is_of_a_file_that_has_its_anchor() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for page in pages().values() {
        for excerpt in page.text.split("{{#").skip(1) {
            let Some((command, _)) = excerpt.split_once("}}") else {
                continue;
            };
            let what = command.split_whitespace().nth(1).unwrap_or_default();
            let (file, part) = what.split_once(':').unwrap_or((what, ""));
            checked += 1;
            let text = fs::read_to_string(page.folder().join(file)).unwrap_or_default();
            let is_there = match part {
                "" => !text.is_empty(),
                name => ["ANCHOR", "ANCHOR_END"].iter().all(|mark| {
                    text.lines()
                        .any(|line| line.trim_end().ends_with(&format!("{mark}: {name}")))
                }),
            };
            if !is_there {
                wrong.push(format!("{}: {command}", page.path.display()));
            }
        }
    }
    nothing_wrong(&wrong);
    assert!(checked > 0, "no excerpt was found");
}

/// A path of a file or folder of the workspace, if the words between backticks look like one.
fn named_path(code: &str) -> Option<&str> {
    let word = code.split([':', ' ']).next()?;
    let top = word.split('/').next()?;
    let folders = [
        "benches",
        "docs",
        "examples",
        "native-target",
        "src",
        "tests",
        ".ci",
        ".cargo",
    ];
    let is_path = word.contains('/') && !word.contains(['*', '<', '{', '$', '(', 'N']);
    (is_path && (folders.contains(&top) || top.starts_with("ebb-"))).then_some(word)
}

#[test]
fn every_file_that_the_text_names_is_there() {
    let root = Path::new(WORKSPACE);
    let mut wrong = Vec::new();
    let mut checked = 0;
    for page in pages().values() {
        // What was at another place then.
        if page.path.ends_with("CHANGELOG.md") {
            continue;
        }
        for code in page.code() {
            let Some(path) = named_path(&code) else {
                continue;
            };
            checked += 1;
            if !root.join(path).exists() {
                wrong.push(format!("{}: `{path}`", page.path.display()));
            }
        }
    }
    nothing_wrong(&wrong);
    assert!(checked > 50, "only {checked} names were found");
}
