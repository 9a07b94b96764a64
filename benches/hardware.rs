//! All figures on a machine of one's own, unattended: which machine it is, every bench beside its peer, one file, and a table of it.
//!
//!     EBB_LINUX_GUEST=PROGRAM cargo bench --bench hardware -- [--rounds N] [--only NAME,NAME] [--quick] [--out FILE]
//!     cargo bench --bench hardware -- table FILE
//!
//! The first takes root and some hours (an hour with `--quick`); it says what is missing before it begins, and goes on when a bench
//! fails. The file is lines of words, so that a person reads it and a script too: `machine KEY VALUE`, `bench NAME ROUND SECONDS STATUS`,
//! `ratio NAME VALUE OP BOUND` and `line NAME TEXT` for all else that a bench has said. It is written as the run goes on, and what it holds stays
//! if the run is ended.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use benches::{
    median, quick,
    sides::{linux_guest_program, value_of},
};
use test_support::WORKSPACE;

/// The benches, in their order: those of one process first, then images alone, then those that take turns with a Linux guest.
const BENCHES: [&str; 14] = [
    "dispatch",
    "events",
    "alloc",
    "store",
    "boot",
    "syscalls",
    "v8",
    "node-boot",
    "node-http",
    "net",
    "http",
    "memcached",
    "invoker",
    "day",
];
/// Above this load average, something else runs.
const QUIET: f64 = 0.5;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let after = words.iter().position(|word| word == "table");
    let done = match after.and_then(|at| words.get(at + 1)) {
        Some(file) => table(Path::new(file)),
        None => run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.lines().next().unwrap_or("not there").to_owned()
}

/// The rest of the first line of a file that begins with `key`.
fn field(file: &str, key: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key));
    let rest = line.map(|line| line[key.len()..].trim_start_matches([':', ' ', '\t', '=']));
    rest.unwrap_or("unknown").trim().to_owned()
}

/// What the figures depend on.
fn machine() -> Vec<(&'static str, String)> {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("processor", field("/proc/cpuinfo", "model name")),
        ("threads", cpus.to_string()),
        ("memory", field("/proc/meminfo", "MemTotal")),
        ("kernel", field("/proc/version", "Linux version")),
        (
            "governor",
            field("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", ""),
        ),
        ("qemu", first_line("qemu-system-x86_64", &["--version"])),
        ("rust", first_line("rustc", &["--version"])),
        (
            "commit",
            first_line("git", &["-C", WORKSPACE, "describe", "--always", "--dirty"]),
        ),
        ("kvm", if has_kvm() { "yes" } else { "no" }.into()),
        ("load", field("/proc/loadavg", "")),
    ]
}

fn has_kvm() -> bool {
    let flags = field("/proc/cpuinfo", "flags");
    let can = flags.split(' ').any(|flag| flag == "vmx" || flag == "svm");
    can && File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok()
}

