//! What does an image cost? From the loader's jump to `main`; its size; its memory and the host's CPU
//! while it sleeps; and how fast it wakes, keeps time and goes from event to event.
//!
//! `cargo bench --bench boot [-- --quick] [boards]`; with `boards` the size and the boards alone. Under whatever accelerator the
//! runner picks (`EBB_ACCEL`). With `EBB_LINUX_GUEST=PROGRAM` (which boots a small Linux and prints when its first process began,
//! as JSON with `"init": {"host_s": ..., "guest_s": ...}`) also beside that, taking turns.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use benches::{goal, quick, sides::linux_guest_program};
use test_support::{RUNNER, cargo, scratch, signal};

fn hello() -> PathBuf {
    cargo::example("hello")
}

fn latency_image() -> PathBuf {
    cargo::program("bench-latency")
}

fn image(path: &Path, cores: usize, arguments: &[&str]) -> Command {
    let mut command = Command::new(RUNNER);
    command
        .arg(path)
        .args(arguments)
        .env("EBB_CORES", cores.to_string())
        .env("EBB_MEMORY", "512M")
        .env("EBB_NET", "none")
        .env("EBB_TIMEOUT", "120")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn main() {
    let rounds = if quick() { 5 } else { 25 };
    size();
    boards(rounds);
    if std::env::args().any(|argument| argument == "boards") {
        return;
    }
    for cores in [1, 4] {
        boot(cores, rounds);
    }
    for cores in [1, 4] {
        latency(cores);
    }
    idle();
    if let Some(guest) = linux_guest_program() {
        beside_linux(&guest, if quick() { 1 } else { 5 });
    }
}

/// From QEMU's start, and from the kernel's entry, to the first line of the application: of `main`
/// here, of the first process there.
fn beside_linux(guest: &Path, rounds: usize) {
    let (mut host, mut inside) = (Vec::new(), Vec::new());
    let report = scratch("boot.report");
    for _ in 0..rounds {
        let output = Command::new(guest)
            .args([
                "--app", "run", "--run", "true", "--smp", "2", "--mem", "512",
            ])
            .stderr(Stdio::null())
            .output()
            .expect("EBB_LINUX_GUEST starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let init = text.split_once("\"init\"").expect("a report with init").1;
        let after = |name: &str| -> f64 {
            let value = init.split_once(name).expect("the field").1;
            let value = value.trim_start_matches(['"', ':', ' ']);
            let end = value.find([',', '}']).expect("an end");
            value[..end].trim().parse().expect("seconds")
        };
        let (linux_host, linux_inside) = (after("host_s"), after("guest_s"));

        let (ours_host, ours_inside) = to_first_line(&report, "q35");
        host.push((linux_host, ours_host));
        inside.push((linux_inside, ours_inside));
    }
    println!("\nto the first line of the application, 2 cores, 512 MiB, {rounds} rounds, medians");
    println!(
        "{:<24} {:>10} {:>10} {:>8}",
        "", "Linux (s)", "image (s)", "ratio"
    );
    for (name, pairs) in [
        ("from QEMU's start", host),
        ("from the kernel's entry", inside),
    ] {
        let (linux, ..) = spread(pairs.iter().map(|p| p.0).collect());
        let (ours, ..) = spread(pairs.iter().map(|p| p.1).collect());
        let (ratio, ..) = spread(pairs.iter().map(|p| p.0 / p.1).collect());
        println!("{name:<24} {linux:>10.3} {ours:>10.4} {ratio:>8.0}");
    }
}

/// Seconds from the runner's start to the first line of `hello`, and of them those from the image's entry to `main`.
fn to_first_line(report: &Path, board: &str) -> (f64, f64) {
    let begun = Instant::now();
    let mut ours = image(&hello(), 2, &[])
        .env("EBB_REPORT", report)
        .env("EBB_MACHINE", board)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the runner starts");
    let mut line = String::new();
    let mut console = BufReader::new(ours.stdout.take().expect("piped"));
    console.read_line(&mut line).expect("a line");
    let host_s = begun.elapsed().as_secs_f64();
    let _ = std::io::copy(&mut console, &mut std::io::sink());
    assert!(ours.wait().is_ok_and(|s| s.success()));
    let text = fs::read_to_string(report).expect("the runner wrote the report");
    let total = text.split_once("total=").expect("a boot line").1;
    let total: f64 = total[..total.find("us").expect("us")]
        .parse()
        .expect("a number");
    (host_s, total / 1e6)
}

/// To the first line on each of the runner's boards, which take turns.
fn boards(rounds: usize) {
    let report = scratch("boards.report");
    let boards = ["q35", "pc", "microvm"];
    let mut times = boards.map(|_| Vec::new());
    for _ in 0..rounds {
        for (board, times) in boards.iter().zip(&mut times) {
            times.push(to_first_line(&report, board));
        }
    }
    println!("\nto the first line, 2 cores, 512 MiB, {rounds} boots, medians (ms)");
    println!(
        "{:<10} {:>14} {:>22} {:>14}",
        "board", "runner's start", "before the image, QEMU", "entry to main"
    );
    for (board, times) in boards.iter().zip(times) {
        let (all, ..) = spread(times.iter().map(|t| t.0 * 1e3).collect());
        let (before, ..) = spread(times.iter().map(|t| (t.0 - t.1) * 1e3).collect());
        let (inside, ..) = spread(times.iter().map(|t| t.1 * 1e3).collect());
        println!("{board:<10} {all:>14.1} {before:>22.1} {inside:>14.1}");
    }
}

/// Percentiles 50, 99 and the most of some values.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values[(values.len() - 1) * part / 100];
    (at(50), at(99), at(100))
}

