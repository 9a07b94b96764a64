//! Functions in other languages than JavaScript, in the image: Python, and programs that answer lines.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use test_support::{WORKSPACE, invoker::Invoker, needs};

/// Calls an action; status, and the record of the activation.
fn record(image: &Invoker, name: &str, arguments: &Value) -> (u16, Value) {
    let (status, body) = image.action("POST", name, "?blocking=true", &arguments.to_string());
    let answered: Value =
        serde_json::from_str(&body).unwrap_or_else(|_| panic!("{name}: {status} {body}"));
    // The answer has no logs; the record has.
    let id = answered["activationId"].as_str().expect("an id");
    let path = format!("/api/v1/namespaces/_/activations/{id}");
    let (_, body) = image.ask("GET", &path, "");
    (status, serde_json::from_str(&body).expect("a record"))
}

/// The result of a call.
fn result(image: &Invoker, name: &str, arguments: &Value) -> Value {
    let (_, mut record) = record(image, name, arguments);
    record["response"]["result"].take()
}

/// The lines of an activation's log, without their times.
fn logs(record: &Value) -> Vec<String> {
    let lines = record["logs"].as_array().expect("logs");
    lines
        .iter()
        .map(|line| {
            let line = line.as_str().expect("a line");
            let words: Vec<&str> = line
                .split_once(' ')
                .expect("a time")
                .1
                .split_whitespace()
                .collect();
            words.join(" ")
        })
        .collect()
}

/// A folder of a test's own, empty.
fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("languages")
        .join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a folder");
    path
}

