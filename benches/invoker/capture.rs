//! What it takes to capture an instance after the first call of its function: instructions between the function's first one and its
//! return, of which nothing else runs on the one core.

use std::{ops::Range, path::Path, process::Command, thread, time::Duration};

use benches::{
    functions::{ARGUMENTS, IMAGE},
    goal, median,
    sides::{Counting, Side},
};

use crate::COLD;

/// How many functions are called.
const FUNCTIONS: usize = 24;
/// What captures: the name that `nm -C` tells.
const SYMBOL: &str = "ebb_linux::snapshot::Snapshot::capture_delta";
/// Instructions that a capture took before lines were compared as they are now: the same count of a build of November 2026.
const BEFORE: f64 = 677_000.0;

/// Where a function of an image lies.
fn range_of(image: &Path, symbol: &str) -> Option<Range<u64>> {
    let listed = Command::new("nm").args(["-C", "-S"]).arg(image).output();
    let listed = String::from_utf8(listed.ok()?.stdout).ok()?;
    listed.lines().find_map(|line| {
        let mut words = line.splitn(4, ' ');
        let mut number = || u64::from_str_radix(words.next()?, 16).ok();
        let (start, length) = (number()?, number()?);
        (words.nth(1)? == symbol).then_some(start..start + length)
    })
}

/// Measures on an image with one vCPU.
pub fn run(image: &Path) {
    let Some(function) = range_of(image, SYMBOL) else {
        println!("{SYMBOL} is not found in the image: it takes binutils' nm");
        return;
    };
    let Some(counting) = Counting::within("capture", function) else {
        return;
    };
    let mut side = Side::image(image, 1, IMAGE, &ARGUMENTS, Some(&counting));
    side.order(&format!("{COLD} 1 {FUNCTIONS}"));
    // The last one comes after its answer.
    thread::sleep(Duration::from_secs(1));
    let counts = counting.between_marks();
    let last = counts.len().saturating_sub(FUNCTIONS / 2);
    let counts: Vec<f64> = counts[last..].iter().map(|n| *n as f64).collect();
    assert!(!counts.is_empty(), "nothing was captured");
    let least = counts.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "a capture after the first call, 1 vCPU: {:.0} instructions, the median of {} (least {least:.0})",
        median(&counts),
        counts.len(),
    );
    goal("capture", median(&counts) / BEFORE, 0.3);
}
