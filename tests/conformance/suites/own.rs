//! The differential tests of this repository: programs of `tests/guests/linux` that print what they are told, and programs made
//! by chance of waiting calls and of changes of an address space. A result is a line.

use std::fs;

use crate::{
    fetch::{Place, Source},
    suite::{Known, Outcome, Ran, Suite, Test},
};

const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guests/linux");

pub const SUITE: Suite = Suite {
    name: "own",
    title: "the differential programs of `tests/guests/linux`, by lines",
    needs: &["cc", "qemu-system-x86_64"],
    source: Source::Own,
    build: concat!(
        "for program in ",
        env!("CARGO_MANIFEST_DIR"),
        "/../guests/linux/*.c; do cc -O1 -static -pthread -w -o $(basename $program .c) $program; done"
    ),
    tests,
    files: |place| vec![format!("tree {}", place.source.display())],
    results,
    part: |test, _| test.clone(),
    sample: 4,
    long: &["waiting", "mappings", "open_files", "interrupted"],
    limit_s: 300,
    as_another_user: false,
    memory: 2048,
    known: &[] as &[Known],
};

fn tests(place: &Place) -> Result<Vec<Test>, String> {
    let entries = fs::read_dir(GUESTS).map_err(|e| format!("{GUESTS}: {e}"))?;
    // What has no `.right` beside it needs arguments.
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|e| Some(e.file_name().to_str()?.strip_suffix(".right")?.to_owned()))
        .collect();
    names.sort();
    let program = |name: &str| place.source.join(name).display().to_string();
    let fixed = names.iter().map(|name| Test::new(name, &[&program(name)]));
    let by_chance =
        ["waiting", "mappings"].map(|name| Test::new(name, &[&program(name), "1", "300"]));
    Ok(fixed.chain(by_chance).collect())
}

fn results(test: &Test, ran: &Ran) -> Vec<(String, Outcome)> {
    let lines = ran.output.lines().zip(1..);
    let mut results: Vec<_> = lines
        .map(|(line, n)| (format!("{}, line {n}: {line}", test.name), Outcome::Passed))
        .collect();
    if ran.status != "exit:0" {
        results.push((test.name.clone(), Outcome::Failed(ran.status.clone())));
    }
    results
}