/// What a shell command writes to the file `out` in a folder of its own, in base64.
fn made(name: &str, files: &[(&str, &str)], command: &str) -> String {
    let folder = folder(name);
    for (file, text) in files {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let output = Command::new("sh")
        .args(["-ec", command])
        .current_dir(&folder)
        .output()
        .expect("sh");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    STANDARD.encode(fs::read(folder.join("out")).expect("it was made"))
}

#[test]
fn python_functions_keep_the_contract_of_openwhisk() {
    needs!("qemu-system-x86_64", "node", "/usr/bin/python3");
    let image = Invoker::boot("2G", "");
    let python =
        |name: &str, code: &str, more: &str| image.deploy_kind(name, "python:3", code, more);

    python(
        "hello",
        "import os, sys\nstarted = os.environ['__OW_ACTION_NAME']\ndef main(args):\n    print('out', args['name'])\n    print('err', file=sys.stderr)\n    \
         return {'hello': args['name'], 'started': started, 'id': len(os.environ['__OW_ACTIVATION_ID']), 'ö': 'ü'}",
        "",
    );
    for name in ["one", "two"] {
        let (status, record) = record(&image, "hello", &json!({"name": name}));
        assert_eq!(status, 200);
        let expected = json!({"hello": name, "started": "/guest/hello", "id": 32, "ö": "ü"});
        assert_eq!(record["response"]["result"], expected);
        assert_eq!(
            logs(&record),
            [format!("stdout: out {name}"), "stderr: err".into()]
        );
        assert_eq!(
            record["annotations"]
                .as_array()
                .and_then(|all| all.iter().find(|a| a["key"] == "kind"))
                .map(|a| a["value"].clone()),
            Some(json!("python:3.11"))
        );
    }
    python("lists", "def main(args):\n    return [args, len(args)]", "");
    let (status, listed) = image.call("lists", r#"{"a": 1}"#);
    let listed: Value = serde_json::from_str(&listed).expect("a list");
    assert_eq!((status, listed), (200, json!([{"a": 1}, 1])));

    // What goes wrong in the function is the application's, and its traceback shows nothing of the loader.
    python(
        "fails",
        "def deep():\n    raise ValueError('no such thing')\ndef main(args):\n    deep()",
        "",
    );
    let (status, failed) = record(&image, "fails", &json!({}));
    assert_eq!(
        (status, &failed["response"]["result"]),
        (502, &json!({"error": "no such thing"}))
    );
    assert_eq!(failed["response"]["status"], "application error");
    let said = logs(&failed).join("\n");
    assert!(
        said.contains("main__.py\", line 4, in main")
            && said.contains("ValueError: no such thing")
            && !said.contains("loader.py"),
        "{said}"
    );
    // What Python cannot read is found when OpenWhisk's runtime "compiles" it (`bin/compile`), all else when its launcher starts.
    let (no_binary, not_started) = (
        "The action failed to generate or locate a binary. See logs for details.",
        "Cannot start action. Check logs for details.",
    );
    for (name, code, error, shown) in [
        (
            "syntax",
            "def main(args):\n    return {",
            no_binary,
            "SyntaxError",
        ),
        (
            "hides",
            "def __getattr__(name):\n    raise AttributeError('none of this')",
            not_started,
            "none of this",
        ),
        (
            "exits",
            "import sys\nsys.exit('no database')\ndef main(args):\n    return {}",
            not_started,
            "no database",
        ),
        (
            "imports",
            "import no_such_module\ndef main(args):\n    return {}",
            not_started,
            "No module named 'no_such_module'",
        ),
        (
            "nameless",
            "def other(args):\n    return {}",
            not_started,
            "has no function main",
        ),
    ] {
        python(name, code, "");
        let (status, failed) = record(&image, name, &json!({}));
        assert_eq!(
            (status, failed["response"]["result"]["error"].as_str()),
            (502, Some(error))
        );
        let said = logs(&failed).join("\n");
        assert!(
            said.contains(shown) && !said.contains("loader.py"),
            "{said}"
        );
    }
    // What `launcher.py` writes, and what the proxy before it takes (`runHandler.go`).
    let no_dictionary = json!({"error": "The action did not return a dictionary or array."});
    let not_valid = "The action did not produce a valid JSON or JSON Array response: null\n";
    let exited = json!({"error": "command exited"});
    for (name, does, expected, said) in [
        ("number", "return 3", &no_dictionary, ""),
        ("text", "return 't'", &no_dictionary, ""),
        ("nan", "return {'a': float('nan')}", &no_dictionary, ""),
        ("nothing", "return None", &json!({ "error": not_valid }), ""),
        (
            "tuple",
            "return {'a': (1, 'NaN')}",
            &json!({"a": [1, "NaN"]}),
            "",
        ),
        (
            "bytes",
            "return {'a': b'x'}",
            &exited,
            "TypeError: Object of type bytes is not JSON serializable",
        ),
        ("leaves", "import sys; sys.exit('bye')", &exited, "bye"),
        ("kills", "import os; os.abort()", &exited, ""),
    ] {
        python(name, &format!("def main(args):\n    {does}"), "");
        let (_, record) = record(&image, name, &json!({}));
        assert_eq!(&record["response"]["result"], expected, "{name}");
        let is_error = expected.get("error").is_some();
        let status = ["success", "action developer error"][usize::from(is_error)];
        assert_eq!(record["response"]["status"], status, "{name}");
        assert!(logs(&record).join("\n").contains(said), "{name}: {record}");
    }
    python("pair", "def main(args):\n    return 1, 2", "");
    let (status, pair) = image.call("pair", "{}");
    let pair: Value = serde_json::from_str(&pair).expect("a list");
    assert_eq!((status, pair), (200, json!([1, 2])));
    assert_eq!(
        result(&image, "hello", &json!({"name": "still"}))["hello"],
        "still"
    );

    // An archive: siblings can be imported, files lie beside it, and `main` names the function.
    let archive = made(
        "python-zip",
        &[
            (
                "__main__.py",
                "from helper import text\ndef handler(args):\n    return {'text': text(), 'data': open('data.txt').read()}\n",
            ),
            ("helper.py", "def text():\n    return 'helped'\n"),
            ("data.txt", "beside"),
        ],
        "/usr/bin/python3 -c 'import zipfile; z = zipfile.ZipFile(\"out\", \"w\"); [z.write(f) for f in (\"__main__.py\", \"helper.py\", \"data.txt\")]; z.close()'",
    );
    let body = json!({"exec": {"kind": "python:default", "code": archive, "main": "handler"}});
    assert_eq!(image.action("PUT", "zipped", "", &body.to_string()).0, 200);
    assert_eq!(
        result(&image, "zipped", &json!({})),
        json!({"text": "helped", "data": "beside"})
    );
    // Or a gzipped tar, or the source itself in base64 (`extractor.go`).
    for (name, command) in [
        ("python-tar", "tar -czf out __main__.py helper.py data.txt"),
        ("python-source", "cp __main__.py out"),
    ] {
        let files = [
            (
                "__main__.py",
                "def main(args):\n    return {'packed': True}\n",
            ),
            ("helper.py", "\n"),
            ("data.txt", "\n"),
        ];
        let code = made(name, &files, command);
        image.deploy_kind(name, "python:default", &code, "");
        assert_eq!(result(&image, name, &json!({})), json!({"packed": true}));
    }
}

/// Waits as long as it is told, then says which number the call has and what it drew when it began.
const COUNTING: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/random.h>
int main(void) {
    static char line[1 << 16];
    unsigned drawn = 0;
    FILE *answers = fdopen(3, "w");
    if (DRAWS == 1) getrandom(&drawn, sizeof drawn, 0);
    while (DRAWS == 2 && !__builtin_ia32_rdrand32_step(&drawn));
    for (int n = 1; fgets(line, sizeof line, stdin); n++) {
        char *wait = strstr(line, "\"wait\":");
        if (wait) usleep(1000 * atoi(wait + 7));
        printf("call %d\n", n);
        fflush(stdout);
        fprintf(answers, "{\"n\":%d,\"drawn\":%u}\n", n, drawn);
        fflush(answers);
    }
}
"#;

#[test]
fn programs_are_functions_and_are_copied_where_they_wait_for_their_first_call() {
    needs!("qemu-system-x86_64", "node", "cc");
    let image = Invoker::boot("2G", "");
    for (name, draws, kind, how) in [
        ("plain", 0, "native:default", ""),
        ("draws", 1, "rust:1.x", "-static"),
        // By an instruction, which the machine does not have.
        ("instruction", 2, "native:default", "-mrdrnd"),
    ] {
        let program = made(
            name,
            &[("a.c", COUNTING)],
            &format!("cc -O2 {how} -DDRAWS={draws} a.c -o out"),
        );
        image.deploy_kind(name, kind, &program, "");
        let (status, first) = record(&image, name, &json!({}));
        assert_eq!(status, 200, "{first}");
        assert_eq!(first["response"]["result"]["n"], 1);
        assert_eq!(logs(&first), ["stdout: call 1"]);
        assert_eq!(
            result(&image, name, &json!({}))["n"],
            2,
            "the same instance"
        );
        if draws == 0 {
            image.until("ebb_snapshots", |n| n == 1);
        }
        let warm = "ebb_activation_seconds_count{start=\"warm\"}";
        let before = image.metric(warm);
        let answers: Vec<Value> = thread::scope(|scope| {
            let calls: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| result(&image, name, &json!({"wait": 1500}))))
                .collect();
            calls
                .into_iter()
                .map(|call| call.join().expect("a call"))
                .collect()
        });
        let started = image.metric(warm) - before;
        if draws == 0 {
            assert!(started >= 1, "no call was served by a copy");
        } else {
            assert_eq!(started, 0, "what was drawn would be shared");
            let drawn: HashSet<u64> = answers
                .iter()
                .map(|a| a["drawn"].as_u64().expect("a number"))
                .collect();
            assert_eq!(drawn.len(), answers.len(), "{answers:?}");
        }
        // A copy has served no call before its first one.
        let firsts = answers.iter().filter(|answer| answer["n"] == 1).count();
        assert!(firsts >= 3, "{answers:?}");
    }

    // A script with an interpreter, in a gzipped tar with a file beside it.
    let script = "#!/bin/sh\nread -r beside < data\nwhile read -r line; do\n  echo \"log of $__OW_ACTION_NAME\" >&2\n  echo \"{\\\"beside\\\":\\\"$beside\\\"}\" >&3\ndone\n";
    let archive = made(
        "script",
        &[("exec", script), ("data", "here\n")],
        "tar czf out exec data",
    );
    image.deploy_kind("script", "go:default", &archive, "");
    let (_, called) = record(&image, "script", &json!({}));
    assert_eq!(
        called["response"]["result"],
        json!({"beside": "here"}),
        "{called}"
    );
    assert_eq!(logs(&called), ["stderr: log of /guest/script"]);

    // The machine draws one layout for all programs, so another one's code lies where this one's does.
    let mapped = "#!/bin/sh\nwhile read -r line; do\n  read -r first rest < /proc/self/maps\n  echo \"{\\\"first\\\":\\\"$first\\\"}\" >&3\ndone\n";
    let places = ["one", "other"].map(|name| {
        image.deploy_kind(name, "native:default", mapped, "");
        result(&image, name, &json!({}))["first"].clone()
    });
    assert!(places[0].as_str().is_some_and(|p| p.starts_with("55")));
    assert_eq!(places[0], places[1]);

    // All kinds in one sequence.
    image.deploy(
        "js",
        "const main = ({ beside }) => ({ beside: beside + ' js' })",
    );
    let body =
        json!({"exec": {"kind": "sequence", "components": ["/_/script", "/_/js", "/_/plain"]}});
    let (status, answer) = image.action("PUT", "all", "", &body.to_string());
    assert_eq!(status, 200, "{answer}");
    assert!(result(&image, "all", &json!({}))["n"].as_u64().is_some());
}

