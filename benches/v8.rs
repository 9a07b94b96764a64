//! Does V8 compute as fast in an image as on Linux? JavaScript kernels by an unmodified Node.js on both sides, one vCPU.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench v8 [-- --quick]`. `EBB_KERNELS=FILE` takes other kernels: a script that prints lines
//! `figure NAME VALUE`, milliseconds.

use std::path::PathBuf;

use benches::{
    machine::{compare, figures, image, linux, node, run},
    quick,
    sides::linux_guest_program,
};
use test_support::cargo;

const KERNELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/kernels.js");

fn main() {
    let script = std::env::var_os("EBB_KERNELS").map_or(PathBuf::from(KERNELS), PathBuf::from);
    let path = script.to_str().expect("a path of text");
    let name = script.file_name().and_then(|n| n.to_str()).expect("a file");
    let form = if quick() { "quick" } else { "whole" };
    let node = node();
    // The same flags on both sides: see the example `node`.
    let start = format!("node --v8-pool-size=0 /app/{name} {form}");
    let node_image = cargo::example("node");
    let guest = linux_guest_program();
    let list = compare(
        if quick() { 1 } else { 5 },
        "ms",
        || figures(&run(image(&node_image, &[path, form]), false)),
        guest
            .as_ref()
            .map(|guest| || figures(&run(linux(guest, &[&node, &script], &start), true))),
    );
    // The geometric mean over the kernels, as speed.
    let logs: Vec<f64> = list
        .iter()
        .filter(|(name, _)| !name.starts_with("check"))
        .filter_map(|(_, figure)| Some(-figure.ratio()?.ln()))
        .collect();
    for (name, figure) in list.iter().filter(|(name, _)| name.starts_with("check")) {
        let first = figure.ours[0];
        let same = figure
            .ours
            .iter()
            .chain(&figure.theirs)
            .all(|v| *v == first);
        assert!(same, "{name}: the sides did not compute the same");
    }
    if !logs.is_empty() {
        let score = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
        let verdict = if score >= 1.0 { "" } else { "  (missed)" };
        println!("ratio v8_score {score:.3} goal >= 1.0{verdict}");
    }
}
