//! The tables of the book's chapter that are made from data: what differs and why, which is always as the suites have it, and
//! the figures, of which a whole run replaces its suite's row.

use crate::suite::Suite;

/// The chapter.
pub const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/conformance.md");

const FIGURES: &str = "## Figures";
const REASONS: &str = "## What differs";

/// The chapter with these reasons.
///
/// # Errors
/// When the chapter has no such table.
pub fn with_reasons(chapter: &str, suites: &[&Suite]) -> Result<String, String> {
    let row = |suite: &Suite| {
        let name = suite.name;
        let known = suite.known.iter();
        known
            .map(move |known| format!("| `{name}` | `{}` | {} |", known.what, known.why))
            .collect::<Vec<_>>()
    };
    with_rows(chapter, REASONS, |_| {
        suites.iter().flat_map(|suite| row(suite)).collect()
    })
}

/// The chapter with a suite's row of figures, which begins with the suite's name as `| \`NAME\``.
///
/// # Errors
/// When the chapter has no such table.
pub fn with_figures(chapter: &str, name: &str, row: &str) -> Result<String, String> {
    with_rows(chapter, FIGURES, |mut rows| {
        let start = format!("| `{name}`");
        match rows.iter_mut().find(|row| row.starts_with(&start)) {
            Some(old) => row.clone_into(old),
            None => rows.push(row.to_owned()),
        }
        rows
    })
}

/// Replaces the rows of the first table below a heading.
fn with_rows(
    chapter: &str,
    heading: &str,
    new: impl FnOnce(Vec<String>) -> Vec<String>,
) -> Result<String, String> {
    let missing = || format!("{PATH} has no table below `{heading}`");
    let lines: Vec<String> = chapter.lines().map(str::to_owned).collect();
    let is_row = |line: &String| line.starts_with('|');
    let section = lines.iter().position(|l| l == heading);
    let section = section.ok_or_else(missing)?;
    let ends = |line: &String| line.starts_with("## ");
    let end = lines[section + 1..].iter().position(ends);
    let end = end.map_or(lines.len(), |at| section + 1 + at);
    let table = lines[section..end].iter().position(is_row);
    let table = section + table.ok_or_else(missing)?;
    let length = lines[table..end].iter().take_while(|l| is_row(l)).count();
    // The names of the columns and the line below them stay.
    let (head, rest) = (table + 2, table + length);
    let rows = new(lines[head..rest].to_vec());
    let text = [&lines[..head], &rows, &lines[rest..]].concat();
    Ok(text.join("\n") + "\n")
}