#[test]
fn hooks_of_python_functions_are_called_around_a_capture() {
    needs!("qemu-system-x86_64", "python3");
    let image = Invoker::boot("2G", "");
    for (name, before, after) in [
        ("snake", "def before_capture", "def after_restore"),
        ("camel", "def beforeCapture", "def afterRestore"),
        (
            "async",
            "async def before_capture",
            "async def after_restore",
        ),
    ] {
        let before_all = image.metric("ebb_snapshots");
        image.deploy_kind(
            name,
            "python:default",
            &format!(
                "import time, uuid\nkept, told = uuid.uuid4().hex, []\n\
                 {before}():\n    told.append('before')\n\
                 {after}():\n    global kept\n    kept = uuid.uuid4().hex\n    told.append('after')\n\
                 def main(args):\n    time.sleep(args.get('wait', 0))\n    return {{'kept': kept, 'told': told}}\n"
            ),
            "",
        );
        assert_eq!(result(&image, name, &json!({}))["told"], json!([]));
        image.until("ebb_snapshots", |n| n > before_all);
        let answers: Vec<Value> = thread::scope(|scope| {
            let calls: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| result(&image, name, &json!({"wait": 1.5}))))
                .collect();
            calls
                .into_iter()
                .map(|call| call.join().expect("a call"))
                .collect()
        });
        let kept: HashSet<&str> = answers.iter().filter_map(|a| a["kept"].as_str()).collect();
        assert_eq!(kept.len(), answers.len(), "{name}: {answers:?}");
        // The first instance may be among them.
        let copies = answers
            .iter()
            .filter(|a| a["told"] == json!(["before", "after"]));
        assert!(copies.count() >= 2, "{name}: {answers:?}");
    }
}

