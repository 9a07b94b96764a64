//! The environment of a program in the image: what of the runner's own goes into it.
//!
//! An image asks for it in its note of type 3, by the word `environment:ARGUMENT`: the variables go along when the
//! application's arguments have that word. Left out is what belongs to this machine: the runner's own variables, Cargo's, what
//! a shell sets for itself, and whatever names a file or folder that there is here.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// What belongs to this machine, by its name. Places, as in `PATH` and `HOME`, are told by their values.
const OF_MACHINE: &[&str] = &[
    "_",
    "COLUMNS",
    "HOSTNAME",
    "LINES",
    "LOGNAME",
    "LS_COLORS",
    "OLDPWD",
    "PS1",
    "PWD",
    "SHLVL",
    "TERM",
    "USER",
];
const OF_MACHINE_PREFIXES: &[&str] =
    &["BASH_FUNC_", "CARGO", "EBB_", "LD_", "RUST", "SSH_", "XDG_"];

/// Gathers the variables that go into an image, in at most `room` bytes: the option `environment=...` for it, and the
/// names of those that did not fit. OpenWhisk's own come first, then the shorter ones.
pub fn option(
    variables: impl Iterator<Item = (OsString, OsString)>,
    exists: impl Fn(&Path) -> bool,
    room: usize,
) -> (Option<String>, Vec<String>) {
    let mut passed: Vec<(String, String)> = variables
        .filter(|(name, value)| !is_of_machine(name) && !names_a_place(value, &exists))
        .map(|(name, value)| {
            let mut word = String::new();
            encode(name.as_bytes(), &mut word);
            word.push('=');
            encode(value.as_bytes(), &mut word);
            (name.to_string_lossy().into_owned(), word)
        })
        .collect();
    passed.sort_by_key(|(name, word)| (!name.starts_with("__OW_"), word.len(), name.clone()));
    let mut option = String::from("environment=");
    let empty = option.len();
    let mut left_out = Vec::new();
    for (name, word) in passed {
        let blank = usize::from(option.len() > empty);
        if option.len() + blank + word.len() > room {
            left_out.push(name);
            continue;
        }
        option.push_str(if blank > 0 { "&" } else { "" });
        option.push_str(&word);
    }
    ((option.len() > empty).then_some(option), left_out)
}

fn is_of_machine(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return true;
    };
    OF_MACHINE.contains(&name)
        || OF_MACHINE_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Whether a value is, or has among its parts, a path of this machine.
fn names_a_place(value: &OsStr, exists: &impl Fn(&Path) -> bool) -> bool {
    let parts = value.as_bytes().split(|byte| b":=,; ".contains(byte));
    parts
        .filter(|part| part.len() > 1 && part[0] == b'/' && part[1] != b'/')
        .any(|part| exists(Path::new(OsStr::from_bytes(part))))
}

/// `&` separates variables, and the command line is split at blanks.
fn encode(bytes: &[u8], word: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_graphic() && byte != b'%' && byte != b'&' {
            word.push(char::from(byte));
        } else {
            let _ = write!(word, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(variables: &[(&str, &str)], room: usize) -> (Option<String>, Vec<String>) {
        let variables = variables.iter().map(|(n, v)| (n.into(), v.into()));
        let here = |path: &Path| path.starts_with("/home/me") || path == Path::new("/usr/bin");
        option(variables, here, room)
    }

    #[test]
    fn what_a_platform_sets_goes_along_and_what_is_this_machines_does_not() {
        let variables = [
            ("HOME", "/home/me"),
            ("PATH", "/opt/x:/usr/bin"),
            ("NODE_OPTIONS", "--require /home/me/x.js"),
            ("EBB_CORES", "2"),
            ("CARGO_PKG_NAME", "ebb"),
            ("SHLVL", "1"),
            ("TZ", "Europe/Berlin"),
            ("BASE", "/api/v1"),
            ("https_proxy", "http://proxy:3128/"),
            ("__OW_API_HOST", "http://api.test:3233"),
        ];
        let (option, left_out) = given(&variables, 4000);
        assert_eq!(
            option.as_deref(),
            Some(
                "environment=__OW_API_HOST=http://api.test:3233&BASE=/api/v1&TZ=Europe/Berlin&https_proxy=http://proxy:3128/"
            )
        );
        assert!(left_out.is_empty());
    }

    #[test]
    fn any_text_arrives_and_an_empty_one_too() {
        let (option, _) = given(&[("A", "x & y%\n\u{e9}"), ("B", "")], 4000);
        assert_eq!(
            option.as_deref(),
            Some("environment=B=&A=x%20%26%20y%25%0A%C3%A9")
        );
        assert_eq!(given(&[], 4000), (None, Vec::new()));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let long = "x".repeat(50);
        let variables = [("LONG", long.as_str()), ("SHORT", "1"), ("__OW_KEY", "2")];
        let (option, left_out) = given(&variables, 40);
        assert_eq!(option.as_deref(), Some("environment=__OW_KEY=2&SHORT=1"));
        assert_eq!(left_out, ["LONG"]);
    }
}
