//! memcached's own tests: Perl programs, each of which starts servers and talks to them. A result is a file of tests.

use std::{fs, process::Command};

use crate::{
    fetch::{Place, Source},
    suite::{Known, Outcome, Ran, Suite, Test},
    suites::shell_and_tools,
};

pub const SUITE: Suite = Suite {
    name: "memcached",
    title: "memcached, its `t/*.t`",
    needs: &[
        "cc",
        "make",
        "perl",
        "/usr/include/event2",
        "qemu-system-x86_64",
    ],
    source: Source::Debian("memcached"),
    build: "./configure --quiet; make --quiet -j2 memcached memcached-debug timedrun sizes",
    tests,
    files,
    results,
    part: |test, _| test.clone(),
    sample: 5,
    long: &["lru-crawler.t"],
    limit_s: 180,
    as_another_user: false,
    memory: 3072,
    known: KNOWN,
};

const KNOWN: &[Known] = &[];

fn tests(place: &Place) -> Result<Vec<Test>, String> {
    let folder = place.source.join("t");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|name| name.ends_with(".t"))
        // They look at the sources and not at the server.
        .filter(|name| !["whitespace.t", "sizes.t"].contains(&name.as_str()))
        .collect();
    names.sort();
    let parts = ["t", "memcached", "memcached-debug", "timedrun"];
    let test = |name: &String| Test {
        links: parts.map(|part| (part, place.source.join(part))).to_vec(),
        ..Test::new(name, &["/usr/bin/perl", &format!("t/{name}")])
    };
    Ok(names.iter().map(test).collect())
}

fn results(test: &Test, ran: &Ran) -> Vec<(String, Outcome)> {
    match ran.output.lines().find(|l| l.starts_with("1..0")) {
        Some(why) if ran.status == "exit:0" => {
            vec![(test.name.clone(), Outcome::Skipped(why.to_owned()))]
        }
        _ => ran.by_status(test, &[]),
    }
}

fn files(place: &Place) -> Vec<String> {
    let mut lines = shell_and_tools();
    for part in ["memcached", "memcached-debug", "timedrun"] {
        lines.push(format!("file {}", place.source.join(part).display()));
    }
    lines.push(format!("tree {}", place.source.join("t").display()));
    // One looks at what is written of the protocol.
    lines.push(format!(
        "file {}",
        place.source.join("doc/protocol.txt").display()
    ));
    lines.push("file /usr/bin/perl".to_owned());
    // Where Perl has its library.
    let include = Command::new("perl")
        .args(["-e", "print join qq(\\n), grep { -d } @INC"])
        .output();
    let include = include.map(|o| o.stdout).unwrap_or_default();
    let include = String::from_utf8_lossy(&include).into_owned();
    lines.extend(include.lines().map(|folder| format!("tree {folder}")));
    lines
}
