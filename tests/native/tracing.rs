//! The time line that an image and a process write, and the page that shows it: well-formed, each beginning with its end, times
//! of a core never going back. Boots `images/tracing.rs`.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use test_support::{RUNNER, Server, cargo, client::program, needs, scratch};

/// A trace that was checked.
struct Trace {
    events: Vec<Value>,
    overwritten: u64,
}

impl Trace {
    #[track_caller]
    fn read(file: &Path) -> Self {
        Self::of(&fs::read_to_string(file).unwrap())
    }

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
            if phase == "b" {
                // May have been recorded after the fact.
                continue;
            }
            let before = last.insert(core, ts).unwrap_or(0.0);
            assert!(before <= ts, "core {core} goes back from {before} to {ts}");
            match phase {
                "B" => open.entry(core).or_default().push(event),
                "E" => assert!(open.entry(core).or_default().pop().is_some(), "{event}"),
                "i" | "e" => {}
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

/// What `images/traced.rs` says through the crate `tracing` is there.
#[track_caller]
fn is_traced(trace: &Trace, said: &str) {
    assert_eq!(trace.overwritten, 0);
    for (phase, name, count) in [
        // Three tasks on each of two cores, entered for three polls and when they are dropped; one flight each.
        ("B", "request", 24),
        ("b", "request", 6),
        ("e", "request", 6),
        ("B", "parse", 12),
        ("b", "parse", 0),
        ("i", "parsing", 12),
        // What was recorded later, under the span's name.
        ("i", "request", 6),
        ("i", "answered", 6),
        ("b", "journey", 1),
        ("e", "journey", 1),
        ("B", "first", 1),
        ("B", "second", 1),
        ("i", "low on", 1),
        ("i", "unseen", 0),
        ("B", "unseen", 0),
    ] {
        assert_eq!(trace.count(phase, name), count, "{phase} {name}");
    }
    let all = |phase: &str, name: &str| -> Vec<&Value> {
        let is = |e: &&Value| e["ph"] == phase && e["name"] == name;
        trace.events.iter().filter(is).collect()
    };
    let answered = all("i", "answered")[0];
    let args = &answered["args"];
    assert_eq!(answered["cat"], "image_traced");
    assert_eq!(args["who"], "Zoë \"Z\"");
    assert_eq!((&args["ok"], &args["ratio"]), (&true.into(), &0.5.into()));
    assert_eq!(args["offset"], -1);
    assert!(args["line"].as_u64().unwrap() > 10);
    // The flight knows what was given and begins before its core's second slice; the later value came too late for it.
    let request = all("b", "request")[0];
    assert_eq!(
        (&request["args"]["id"], request["args"].get("status")),
        (&0.into(), None)
    );
    assert_eq!(all("i", "request")[0]["args"]["status"], 200);
    // Entered on one core and polled on the other.
    let at = |e: &Value| (e["tid"].as_u64().unwrap(), e["ts"].as_f64().unwrap());
    let (journeys, flight) = (all("B", "journey"), all("b", "journey")[0]);
    let cores: Vec<u64> = journeys.iter().map(|e| at(e).0).collect();
    assert!(cores.contains(&0) && cores.contains(&1), "{cores:?}");
    let left = journeys.iter().find(|e| at(e).0 == 0).unwrap();
    assert!(at(flight).1 <= at(left).1, "{flight} {left}");
    assert_eq!(left["args"]["from"], 0);
    assert_eq!(
        (at(all("i", "leaving")[0]).0, at(all("i", "arrived")[0]).0),
        (0, 1)
    );
    let long = all("i", "too much")[0]["args"]["long"].as_str().unwrap();
    assert!(long.ends_with('…') && long.len() < 250, "{}", long.len());

    assert!(
        said.contains("WARN image_traced: low on  [31m memory free_bytes=17 name=\"a\\nb\""),
        "{said}"
    );
    let line = said
        .lines()
        .find(|l| l.contains("ERROR image_traced: too much"))
        .unwrap();
    assert!(line.ends_with('…') && line.len() < 1100, "{}", line.len());
    assert!(said.contains("WARN image_traced: still said"), "{said}");
    assert!(
        !said.contains("INFO") && said.contains("traced\n"),
        "{said}"
    );
}

fn boot(file: &Path, arguments: &[&str], options: &str) -> (Option<i32>, String) {
    boot_one("image-tracing", file, arguments, options)
}

fn boot_one(image: &str, file: &Path, arguments: &[&str], options: &str) -> (Option<i32>, String) {
    let output = Command::new(RUNNER)
        .arg(cargo::program(image))
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
    (output.status.code(), said(&output))
}

/// Runs a program as a Linux process with two cores and one more variable; what it said.
fn process(program: &str, variable: &str, value: &str) -> String {
    let (status, said) = ended(program, variable, value);
    assert_eq!(status, Some(0), "{said}");
    said
}

fn ended(program: &str, variable: &str, value: &str) -> (Option<i32>, String) {
    let output = Command::new(cargo::hosted_program(program))
        .envs([("EBB_CORES", "2"), (variable, value)])
        .output()
        .unwrap();
    (output.status.code(), said(&output))
}

fn said(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn an_image_writes_its_time_line_at_the_end() {
    needs!("qemu-system-x86_64");
    let file = scratch("trace-image.json");
    let (status, said) = boot(&file, &[], "");
    assert_eq!(status, Some(0), "{said}");
    let trace = Trace::read(&file);
    trace.is_whole();
    assert!(trace.count("i", "interrupt") > 0);
}

#[test]
fn a_full_ring_keeps_the_newest_and_says_how_many_are_gone() {
    needs!("qemu-system-x86_64");
    let file = scratch("trace-full.json");
    let (status, said) = boot(&file, &["100"], "trace-ring=64");
    assert_eq!(status, Some(0), "{said}");
    let trace = Trace::read(&file);
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
    let trace = Trace::read(&file);
    assert_eq!(trace.count("B", "fatal"), 1);
}

#[test]
fn a_process_writes_its_time_line_too() {
    needs!();
    let file = scratch("trace-process.json");
    process("image-tracing", "EBB_TRACE", &file.to_string_lossy());
    Trace::read(&file).is_whole();
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

#[test]
fn what_an_image_says_through_the_crate_tracing_is_on_its_time_line() {
    needs!("qemu-system-x86_64");
    let file = scratch("trace-traced.json");
    let (status, said) = boot_one("image-traced", &file, &[], "");
    assert_eq!(status, Some(0), "{said}");
    is_traced(&Trace::read(&file), &said);
}

#[test]
fn what_a_process_says_through_the_crate_tracing_is_on_its_time_line() {
    needs!();
    let file = scratch("trace-traced-process.json");
    let said = process("image-traced", "EBB_TRACE", &file.to_string_lossy());
    is_traced(&Trace::read(&file), &said);
}

#[test]
fn the_option_log_says_which_events_are_lines() {
    needs!();
    let run = |level: &str| process("image-traced", "EBB_OPTIONS", &format!("log={level}"));
    let said = run("debug");
    assert!(said.contains("DEBUG image_traced: parsing id=2"), "{said}");
    assert!(said.contains("INFO image_traced: unseen"), "{said}");
    let said = run("error");
    assert!(said.contains("ERROR") && !said.contains("WARN"), "{said}");
    assert!(!run("off").contains("ERROR"));
    let (status, said) = ended("image-traced", "EBB_OPTIONS", "log=loud");
    assert_eq!(status, Some(78), "{said}");
    assert!(said.contains("it takes off, error, warn"), "{said}");
}
