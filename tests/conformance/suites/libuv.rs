//! libuv's own tests: event loops, files, sockets, pipes, processes, signals, terminals.

use std::process::Command;

use crate::{
    fetch::{Place, Source},
    suite::{Known, Suite, Test},
};

pub const SUITE: Suite = Suite {
    name: "libuv",
    title: "libuv 1.52.1, all of its tests",
    needs: &["cc", "make", "pip3", "qemu-system-x86_64"],
    // uvloop's source distribution brings libuv as it is released, with its tests.
    source: Source::Python("uvloop", "0.23.0"),
    build: "cd vendor/libuv; ./configure --quiet --disable-shared; make --quiet -j2 test/run-tests CFLAGS=-O1
        sed -n 's/^AC_INIT(\\[libuv\\], \\[\\(.*\\)\\], .*/\\1/p' configure.ac >../../../version",
    tests,
    files: |place| {
        let test = place.source.join("vendor/libuv/test");
        vec![
            format!("file {}", test.join("run-tests").display()),
            format!("tree {}", test.join("fixtures").display()),
        ]
    },
    // TEST_SKIP of libuv's runner is 7.
    results: |test, ran| ran.by_status(test, &["exit:7"]),
    part: |test, _| test.clone(),
    sample: 60,
    long: &[],
    limit_s: 60,
    as_another_user: false,
    memory: 2048,
    known: &[
        Known {
            what: "tcp_reuseport",
            why: "the suite skips it where a program has one processor",
        },
        Known {
            what: "udp_reuseport",
            why: "the suite skips it where a program has one processor",
        },
    ],
};

fn tests(place: &Place) -> Result<Vec<Test>, String> {
    let folder = place.source.join("vendor/libuv/test");
    let program = folder.join("run-tests").display().to_string();
    let listed = Command::new(&program)
        .arg("--list")
        .env("UV_RUN_AS_ROOT", "1")
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    // Below a test the helpers that it has are listed, indented.
    let names = listed
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_alphanumeric()))
        .filter_map(|line| line.split_whitespace().next());
    let tests: Vec<Test> = names
        .map(|name| Test {
            links: vec![("test", folder.clone())],
            environment: vec!["UV_RUN_AS_ROOT=1".into()],
            ..Test::new(name, &[&program, name])
        })
        .collect();
    match tests.len() {
        400.. => Ok(tests),
        n => Err(format!(
            "{program} --list names {n} tests, which cannot be all"
        )),
    }
}
