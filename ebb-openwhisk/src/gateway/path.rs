//! The paths of an API: the base path that all of it is below, and the relative paths of its operations. A segment may be a parameter,
//! `{name}`, which any segment of a request is.
//!
//! What must hold: a path is the same however it ends, with a slash or without, and no two base paths have one name.

use super::{refused, refused_by_gateway};
use crate::failure::{Failure, Result};
use crate::name;
use alloc::{format, string::String};

/// The longest path in bytes.
pub const LONGEST: usize = 1 << 10;

/// What stands for a slash in a name.
const SLASH: &str = ".2F";

/// The name of the parameter that a segment of an API's path is, if it is one.
pub fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// The parameters of a path, by name.
pub fn parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(parameter)
}

/// A path, or another name of a document, as it is told: it may be long.
pub(crate) fn shown(path: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown: String = path.chars().take(SHOWN).collect();
    if shown.len() < path.len() {
        shown.push_str("...");
    }
    shown
}

/// Checks a path, and takes the slashes off its ends.
///
/// # Errors
/// 400, or 502 in the words of OpenWhisk's gateway: it is none.
pub fn check(path: &str) -> Result<&str> {
    if path.len() > LONGEST {
        let bytes = path.len();
        return Err(Failure::bad(format!(
            "A path is longer than allowed: {bytes} > {LONGEST} bytes."
        )));
    }
    if path.contains('\'') {
        return Err(refused_by_gateway(
            "resource path contains illegal character \"'\".",
        ));
    }
    let Some(inner) = path.strip_prefix('/') else {
        return Err(refused_by_gateway("Resource path must begin with '/'."));
    };
    let inner = match inner {
        "" => return Ok(inner),
        inner => inner.strip_suffix('/').unwrap_or(inner),
    };
    if inner.split('/').all(is_segment) {
        return Ok(inner);
    }
    Err(Failure::bad(format!(
        "The path '{}' is none: a segment is a parameter, {{name}}, or of letters, digits and -._~!$&()*+,;=:@ and blanks, and neither empty nor . or ..",
        shown(path)
    )))
}

/// Whether this can be a segment: what a URL needs no code for, and blanks, which OpenWhisk's gateway takes as well.
fn is_segment(segment: &str) -> bool {
    let text = parameter(segment).unwrap_or(segment);
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&()*+,;=:@ ".contains(&byte);
    !text.is_empty() && text.bytes().all(is_legal) && !matches!(segment, "." | "..")
}

/// Checks a base path, and makes it begin with a slash and end with none.
///
/// # Errors
/// As [`check`]; 502: it has parameters.
pub fn check_base(path: &str) -> Result<String> {
    let inner = check(path)?;
    if parameters(inner).next().is_some() {
        return Err(refused(format!(
            "The base path ({path}) cannot have parameters. Only the relative path supports path parameters."
        )));
    }
    Ok(format!("/{inner}"))
}

/// The name of the API at a base path that was checked.
///
/// # Errors
/// 400: it would be longer than names are.
pub fn name_of(base: &str) -> Result<String> {
    let mut name = String::from("_");
    for (place, segment) in base.trim_start_matches('/').split('/').enumerate() {
        append(&mut name, place, segment);
    }
    if name.len() > name::LONGEST {
        return Err(Failure::bad(format!(
            "The base path is longer than allowed: {} > {} characters, where each that is no letter or digit counts as three.",
            name.len(),
            name::LONGEST
        )));
    }
    Ok(name)
}

/// The names that an API may have which serves a path of these segments, with how many of them are its base path, which are
/// as many as names can have.
pub fn names<'p>(path: &'p [&'p str]) -> impl Iterator<Item = (usize, String)> + 'p {
    let mut name = String::from("_");
    let more = path.iter().enumerate().map_while(move |(place, segment)| {
        // As long as it is short enough before, this takes no longer than the segment is.
        append(&mut name, place, segment);
        (name.len() <= name::LONGEST).then(|| (place + 1, name.clone()))
    });
    core::iter::once((0, String::from("_"))).chain(more)
}

/// Appends a segment to a name, which takes letters, digits and a few signs only.
fn append(name: &mut String, place: usize, segment: &str) {
    if place > 0 {
        name.push_str(SLASH);
    }
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            name.push(byte.into());
        } else {
            name.push_str(&format!(".{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_base_path_is_the_same_with_a_slash_at_its_end() {
        for (path, base, name) in [
            ("/", "/", "_"),
            ("/club", "/club", "_club"),
            ("/club/", "/club", "_club"),
            ("/a/b-c_d", "/a/b-c_d", "_a.2Fb-c_d"),
            ("/v1.0/a b", "/v1.0/a b", "_v1.2E0.2Fa.20b"),
        ] {
            let checked = check_base(path).expect(path);
            assert_eq!(checked, base);
            assert_eq!(name_of(&checked).as_deref(), Ok(name));
            name::check(name).expect(name);
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in [
            "",
            "a",
            "//",
            "/a//b",
            "/..",
            "/a/../b",
            "/.",
            "/a?b",
            "/a#b",
            "/a%20b",
            "/a\\b",
            "/ü",
            "/a\u{0}b",
            "/a\u{202e}b",
            "/{}",
            "/{a",
            "/a}",
            "/{a}.json",
            "/{a{b}}",
            "/a'b",
        ] {
            assert!(check(path).is_err(), "{path:?}");
        }
        assert!(check(&"/a".repeat(LONGEST)).is_err());
        assert!(check_base("/a/{b}").is_err());
        assert!(name_of(&"/a".repeat(65)).is_err());
        assert_eq!(
            check("/a/{b}/").map(|path| parameters(path).collect::<Vec<_>>()),
            Ok(["b"].into())
        );
    }

    #[test]
    fn the_names_of_a_path_are_those_of_all_its_beginnings() {
        let path = ["a", "b c", "ü"];
        let all: Vec<_> = names(&path).collect();
        let expected = ["_", "_a", "_a.2Fb.20c", "_a.2Fb.20c.2F.C3.BC"];
        assert!(
            all.iter()
                .map(|(count, name)| (*count, &**name))
                .eq(expected.into_iter().enumerate())
        );
        let long = ["a"; 1000];
        assert!(names(&long).count() <= name::LONGEST);
    }
}
