//! A program that runs to its end, on either side: in an image under the runner, and in a Linux guest of the same virtual
//! hardware, booted by `EBB_LINUX_GUEST`. Both have one vCPU and 2 GiB.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use test_support::{RUNNER, WORKSPACE};

use crate::{goal, median};

/// A side's lines, each with the seconds since it was started.
pub type Lines = Vec<(f64, String)>;

/// An image, about to be run by the runner with these arguments.
pub fn image(image: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(RUNNER);
    command
        .arg(image)
        .args(arguments)
        .current_dir(WORKSPACE)
        .env("EBB_CORES", "1")
        .env("EBB_MEMORY", "2048M")
        .env("EBB_DISK", "none")
        .env("EBB_TIMEOUT", "600");
    command
}

/// A Linux guest, about to run `script` with its shell; `added` are programs (with their libraries, to `/bin`) and files
/// (to `/app`).
pub fn linux(guest: &Path, added: &[&Path], script: &str) -> Command {
    let mut command = Command::new(guest);
    command.args(["--app", "run", "--smp", "1", "--mem", "2048"]);
    command.args(["--timeout", "600"]);
    for path in added {
        command.arg("--add").arg(path);
    }
    command.args(["--run", script]);
    command
}

/// Runs a side to its end. The console of an image is its output, that of a guest its error output.
///
/// # Panics
/// When it cannot be started.
pub fn run(mut side: Command, console_is_error: bool) -> Lines {
    let begun = Instant::now();
    side.stdin(Stdio::null());
    if console_is_error {
        side.stderr(Stdio::piped()).stdout(Stdio::null());
    } else {
        side.stdout(Stdio::piped()).stderr(Stdio::null());
    }
    let mut child = side.spawn().expect("the side starts");
    let mut lines = Vec::new();
    let console: Box<dyn std::io::Read> = if console_is_error {
        Box::new(child.stderr.take().expect("piped"))
    } else {
        Box::new(child.stdout.take().expect("piped"))
    };
    for line in BufReader::new(console).split(b'\n') {
        let line = String::from_utf8_lossy(&line.expect("a line")).into_owned();
        lines.push((begun.elapsed().as_secs_f64(), line));
    }
    let _ = child.wait();
    lines
}

/// What the lines `figure NAME VALUE` say.
///
/// # Panics
/// When there are none.
pub fn figures(lines: &Lines) -> Vec<(String, f64)> {
    let found: Vec<_> = lines
        .iter()
        .filter_map(|(_, line)| {
            let at = line.find("figure ")?;
            let mut words = line[at..].split_whitespace().skip(1);
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        })
        .collect();
    assert!(!found.is_empty(), "no figures in {lines:#?}");
    found
}

/// Values of one figure: of each round, ours and, with a guest, theirs.
pub struct Figure {
    /// Of the image.
    pub ours: Vec<f64>,
    /// Of the Linux guest.
    pub theirs: Vec<f64>,
}

impl Figure {
    /// The median over the rounds of ours by theirs.
    pub fn ratio(&self) -> Option<f64> {
        let ratios: Vec<f64> = self
            .ours
            .iter()
            .zip(&self.theirs)
            .map(|(a, b)| a / b)
            .collect();
        (!ratios.is_empty()).then(|| median(&ratios))
    }
}

/// Lets the sides take turns, and prints their medians.
pub fn compare(
    rounds: usize,
    unit: &str,
    mut ours: impl FnMut() -> Vec<(String, f64)>,
    mut theirs: Option<impl FnMut() -> Vec<(String, f64)>>,
) -> Vec<(String, Figure)> {
    let mut order = Vec::new();
    let mut all: BTreeMap<String, Figure> = BTreeMap::new();
    let mut add = |list: Vec<(String, f64)>, image: bool| {
        for (name, value) in list {
            let figure = all.entry(name.clone()).or_insert_with(|| {
                order.push(name);
                Figure {
                    ours: Vec::new(),
                    theirs: Vec::new(),
                }
            });
            if image {
                figure.ours.push(value);
            } else {
                figure.theirs.push(value);
            }
        }
    };
    for round in 0..rounds {
        // Every other round the other way about.
        if round % 2 == 0 {
            add(ours(), true);
        }
        if let Some(theirs) = &mut theirs {
            add(theirs(), false);
        }
        if round % 2 == 1 {
            add(ours(), true);
        }
    }
    println!(
        "{:<24} {:>12} {:>12} {:>8}",
        "",
        format!("image ({unit})"),
        "Linux",
        "ratio"
    );
    let list: Vec<_> = order
        .into_iter()
        .filter_map(|name| all.remove(&name).map(|figure| (name, figure)))
        .collect();
    for (name, figure) in &list {
        let linux = if figure.theirs.is_empty() {
            String::from("-")
        } else {
            format!("{:.1}", median(&figure.theirs))
        };
        let ratio = figure
            .ratio()
            .map_or(String::from("-"), |r| format!("{r:.3}"));
        println!(
            "{name:<24} {:>12.1} {linux:>12} {ratio:>8}",
            median(&figure.ours)
        );
    }
    list
}

/// Prints the verdict of each figure whose goal is to be at most `bound` times Linux's.
pub fn goals(list: &[(String, Figure)], prefix: &str, bound: impl Fn(&str) -> Option<f64>) {
    for (name, figure) in list {
        if let (Some(ratio), Some(bound)) = (figure.ratio(), bound(name)) {
            goal(&format!("{prefix}{name}"), ratio, bound);
        }
    }
}

/// The Node.js that both sides run: `EBB_NODE` or the one in the PATH, as a file.
///
/// # Panics
/// When there is none.
pub fn node() -> PathBuf {
    let name = std::env::var_os("EBB_NODE").unwrap_or_else(|| "node".into());
    let said = Command::new(name).args(["-p", "process.execPath"]).output();
    let said = said
        .expect("Node.js (EBB_NODE, or in the PATH) starts")
        .stdout;
    PathBuf::from(String::from_utf8_lossy(&said).trim())
}