/// What makes the figures others than they should be; none of it ends the run.
fn warnings() -> Vec<String> {
    let mut list = Vec::new();
    if !has_kvm() {
        list.push("no KVM (vmx or svm, and /dev/kvm): images and guests are emulated, and their figures are of no hardware".into());
    }
    if linux_guest_program().is_none() {
        list.push(
            "EBB_LINUX_GUEST names no program that boots a Linux guest: images are measured alone, without ratios".into(),
        );
    }
    // SAFETY: takes and touches nothing.
    if unsafe { libc::geteuid() } != 0 {
        list.push("not root: the benches with a network make namespaces and will fail".into());
    }
    let load = field("/proc/loadavg", "");
    let load = load.split(' ').next().and_then(|n| n.parse::<f64>().ok());
    if load.is_some_and(|load| load > QUIET) {
        list.push("something else runs (load average above 0.5): spreads will be wide".into());
    }
    let governor = field("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "");
    if !["performance", "unknown", ""].contains(&&*governor) {
        list.push(format!(
            "the clock is governed by `{governor}`; `cpupower frequency-set -g performance` keeps it still"
        ));
    }
    for program in [
        "qemu-system-x86_64",
        "node",
        "nginx",
        "memcached",
        "redis-server",
        "cc",
    ] {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
            && !Path::new("/usr/sbin").join(program).is_file()
        {
            list.push(format!(
                "{program} is not installed; `ebb-runner/run install {program}` does it on Debian"
            ));
        }
    }
    list
}

fn run() -> Result<(), String> {
    let rounds = value_of("--rounds").map_or(Ok(3), |n| n.parse());
    let rounds: usize = rounds.map_err(|error| format!("--rounds: {error}"))?;
    let out = value_of("--out").unwrap_or_else(|| "hardware.txt".into());
    let only = value_of("--only");
    let chosen = |name: &str| {
        let only = only.as_deref();
        only.is_none_or(|list| list.split(',').any(|one| one == name))
    };
    let unknown = only.iter().flat_map(|list| list.split(','));
    for name in unknown {
        if !BENCHES.contains(&name) {
            let names = BENCHES.join(", ");
            return Err(format!(
                "--only: there is no bench {name}; there are {names}"
            ));
        }
    }
    let mut file = File::create(&out).map_err(|error| format!("{out}: {error}"))?;
    let mut write = |line: String| writeln!(file, "{line}").map_err(|error| error.to_string());
    for (key, value) in machine() {
        println!("{key:<10} {value}");
        write(format!("machine {key} {value}"))?;
    }
    for warning in warnings() {
        println!("warning: {warning}");
        write(format!("machine warning {warning}"))?;
    }
    let list: Vec<&str> = BENCHES.into_iter().filter(|name| chosen(name)).collect();
    for round in 1..=rounds {
        for (number, name) in list.iter().enumerate() {
            println!(
                "\nround {round} of {rounds}, bench {} of {}: {name}",
                number + 1,
                list.len()
            );
            let begun = Instant::now();
            let (lines, status) = bench(name)?;
            let seconds = begun.elapsed().as_secs();
            println!("{name} took {seconds} s and ended with {status}");
            write(format!("bench {name} {round} {seconds} {status}"))?;
            for line in lines {
                match line.strip_prefix("ratio ") {
                    Some(ratio) => write(format!("ratio {}", ratio.replace(" goal ", " ")))?,
                    None => write(format!("line {name} {line}"))?,
                }
            }
        }
    }
    println!("\n{out}: `cargo bench --bench hardware -- table {out}` makes a table of it");
    Ok(())
}

/// Runs one, shows what it says, and gives that.
fn bench(name: &str) -> Result<(Vec<String>, String), String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["bench", "--quiet", "--bench", name, "--"])
        .current_dir(WORKSPACE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if quick() {
        command.arg("--quick");
    }
    let mut child = command.spawn().map_err(|error| format!("cargo: {error}"))?;
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let lines = output.lines().map_while(Result::ok);
    let lines: Vec<String> = lines.inspect(|line| println!("  {line}")).collect();
    let status = child.wait().map_err(|error| error.to_string())?;
    Ok((lines, status.to_string().replace(' ', "-")))
}

/// A Markdown table of what the file holds.
fn table(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    print!("{}", rendered(&text)?);
    Ok(())
}

fn rendered(text: &str) -> Result<String, String> {
    let mut out = String::from("| machine | |\n|---|---|\n");
    let mut ratios: BTreeMap<&str, (Vec<f64>, &str)> = BTreeMap::new();
    let mut order = Vec::new();
    let mut failed = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = || format!("line {}: not a line of such a file: {line}", number + 1);
        let (kind, rest) = line.split_once(' ').ok_or_else(wrong)?;
        match kind {
            "machine" => {
                let (key, value) = rest.split_once(' ').ok_or_else(wrong)?;
                out += &format!("| {key} | {} |\n", value.replace('|', "\\|"));
            }
            "ratio" => {
                let (name, rest) = rest.split_once(' ').ok_or_else(wrong)?;
                let (value, goal) = rest.split_once(' ').ok_or_else(wrong)?;
                let value = value.parse().map_err(|_| wrong())?;
                let goal = goal.trim_end_matches("(missed)").trim();
                let entry = ratios.entry(name).or_insert_with(|| {
                    order.push(name);
                    (Vec::new(), goal)
                });
                entry.0.push(value);
            }
            "bench" => {
                let words: Vec<&str> = rest.split(' ').collect();
                let [name, round, _, status] = words[..] else {
                    return Err(wrong());
                };
                if status != "exit-status:-0" {
                    failed.push(format!("{name} in round {round} ({status})"));
                }
            }
            "line" => {}
            _ => return Err(wrong()),
        }
    }
    out += "\n| figure | median | from | to | rounds | goal | |\n|---|---|---|---|---|---|---|\n";
    for name in order {
        let (values, goal) = &ratios[name];
        let value = median(values);
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        let bound = goal.split_once(' ').and_then(|(op, bound)| {
            let bound: f64 = bound.parse().ok()?;
            Some(if op == "<=" {
                value <= bound
            } else {
                value >= bound
            })
        });
        let verdict = if bound == Some(false) { "missed" } else { "" };
        out += &format!(
            "| {name} | {value:.3} | {low:.3} | {high:.3} | {} | {goal} | {verdict} |\n",
            values.len()
        );
    }
    if !failed.is_empty() {
        out += &format!("\nFailed: {}.\n", failed.join(", "));
    }
    Ok(out)
}
