//! PostgreSQL's regression tests: SQL scripts, each against what the server has to answer. A result is a script.

use std::{fs, path::PathBuf};

use crate::{
    fetch::{Place, Source},
    suite::{Known, Outcome, Ran, Suite, Test},
    suites::shell_and_tools,
};

/// Runs scripts against a server that it starts.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/postgres.sh");

pub const SUITE: Suite = Suite {
    name: "postgres",
    title: "PostgreSQL 15, its regression tests",
    needs: &["cc", "/usr/lib/postgresql", "qemu-system-x86_64"],
    source: Source::DebianFolder(
        "postgresql-$(ls /usr/lib/postgresql | sort -n | tail -1)",
        "src/test/regress",
    ),
    // Of the installed server, which brings pg_regress; the headers are in its development package. The cluster is made here
    // once, not by every test.
    build: "installed=/usr/lib/postgresql/$(ls /usr/lib/postgresql | sort -n | tail -1); number=$(basename $installed)
        ln -s $installed ../installed; mv src/test/regress ..
        mkdir ../dev; cd ../dev; apt-get download -qq postgresql-server-dev-$number; dpkg-deb -x *.deb .; cd ../source
        cp $installed/lib/pgxs/src/test/regress/pg_regress ..
        cc -O1 -shared -fPIC -I../dev/usr/include/postgresql/$number/server -I../regress -o ../regress.so ../regress/regress.c
        mkdir ../data; as=
        if [ $(id -u) = 0 ]; then chown postgres ../data; as='setpriv --reuid postgres --regid postgres --clear-groups'; fi
        $as $installed/bin/initdb -D ../data -A trust -E UTF8 --no-locale --no-sync --username=postgres",
    tests,
    files,
    results,
    part: |test, names| {
        // The words are the shell, the script, two folders and the names.
        let mut part = test.clone();
        let wanted = |word: &String| names.iter().any(|name| name.ends_with(&format!(".{word}")));
        if names.iter().all(|name| name.contains('.')) {
            let (first, scripts) = part.words.split_at(4);
            let kept = scripts.iter().filter(|word| wanted(word)).cloned();
            part.words = first.iter().cloned().chain(kept).collect();
        }
        part
    },
    sample: 1,
    long: &[],
    limit_s: 600,
    as_another_user: true,
    memory: 3072,
    known: KNOWN,
};

const KNOWN: &[Known] = &[];

/// The installed PostgreSQL.
fn installed(place: &Place) -> PathBuf {
    let link = place.folder.join("installed");
    fs::canonicalize(&link).unwrap_or(link)
}

/// A test is a group of the schedule. PostgreSQL runs the scripts of one beside one another; here they come one after another,
/// each group against a cluster of its own.
fn tests(place: &Place) -> Result<Vec<Test>, String> {
    let schedule = place.folder.join("regress/parallel_schedule");
    let text = fs::read_to_string(&schedule).map_err(|e| format!("{}: {e}", schedule.display()))?;
    let groups = text.lines().filter_map(|line| line.strip_prefix("test: "));
    let (installed, suite) = (installed(place), &place.folder);
    let (installed, suite) = (installed.display().to_string(), suite.display().to_string());
    let test = |scripts: &str| {
        let mut words = vec!["/bin/sh", SCRIPT, &installed, &suite];
        words.extend(scripts.split_whitespace());
        Test::new(words[4], &words)
    };
    Ok(groups.filter(|g| *g != "test_setup").map(test).collect())
}

/// `test NAME ... ok 12 ms`, or `FAILED`; in a group the word `test` is missing.
fn results(test: &Test, ran: &Ran) -> Vec<(String, Outcome)> {
    ran.by_said(test, |line| {
        let (name, verdict) = line.split_once(" ... ")?;
        let name = name.trim().trim_start_matches("test ").trim();
        let outcome = match verdict.split_whitespace().next()? {
            "ok" => Outcome::Passed,
            _ => Outcome::Failed(verdict.trim().to_owned()),
        };
        Some((format!("{}.{name}", test.name), outcome))
    })
}

fn files(place: &Place) -> Vec<String> {
    let mut lines = shell_and_tools();
    let installed = installed(place);
    for program in ["postgres", "psql"] {
        lines.push(format!(
            "file {}",
            installed.join("bin").join(program).display()
        ));
    }
    for file in ["pg_regress", "regress.so"] {
        lines.push(format!("file {}", place.folder.join(file).display()));
    }
    for tree in ["regress", "data"] {
        lines.push(format!("tree {}", place.folder.join(tree).display()));
    }
    lines.push(format!("tree {}", installed.join("lib").display()));
    let version = installed.file_name().unwrap_or_default().display();
    lines.push(format!("tree /usr/share/postgresql/{version}"));
    let files = [
        "/usr/bin/diff",
        "/usr/bin/setpriv",
        "/usr/bin/mktemp",
        "/bin/chown",
        "/etc/passwd",
        "/etc/group",
        // A zone is a link to it.
        "/etc/localtime",
        "/etc/nsswitch.conf",
    ];
    lines.extend(files.map(|file| format!("file {file}")));
    lines.push(format!("file {SCRIPT}"));
    lines.push("tree /usr/share/zoneinfo".to_owned());
    lines
}