#[test]
fn programs_that_have_served_calls_rest_and_go_on() {
    needs!("qemu-system-x86_64", "node", "cc");
    let image = Invoker::boot("2G", "");
    for how in ["", "-static"] {
        let name = format!("rests{how}");
        let command = format!("cc -O2 {how} -DDRAWS=0 a.c -o out");
        let program = made(&name, &[("a.c", COUNTING)], &command);
        let (before, snapshots) = (
            image.metric("ebb_instances_bytes"),
            image.metric("ebb_snapshots"),
        );
        image.deploy_kind(&name, "native:default", &program, "");
        let call = |n: u64| {
            let answer = result(&image, &name, &json!({}));
            assert_eq!(answer["n"], n, "{how}");
        };
        call(1);
        image.until("ebb_snapshots", |n| n == snapshots + 1);
        let awake = image.metric("ebb_instances_bytes");
        call(2);
        image.until("ebb_instances_bytes", |now| now < awake);
        image.until("ebb_instances_bytes", |now| now <= before + (80 << 10));
        println!(
            "{name}: {} KiB, beside {} KiB of all snapshots",
            (image.metric("ebb_instances_bytes") - before) >> 10,
            image.metric("ebb_snapshots_bytes") >> 10
        );
        // The same instance, without a new one.
        call(3);
        assert_eq!(
            image.metric("ebb_activation_seconds_count{start=\"warm\"}"),
            0
        );
    }
}

