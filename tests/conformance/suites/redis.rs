//! redis' own tests: a Tcl program for each unit, which starts servers and talks to them. A result is a line of it.

use std::path::Path;

use crate::{
    fetch::{Place, Source},
    suite::{Known, Outcome, Ran, Suite, Test},
    suites::shell_and_tools,
};

const UNITS: &[&str] = &[
    "unit/acl",
    "unit/aofrw",
    "unit/auth",
    "unit/bitfield",
    "unit/bitops",
    "unit/dump",
    "unit/expire",
    "unit/functions",
    "unit/geo",
    "unit/hyperloglog",
    "unit/info",
    "unit/introspection",
    "unit/introspection-2",
    "unit/keyspace",
    "unit/latency-monitor",
    "unit/lazyfree",
    "unit/limits",
    "unit/memefficiency",
    "unit/multi",
    "unit/networking",
    "unit/other",
    "unit/printver",
    "unit/protocol",
    "unit/pubsub",
    "unit/querybuf",
    "unit/quit",
    "unit/replybufsize",
    "unit/scan",
    "unit/scripting",
    "unit/shutdown",
    "unit/slowlog",
    "unit/sort",
    "unit/tracking",
    "unit/type/hash",
    "unit/type/incr",
    "unit/type/list",
    "unit/type/list-2",
    "unit/type/set",
    "unit/type/stream",
    "unit/type/stream-cgroups",
    "unit/type/string",
    "unit/type/zset",
    "integration/aof",
    "integration/rdb",
    "integration/redis-cli",
];

const PROGRAMS: &[&str] = &[
    "redis-server",
    "redis-cli",
    "redis-benchmark",
    "redis-check-aof",
    "redis-check-rdb",
    "redis-sentinel",
];

pub const SUITE: Suite = Suite {
    name: "redis",
    title: "redis, 45 of its units",
    needs: &[
        "redis-server",
        "redis-benchmark",
        "tclsh",
        "qemu-system-x86_64",
    ],
    source: Source::Debian("redis"),
    // Of the installed server, which is of the same release.
    build: "for name in server cli benchmark check-aof check-rdb; do ln -sf /usr/bin/redis-$name src/redis-$name; done
        ln -sf redis-server src/redis-sentinel",
    tests,
    files,
    results,
    part: |test, _| test.clone(),
    sample: 3,
    long: &[
        "unit/type/list",
        "unit/type/list-2",
        "unit/type/zset",
        "unit/type/set",
        "unit/memefficiency",
        "unit/acl",
        "unit/geo",
        "unit/hyperloglog",
        "unit/introspection",
        "unit/other",
        "unit/aofrw",
        "integration/aof",
        "integration/rdb",
    ],
    limit_s: 900,
    as_another_user: false,
    memory: 3072,
    known: KNOWN,
};

const KNOWN: &[Known] = &[];

fn tests(place: &Place) -> Result<Vec<Test>, String> {
    let test = |unit: &&str| Test {
        links: ["tests", "src"]
            .map(|part| (part, place.source.join(part)))
            .to_vec(),
        ..Test::new(
            unit,
            &[
                "/usr/bin/tclsh",
                "tests/test_helper.tcl",
                "--single",
                unit,
                "--clients",
                "1",
                "--tags",
                "-slow -needs:debug",
            ],
        )
    };
    Ok(UNITS.iter().map(test).collect())
}

/// `[ok]: NAME (N ms)`, `[err]: NAME in FILE`, `[exception]: ...`, `[skip]: NAME`.
fn results(test: &Test, ran: &Ran) -> Vec<(String, Outcome)> {
    ran.by_said(test, |line| {
        let (kind, rest) = line.strip_prefix('[')?.split_once("]: ")?;
        let name = rest.split(" (").next().unwrap_or(rest);
        let name = name.split(" in tests/").next().unwrap_or(name);
        let outcome = match kind {
            "ok" => Outcome::Passed,
            "err" | "exception" => Outcome::Failed(rest.to_owned()),
            "skip" | "ignore" => Outcome::Skipped(rest.to_owned()),
            _ => return None,
        };
        Some((format!("{}: {name}", test.name), outcome))
    })
}

fn files(place: &Place) -> Vec<String> {
    let mut lines = shell_and_tools();
    lines.push(format!("tree {}", place.source.join("tests").display()));
    for program in PROGRAMS {
        let link = place.source.join("src").join(program);
        lines.push(format!("file {}", link.display()));
    }
    lines.push("file /usr/bin/tclsh".to_owned());
    let folders = ["/usr/share/tcltk", "/usr/lib/tcltk"];
    let there = folders.iter().filter(|folder| Path::new(folder).exists());
    lines.extend(there.map(|folder| format!("tree {folder}")));
    lines
}
