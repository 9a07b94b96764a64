//! The time line that an image and a process write, and the page that shows it: well-formed, each beginning with its end, times
//! of a core never going back. Boots `images/tracing.rs`.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;
use test_support::{RUNNER, Server, cargo, client::program, needs, scratch};

/// A trace that was checked.
struct Trace {
    events: Vec<Value>,
    overwritten: u64,
}

impl Trace {
    #[track_caller]
    fn of(text: &str) -> Self {
        let document: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let events = document["traceEvents"].as_array().unwrap().clone();
        let mut open: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
        let mut last: BTreeMap<u64, f64> = BTreeMap::new();
        for event in &events {
            let core = event["tid"].as_u64().unwrap();
            let phase = event["ph"].as_str().unwrap();
            assert_eq!(event["pid"], 1);
            if phase == "M" {
                continue;
            }
            let ts = event["ts"].as_f64().unwrap();
            let before = last.insert(core, ts).unwrap_or(0.0);
            assert!(before <= ts, "core {core} goes back from {before} to {ts}");
            match phase {
                "B" => open.entry(core).or_default().push(event),
                "E" => assert!(open.entry(core).or_default().pop().is_some(), "{event}"),
                "i" | "b" | "e" => {}
                other => panic!("{other}"),
            }
        }
        for (core, open) in open {
            assert!(open.is_empty(), "core {core}: {open:?}");
        }
        let overwritten = document["otherData"]["overwritten"].as_u64().unwrap();
        Self {
            events,
            overwritten,
        }
    }

    fn count(&self, phase: &str, name: &str) -> usize {
        let is =
            |e: &&Value| e["ph"] == phase && e["name"].as_str().is_some_and(|n| n.contains(name));
        self.events.iter().filter(is).count()
    }

    /// What `images/tracing.rs` does in three rounds on two cores is there.
    #[track_caller]
    fn is_whole(&self) {
        assert_eq!(self.overwritten, 0);
        for (phase, name, count) in [
            ("B", "outer", 9),
            ("B", "inner", 27),
            ("B", "crossing", 3),
            ("i", "worked", 9),
            ("b", "round", 3),
            ("e", "round", 3),
        ] {
            assert_eq!(self.count(phase, name), count, "{phase} {name}");
        }
        for (phase, name) in [
            ("B", "tests/images/tracing.rs"),
            ("B", "sleep"),
            ("i", "spawn"),
            ("i", "send"),
            ("i", "arrivals"),
            ("i", "timers"),
        ] {
            assert!(self.count(phase, name) > 0, "{phase} {name}");
        }
        let outer = self.events.iter().find(|e| e["name"] == "outer").unwrap();
        let n = outer["args"]["n"].as_u64().unwrap();
        assert_eq!(outer["args"]["twice"], 2 * n);
    }
}

fn boot(file: &Path, arguments: &[&str], options: &str) -> (Option<i32>, String) {
    let output = Command::new(RUNNER)
        .arg(cargo::program("image-tracing"))
        .args(arguments)
        .envs([
            ("EBB_CORES", "2"),
            ("EBB_NET", "none"),
            ("EBB_ACCEL", "tcg"),
        ])
        .envs([("EBB_TIMEOUT", "60"), ("EBB_OPTIONS", options)])
        .env("EBB_TRACE", file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (
        output.status.code(),
        said + &String::from_utf8_lossy(&output.stderr),
    )
}

#[test]
fn an_image_writes_its_time_line_at_the_end() {
    needs!("qemu-system-x86_64");
    let file = scratch("trace-image.json");
    let (status, said) = boot(&file, &[], "");
    assert_eq!(status, Some(0), "{said}");
    let trace = Trace::of(&fs::read_to_string(&file).unwrap());
    trace.is_whole();
    assert!(trace.count("i", "interrupt") > 0);
}

#[test]
fn a_full_ring_keeps_the_newest_and_says_how_many_are_gone() {
    needs!("qemu-system-x86_64");
    let file = scratch("trace-full.json");
    let (status, said) = boot(&file, &["100"], "trace-ring=64");
    assert_eq!(status, Some(0), "{said}");
    let trace = Trace::of(&fs::read_to_string(&file).unwrap());
    assert!(trace.overwritten > 1000, "{}", trace.overwritten);
    // Names of the process and of two cores are no records; an end may stand in for one that is lost.
    assert!(trace.events.len() < 3 * 64, "{}", trace.events.len());
    assert!(trace.count("e", "round") > 0);
}

#[test]
fn an_image_that_panics_shows_what_it_did_last() {
    needs!("qemu-system-x86_64");
    let file = scratch("trace-panic.json");
    let (status, said) = boot(&file, &["1", "panic"], "");
    assert_eq!(status, Some(101), "{said}");
    let trace = Trace::of(&fs::read_to_string(&file).unwrap());
    assert_eq!(trace.count("B", "fatal"), 1);
}

#[test]
fn a_process_writes_its_time_line_too() {
    needs!();
    let file = scratch("trace-process.json");
    let status = Command::new(cargo::hosted_program("image-tracing"))
        .envs([("EBB_CORES", "2")])
        .env("EBB_TRACE", &file)
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    Trace::of(&fs::read_to_string(&file).unwrap()).is_whole();
}

#[test]
fn the_webserver_shows_its_time_line_on_a_page() {
    needs!("qemu-system-x86_64", "curl");
    let image = Server::webserver(&[("EBB_OPTIONS", "trace-ring=512")]);
    let url = format!("http://{}/trace", image.address);
    for _ in 0..2 {
        let text = program("curl", &["-fsS", "-m", "20", &url]).expect("curl is there");
        let trace = Trace::of(&text);
        assert!(trace.count("B", "sleep") > 0 && trace.count("i", "interrupt") > 0);
    }
}