fn size() {
    let stripped = scratch("hello.stripped");
    let done = Command::new("strip")
        .arg("-o")
        .args([&stripped, &hello()])
        .status();
    assert!(
        done.is_ok_and(|s| s.success()),
        "strip (binutils) is needed"
    );
    let bytes = fs::metadata(&stripped).expect("strip wrote it").len();
    println!("hello, stripped: {} KiB", bytes / 1024);
    goal("hello_image_kib", bytes as f64 / 1024.0, 179.2);
}

/// From the entry of the image to the first instruction of `main`, in guest time.
fn boot(cores: usize, rounds: usize) {
    let report = scratch("boot.report");
    let mut steps: BTreeMap<usize, (String, Vec<f64>)> = BTreeMap::new();
    for _ in 0..rounds {
        let output = image(&hello(), cores, &[])
            .env("EBB_REPORT", &report)
            .output()
            .expect("the runner starts");
        assert!(output.status.success(), "hello failed: {output:?}");
        let text = fs::read_to_string(&report).expect("the runner wrote the report");
        let line = text
            .lines()
            .find(|l| l.starts_with("boot "))
            .expect("a boot line");
        for (i, field) in line["boot ".len()..].split(' ').enumerate() {
            let (name, value) = field.split_once('=').expect("name=value");
            if let Some(micros) = value.strip_suffix("us") {
                let step = steps
                    .entry(i)
                    .or_insert_with(|| (name.to_owned(), Vec::new()));
                step.1.push(micros.parse().expect("microseconds"));
            }
        }
    }
    println!("\nentry to main, {cores} cores, 512 MiB, {rounds} boots (us)");
    println!("{:<16} {:>9} {:>9} {:>9}", "step", "median", "p99", "most");
    let mut total = 0.0;
    for (name, values) in steps.into_values() {
        let (median, p99, most) = spread(values);
        println!("{name:<16} {median:>9.0} {p99:>9.0} {most:>9.0}");
        if name == "total" {
            total = median;
        }
    }
    goal(&format!("boot_ms_{cores}_cores"), total / 1000.0, 15.0);
}

fn latency(cores: usize) {
    let output = image(&latency_image(), cores, &[])
        .output()
        .expect("the runner starts");
    assert!(
        output.status.success(),
        "the latency image failed: {output:?}"
    );
    println!("\nin the image, {cores} cores (ns)");
    println!("{:<16} {:>9} {:>9} {:>9}", "", "median", "p99", "most");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["figure", name, median, p99, most] = words[..] {
            println!("{name:<16} {median:>9} {p99:>9} {most:>9}");
        }
    }
}

/// Memory and CPU time of a QEMU whose image sleeps.
fn idle() {
    let mut runner = image(&latency_image(), 4, &["idle"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the runner starts");
    let mut heap = 0.0;
    for line in BufReader::new(runner.stdout.take().expect("piped")).lines() {
        let line = line.unwrap_or_default();
        if let Some(bytes) = line.strip_prefix("figure heap ") {
            heap = bytes.parse().expect("bytes");
        } else if line == "idle" {
            break;
        }
    }
    thread::sleep(Duration::from_millis(500));
    let qemu = child_of(&runner);
    let resident = guest_memory(qemu, 512 << 20);
    let (begun, before) = (Instant::now(), cpu_time(qemu));
    thread::sleep(Duration::from_secs(if quick() { 2 } else { 5 }));
    let used = cpu_time(qemu) - before;
    let share = 100.0 * used / begun.elapsed().as_secs_f64();
    println!(
        "\nasleep, 4 cores: {:.1} MiB of 512 resident, {:.1} MiB of them the heap's; {share:.1} % of a host CPU",
        resident / (1 << 20) as f64,
        heap / (1 << 20) as f64
    );
    goal(
        "idle_resident_mib_beyond_heap",
        (resident - heap) / (1 << 20) as f64,
        8.0,
    );
    goal("idle_host_cpu_percent", share, 2.0);
    // The runner passes the signal on to QEMU.
    signal(&runner, libc::SIGTERM);
    let _ = runner.wait();
}

fn child_of(parent: &Child) -> u32 {
    let path = format!("/proc/{0}/task/{0}/children", parent.id());
    let text = fs::read_to_string(path).expect("the kernel lists children");
    let first = text.split_whitespace().next().expect("QEMU runs");
    first.parse().expect("a process number")
}

/// Resident bytes of the mapping that is the guest's memory: the one of its size.
fn guest_memory(process: u32, size: u64) -> f64 {
    let maps = fs::read_to_string(format!("/proc/{process}/smaps")).expect("smaps of QEMU");
    let mut ours = false;
    for line in maps.lines() {
        if let Some((range, _)) = line.split_once(' ')
            && let Some((start, end)) = range.split_once('-')
            && let (Ok(start), Ok(end)) =
                (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16))
        {
            // QEMU may put a guard page or a neighbour into the same mapping.
            ours = (size..size + (4 << 20)).contains(&(end - start));
        } else if ours && let Some(rest) = line.strip_prefix("Rss:") {
            let kib: f64 = rest
                .trim()
                .trim_end_matches(" kB")
                .trim()
                .parse()
                .expect("kB");
            return kib * 1024.0;
        }
    }
    panic!("QEMU has no mapping of {size} bytes");
}

/// Seconds of CPU time that a process has used.
fn cpu_time(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("stat of QEMU");
    let after = stat.rsplit(')').next().expect("a name in parentheses");
    let field = |n: usize| -> f64 {
        let value = after.split_whitespace().nth(n).expect("fields");
        value.parse().expect("a number")
    };
    // utime and stime, in ticks of 10 ms.
    (field(11) + field(12)) / 100.0
}
