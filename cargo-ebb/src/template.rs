//! The projects that `cargo ebb new` begins with: embedded texts with `{{WORD}}` where a project differs.

use crate::arguments::Template;

/// A file of a project: where it is, and its text.
type File = (&'static str, &'static str);

macro_rules! file {
    ($to:literal, $from:literal) => {
        ($to, include_str!(concat!("../templates/", $from)))
    };
}

const COMMON: &[File] = &[
    // In a package of Cargo's, a folder with a Cargo.toml would be another package.
    file!("Cargo.toml", "common/Cargo.toml.in"),
    file!("build.rs", "common/build.rs"),
    file!(".gitignore", "common/gitignore"),
    file!(".cargo/config.toml", "common/config.toml"),
    file!("README.md", "common/README.md"),
    file!("examples/test-image.rs", "common/test-image.rs"),
];

/// What a template has of its own.
struct Own {
    files: &'static [File],
    /// Packages of ebb beside those that every project has.
    packages: &'static [&'static str],
    what: &'static str,
    /// What to try when it runs.
    try_it: &'static str,
}

fn own(template: Template) -> Own {
    match template {
        Template::Service => Own {
            files: &[
                file!("src/lib.rs", "service/lib.rs"),
                file!("src/main.rs", "service/main.rs"),
                file!("tests/suite.rs", "service/suite.rs"),
            ],
            packages: &["ebb-archive"],
            what: "A web service on every core of a virtual machine.",
            try_it: "While it runs: `curl http://localhost:8080/you` and `curl http://localhost:8080/total`.",
        },
        Template::Tcp => Own {
            files: &[
                file!("src/lib.rs", "tcp/lib.rs"),
                file!("src/main.rs", "tcp/main.rs"),
                file!("tests/suite.rs", "tcp/suite.rs"),
            ],
            packages: &["ebb-archive"],
            what: "A key-value store with a line protocol, on every core of a virtual machine.",
            try_it: "While it runs: `printf 'SET a 1\\nGET a\\n' | nc -N localhost 7007`.",
        },
        Template::Linux => Own {
            files: &[
                file!("src/lib.rs", "linux/lib.rs"),
                file!("src/main.rs", "linux/main.rs"),
                file!("tests/suite.rs", "linux/suite.rs"),
            ],
            packages: &["ebb-archive", "ebb-linux"],
            what: "An unmodified Linux program in a virtual machine without Linux. `src/main.rs` says which.",
            try_it: "What follows `--` is the program's: `cargo ebb run -- again`.",
        },
        Template::Distributed => Own {
            files: &[
                file!("src/lib.rs", "distributed/lib.rs"),
                file!("src/main.rs", "distributed/main.rs"),
                file!("tests/suite.rs", "distributed/suite.rs"),
            ],
            packages: &["ebb-archive", "ebb-distributed"],
            what: "A counter on every machine of a cluster, which others call.",
            try_it: "Two nodes and who asks them, each in a terminal of its own:\n\n    \
                     KEY=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \\n'); echo $KEY\n    \
                     cargo ebb run --forward 7001:7000 -- serve 1 $KEY\n    \
                     cargo ebb run --forward 7002:7000 -- serve 2 $KEY\n    \
                     cargo ebb run --hosted -- add 5 $KEY 127.0.0.1:7001 127.0.0.1:7002",
        },
    }
}

/// The files of a project. `dependency` says in TOML where a package of ebb's comes from; `workspace` is appended to the manifest.
pub fn files(
    template: Template,
    name: &str,
    workspace: &str,
    dependency: impl Fn(&str) -> String,
) -> Vec<(&'static str, String)> {
    let own = own(template);
    let more = own.packages.iter();
    let more = more.map(|package| format!("{package} = {}\n", dependency(package)));
    let words = [
        ("dependencies", more.collect()),
        ("workspace", workspace.to_owned()),
        ("name", name.to_owned()),
        ("crate", name.replace('-', "_")),
        ("what", own.what.to_owned()),
        ("try", own.try_it.to_owned()),
        ("ebb-os", dependency("ebb-os")),
        ("ebb-hosted", dependency("ebb-hosted")),
        ("ebb-build", dependency("ebb-build")),
        ("native-target", dependency("native-target")),
    ];
    let all = COMMON.iter().chain(own.files);
    all.map(|(path, text)| {
        let mut text = (*text).to_owned();
        for (word, value) in &words {
            text = text.replace(&format!("{{{{{word}}}}}"), value);
        }
        (*path, text)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::files;
    use crate::arguments::Template;

    #[test]
    fn no_file_of_a_project_has_a_place_that_was_not_filled() {
        for template in Template::value_variants() {
            for (path, text) in files(*template, "my-name", "", |_| "\"0.1\"".into()) {
                // `{{` stands in format strings, too.
                let left = text.split("{{").skip(1).find(|rest| {
                    let word = rest.split("}}").next().unwrap_or_default();
                    word.len() < rest.len()
                        && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
                });
                assert_eq!(left, None, "{path}");
            }
        }
    }
}