#[test]
fn programs_that_keep_no_contract_fail_alone() {
    needs!("qemu-system-x86_64", "node");
    let image = Invoker::boot("2G", "");
    let shell = |body: &str| format!("#!/bin/sh\n{body}\n");
    let limits = r#","limits":{"timeout":1500}"#;
    let no_dictionary = "The action did not return a dictionary or array.";
    for (name, code, status, error) in [
        // It does not start.
        (
            "empty",
            shell("exit 0"),
            502,
            "cannot start action: command exited",
        ),
        (
            "interpreter",
            "#!/no/such/thing\n".into(),
            502,
            "cannot start action: exec /action/bin/exec",
        ),
        (
            "text",
            "neither a script nor a program".into(),
            502,
            "cannot start action: exec /action/bin/exec: Exec format error",
        ),
        // It answers with what is no answer, or not at all.
        (
            "number",
            shell("while read -r l; do echo 3 >&3; done"),
            502,
            no_dictionary,
        ),
        (
            "garbage",
            shell("while read -r l; do printf '\\377\\376\\n' >&3; done"),
            502,
            no_dictionary,
        ),
        (
            "half",
            shell("while read -r l; do printf '{\"a\":' >&3; done"),
            502,
            "exceeded its time limits",
        ),
        (
            "silent",
            shell("while read -r l; do :; done"),
            502,
            "exceeded its time limits",
        ),
        (
            "spins",
            shell("while :; do :; done"),
            502,
            "exceeded its time limits",
        ),
        (
            "closes",
            shell("exec 3>&-; while read -r l; do echo '{}' >&3; done"),
            502,
            "exceeded its time limits",
        ),
        ("dies", shell("read -r l; exit 3"), 502, "command exited"),
    ] {
        image.deploy_kind(name, "native:default", &code, limits);
        let (got, record) = record(&image, name, &json!({}));
        assert_eq!(got, status, "{name}: {record}");
        let said = record["response"]["result"]["error"]
            .as_str()
            .unwrap_or_default();
        assert!(said.contains(error), "{name}: {record}");
    }
    // What it says before it ends is in the logs.
    let complains = shell("echo 'no such database' >&2; exit 1");
    image.deploy_kind("complains", "native:default", &complains, limits);
    let (_, failed) = record(&image, "complains", &json!({}));
    let error = "cannot start action: command exited";
    assert_eq!(failed["response"]["result"]["error"], error);
    assert_eq!(logs(&failed)[0], "stderr: no such database", "{failed}");
    // Two lines for one call: the second answers nothing.
    let twice = "n=0; while read -r l; do n=$((n+1)); echo \"{\\\"n\\\":$n}\" >&3; echo '{\"n\":\"again\"}' >&3; done";
    image.deploy_kind("twice", "native:default", &shell(twice), limits);
    for n in 1..4 {
        assert_eq!(result(&image, "twice", &json!({})), json!({"n": n}));
    }
    // An acknowledgement that was not asked for, children, and logs that are no text.
    let odd = "echo '{\"ok\":true}' >&3; sh -c 'kill -STOP $$' & while read -r l; do printf '\\377\\000\\n'; echo '{\"fine\":true}' >&3; done";
    image.deploy_kind("odd", "native:default", &shell(odd), limits);
    for _ in 0..2 {
        assert_eq!(result(&image, "odd", &json!({})), json!({"fine": true}));
    }
}

#[test]
fn the_example_of_each_language_is_deployed_and_answers() {
    needs!(
        "qemu-system-x86_64",
        "node",
        "cc",
        "curl",
        "perl",
        "/usr/bin/python3"
    );
    let image = Invoker::start(
        Invoker::runner("2G", "none")
            .args(["--auth", "guest:key", "--quiet"])
            .env("EBB_CORES", "1")
            .env("EBB_FILES", Invoker::interpreters()),
        &["the first instance was ready", "base snapshot of Python"],
    );
    let functions = PathBuf::from(WORKSPACE).join("examples/functions");
    let programs = folder("functions");
    for (name, kind, file, compiler) in [
        ("js", "nodejs:default", "hello.js", None),
        ("py", "python:default", "hello.py", None),
        ("sh", "native:default", "hello.sh", None),
        ("c", "native:default", "hello.c", Some("cc -O2")),
        (
            "rs",
            "rust:1.x",
            "hello.rs",
            Some("rustc -O -C panic=abort -C strip=symbols"),
        ),
        ("go", "go:default", "hello.go", Some("go build")),
        ("pl", "native:default", "hello.pl", None),
        ("php", "native:default", "hello.php", None),
        ("rb", "native:default", "hello.rb", None),
    ] {
        let mut path = functions.join(file);
        // What these are made by, or for, is not installed for this test.
        let lacking = match name {
            "go" => Command::new("go").arg("version").output().is_err(),
            "php" => !Path::new("/usr/bin/php8.2").exists(),
            "rb" => !Path::new("/usr/bin/ruby3.1").exists(),
            _ => false,
        };
        if lacking {
            println!("{file} is left out");
            continue;
        }
        if let Some(compiler) = compiler {
            let program = programs.join(name);
            let command = format!("{compiler} -o {} {}", program.display(), path.display());
            let built = Command::new("sh")
                .args(["-c", &command])
                .status()
                .expect("sh");
            assert!(built.success(), "{command}");
            path = program;
        }
        let deployed = Command::new(functions.join("deploy"))
            .args([name, kind])
            .arg(&path)
            .env("K", "guest:key")
            .env("A", format!("http://localhost:{}", image.port()))
            .output()
            .expect("the script");
        let said = String::from_utf8_lossy(&deployed.stdout);
        assert!(
            deployed.status.success() && said.contains("\"version\""),
            "{said}"
        );
        assert_eq!(
            result(&image, name, &json!({"name": "you"}))["hello"],
            "you",
            "{name}"
        );
    }
}

