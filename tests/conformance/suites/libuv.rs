//! libuv's own tests: event loops, files, sockets, pipes, processes, signals, terminals.

use std::process::Command;

use crate::{
    fetch::{Place, Source},
    suite::{Suite, Test},
};

pub const SUITE: Suite = Suite {
    name: "libuv",
    title: "libuv 1.52.1, all of its tests",
    needs: &["cc", "make", "pip3", "qemu-system-x86_64"],
    // uvloop's source distribution brings libuv as it is released, with its tests.
    source: Source::Python("uvloop", "0.23.0"),
    build: "cd vendor/libuv; ./configure --quiet --disable-shared; make --quiet -j2 test/run-tests CFLAGS=-O1
        cc -shared -fPIC -o ../../../two.so -x c - <<'END'
            #define _GNU_SOURCE
            #include <sched.h>
            int sched_getaffinity(pid_t id, size_t bytes, cpu_set_t *set) {
                CPU_ZERO_S(bytes, set);
                CPU_SET_S(0, bytes, set);
                CPU_SET_S(1, bytes, set);
                return 0;
            }
END
        sed -n 's/^AC_INIT(\\[libuv\\], \\[\\(.*\\)\\], .*/\\1/p' configure.ac >../../../version",
    tests,
    files: |place| {
        let test = place.source.join("vendor/libuv/test");
        vec![
            format!("file {}", test.join("run-tests").display()),
            format!("tree {}", test.join("fixtures").display()),
            format!("file {}", place.folder.join(TWO).display()),
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
    known: &[],
};

/// Tests that skip themselves where a program has one processor, as in the image: on both sides they are told of two.
const OF_TWO: &[&str] = &["tcp_reuseport", "udp_reuseport"];

/// Tells a program that it has two processors.
const TWO: &str = "two.so";

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
        .map(|name| {
            let two = format!("LD_PRELOAD={}", place.folder.join(TWO).display());
            let told = OF_TWO.contains(&name).then_some(two);
            Test {
                links: vec![("test", folder.clone())],
                environment: told
                    .into_iter()
                    .chain(["UV_RUN_AS_ROOT=1".into()])
                    .collect(),
                ..Test::new(name, &[&program, name])
            }
        })
        .collect();
    match tests.len() {
        400.. => Ok(tests),
        n => Err(format!(
            "{program} --list names {n} tests, which cannot be all"
        )),
    }
}
