//! How long until Node.js runs a script's first line, from the start of the virtual machine? Image and Linux guest take turns.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench node-boot [-- --quick]`.

use std::path::Path;

use benches::{
    goal,
    machine::{Lines, compare, goals, image, linux, node, run},
    median, quick,
    sides::linux_guest_program,
};
use test_support::{cargo, scratch};

/// The server is up when it says so, and then ends.
const SERVER: &str = "console.log('first line');
const server = require('node:http').createServer((request, response) => response.end());
server.listen(80, () => { console.log('listening'); server.close(); });
";

/// When a line came.
fn at(lines: &Lines, wanted: impl Fn(&str) -> bool) -> f64 {
    let found = lines.iter().find(|(_, line)| wanted(line.trim_end()));
    found
        .unwrap_or_else(|| panic!("a line is missing in {lines:#?}"))
        .0
}

/// Milliseconds to the script's lines; `lead` seconds passed before QEMU's start.
fn milliseconds(lines: &Lines, lead: f64) -> Vec<(String, f64)> {
    ["first line", "listening"]
        .iter()
        .map(|wanted| {
            let seconds = at(lines, |line| line.ends_with(wanted)) - lead;
            (wanted.replace(' ', "_"), seconds * 1e3)
        })
        .collect()
}

/// The guest's program builds its file system before it starts QEMU. It reports when, after that start, the guest said
/// that it is ready: `"ready": {"host_s": SECONDS, ...}`.
fn lead(lines: &Lines, report: &Path) -> f64 {
    let text = std::fs::read_to_string(report).expect("the guest's report");
    let ready = text
        .split_once("\"ready\"")
        .expect("a report with `ready`")
        .1;
    let value = ready.split_once("\"host_s\":").expect("the field").1;
    let end = value.find([',', '}']).expect("an end");
    let after: f64 = value[..end].trim().parse().expect("seconds");
    at(lines, |line| line.starts_with("EBB ready")) - after
}

fn main() {
    let script = scratch("server.js");
    std::fs::write(&script, SERVER).expect("a directory to write to");
    let path = script.to_str().expect("a path of text");
    let node = node();
    let node_image = cargo::example("node");
    let guest = linux_guest_program();
    let report = scratch("node-boot.json");
    // The runner is part of what a user waits for, so it counts.
    let ours = || milliseconds(&run(image(&node_image, &[path]), false), 0.0);
    let theirs = guest.as_ref().map(|guest| {
        || {
            let mut side = linux(guest, &[&node, &script], "node /app/server.js");
            side.arg("--report").arg(&report);
            let lines = run(side, true);
            milliseconds(&lines, lead(&lines, &report))
        }
    });
    // The first start packs the archive.
    ours();
    let list = compare(if quick() { 3 } else { 11 }, "ms", ours, theirs);
    goals(&list, "node_boot_", |_| Some(0.5));
    for (name, figure) in &list {
        if name == "listening" {
            let seconds = median(&figure.ours) / 1e3;
            goal("node_boot_seconds_to_listening", seconds, 1.2);
        }
    }
}