#[test]
#[ignore = "packs a JDK, 260 MB, which takes a while to start"]
fn the_example_in_java_is_compiled_and_answers_in_an_image_with_a_jdk() {
    const JDK: &str = "/usr/lib/jvm/java-17-openjdk-amd64";
    needs!("qemu-system-x86_64", "node", "curl");
    if !Path::new(JDK).join("bin/javac").exists() {
        println!("there is no {JDK}; `apt-get install openjdk-17-jdk-headless` brings it");
        return;
    }
    let image = Invoker::start(
        Invoker::runner("3G", "none")
            .args(["--auth", "guest:key", "--quiet"])
            .env("EBB_CORES", "1")
            .env("EBB_FILES", format!("{JDK}:/etc/java-17-openjdk")),
        &["the first instance was ready"],
    );
    let functions = PathBuf::from(WORKSPACE).join("examples/functions");
    let deployed = Command::new(functions.join("deploy"))
        .args(["java", "native:default"])
        .arg(functions.join("hello.java"))
        .env("K", "guest:key")
        .env("A", format!("http://localhost:{}", image.port()))
        .status()
        .expect("the script");
    assert!(deployed.success());
    for name in ["you", "a \"quoted\" one"] {
        let answer = result(&image, "java", &json!({ "name": name }));
        assert_eq!(answer["hello"], name, "{answer}");
    }
}

#[test]
#[ignore = "fetches two further Nodes, 250 MB"]
fn several_versions_of_node_run_in_one_machine_each_from_a_base_of_its_own() {
    needs!("qemu-system-x86_64", "node", "npm");
    let folder = folder("versions");
    let kind = |version: u32, more: &str| {
        let at = folder.join(version.to_string());
        let installed = Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
            .arg(&at)
            .arg(format!("node@{version}"))
            .status();
        assert!(
            installed.is_ok_and(|status| status.success()),
            "npm installs node@{version}"
        );
        let program = at.join("node_modules/node/bin/node");
        format!(
            r#"{{"kind":"nodejs:{version}",{more}"ebb":{{"program":"{}"}}}}"#,
            program.display()
        )
    };
    let kinds = [
        String::from(r#"{"kind":"nodejs:20","default":true}"#),
        kind(22, ""),
        kind(24, r#""deprecated":true,"#),
    ];
    let manifest = folder.join("runtimes.json");
    fs::write(
        &manifest,
        format!(r#"{{"runtimes":{{"nodejs":[{}]}}}}"#, kinds.join(",")),
    )
    .expect("a file");
    // The bases of the others come when the first is ready.
    let image = Invoker::boot_kinds(
        "4G",
        &manifest,
        &["the first instance was ready", "base snapshot of Node"],
    );
    for (kind, version) in [
        ("nodejs:20", "v20."),
        ("nodejs:22", "v22."),
        ("nodejs:24", "v24."),
        ("nodejs:default", "v20."),
    ] {
        let name = kind.replace(':', "-");
        image.deploy_kind(
            &name,
            kind,
            "const main = () => ({ version: process.version, drawn: Math.random() })",
            "",
        );
        for _ in 0..2 {
            let answer = result(&image, &name, &json!({}));
            assert!(
                answer["version"]
                    .as_str()
                    .is_some_and(|v| v.starts_with(version)),
                "{kind}: {answer}"
            );
        }
    }
    let (_, listed) = image.ask("GET", "/", "");
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let deprecated: Vec<bool> = listed["runtimes"]["nodejs"]
        .as_array()
        .expect("kinds")
        .iter()
        .map(|kind| kind["deprecated"] == true)
        .collect();
    assert_eq!(deprecated, [false, false, true]);
}
