//! What do cores write in turns on the way of a hot call?
//!
//! `cargo bench --bench lines [-- --cores N] [--image FILE]`: hot calls of one function by 8 clients, on 1, 2 and 4 vCPUs unless one number is
//! named, counted by a QEMU plugin (`guests/lines.c`): instructions for each call, and the lines of kernel memory that several cores write, with how often
//! each moved from one core to another, writes by each core, and the instructions that wrote it last. An image of another build can be named.

use std::{fs, path::PathBuf, process::Command, thread, time::Duration};

use benches::{
    functions::{ARGUMENTS, Client, Greeting, IMAGE},
    load::{Generator, Load},
    sides::{Counting, value_of},
};
use test_support::{cargo, invoker::Invoker, tools};

const CLIENTS: usize = 8;
const CALLS: u64 = 4_000;
/// vCPUs that the plugin tells apart.
const CORES: usize = 4;
/// Bytes of a line's entry: its number, four instructions, four counts of writes, moves, who was last.
const ENTRY: usize = 8 + 8 * CORES + 4 * CORES + 8;
/// Lines that move more rarely are not told of: they are of memory that is used again elsewhere.
const RARELY: f64 = 0.02;
/// Where registers of devices are mapped, each core's own ones at the same address; they are no memory.
const DEVICES: std::ops::Range<u64> = 0xffff_c000_0000_0000..0xffff_ff00_0000_0000;
/// Lines that are shown.
const SHOWN: usize = 24;

/// What was counted of a line.
#[derive(Clone, Copy, Default)]
struct Line {
    number: u64,
    at: [u64; CORES],
    writes: [u32; CORES],
    moves: u32,
}

/// What was counted so far.
struct Counted {
    instructions: [u64; CORES],
    lines: Vec<Line>,
}

impl Counted {
    fn read(counting: &Counting) -> Self {
        let bytes = fs::read(counting.file()).expect("QEMU has the plugin");
        let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let half = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let line = |at: usize| Line {
            number: word(at),
            at: std::array::from_fn(|core| word(at + 8 + 8 * core)),
            writes: std::array::from_fn(|core| half(at + 8 + 8 * CORES + 4 * core)),
            moves: half(at + 8 + 12 * CORES),
        };
        let places = (8 * CORES..bytes.len() + 1 - ENTRY).step_by(ENTRY);
        Self {
            instructions: std::array::from_fn(|core| word(8 * core)),
            lines: places.map(line).collect(),
        }
    }
}

/// Calls the function so often.
fn call(machine: &Invoker) {
    let load = Load {
        depth: 1,
        rate: 0.0,
        seconds: 3600.0,
    };
    let mut greeting = Greeting {
        port: IMAGE,
        function: "hello",
        right: r#"{"hello":"you"}"#,
    };
    let address = ([127, 0, 0, 1], machine.port()).into();
    Generator::new(address, CLIENTS).run(load, Some(CALLS), &mut greeting);
}

/// Where an instruction is from, innermost function first.
fn place(image: &PathBuf, at: u64) -> String {
    let found = Command::new("addr2line")
        .args(["-sfCe"])
        .arg(image)
        .arg(format!("{at:#x}"))
        .output();
    match found {
        Ok(found) if found.status.success() => {
            let text = String::from_utf8_lossy(&found.stdout)
                .trim()
                .replace('\n', " ");
            text.chars().take(90).collect()
        }
        _ => format!("{at:#x}"),
    }
}

fn run(image: &PathBuf, cores: usize) {
    let Some(counting) = Counting::of_lines("lines") else {
        return;
    };
    let mut command = Invoker::runner_of(image, "2G", "none");
    counting.counts(&mut command);
    command
        .args(&ARGUMENTS[..2])
        .env("EBB_CORES", cores.to_string());
    let machine = Invoker::start(&mut command, &["base snapshot of Node"]);
    let mut client = Client::of_image(([127, 0, 0, 1], machine.port()).into());
    client.register("hello", "exports.main = ({ name }) => ({ hello: name })");
    call(&machine);
    // Captures, and instances that rest.
    thread::sleep(Duration::from_secs(15));
    let before = Counted::read(&counting);
    call(&machine);
    let after = Counted::read(&counting);
    machine.kill();
    let each = |count: u64| count as f64 / CALLS as f64;
    let instructions: u64 = (0..CORES)
        .map(|core| after.instructions[core] - before.instructions[core])
        .sum();
    let mut lines: Vec<Line> = before.lines.iter().zip(&after.lines).map(since).collect();
    lines
        .retain(|line| each(line.moves.into()) >= RARELY && !DEVICES.contains(&(line.number << 6)));
    lines.sort_by_key(|line| std::cmp::Reverse(line.moves));
    let moves: u64 = lines.iter().map(|line| u64::from(line.moves)).sum();
    let writes: u64 = lines
        .iter()
        .flat_map(|line| line.writes)
        .map(u64::from)
        .sum();
    println!(
        "{cores} vCPUs: {:.0} instructions for each call; {} lines that several cores write in turns: {:.1} writes and {:.1} moves for each call",
        each(instructions),
        lines.len(),
        each(writes),
        each(moves)
    );
    for line in lines.iter().take(SHOWN) {
        let by_core = line.writes.iter().take(cores);
        let by_core: Vec<String> = by_core
            .map(|n| format!("{:.2}", each((*n).into())))
            .collect();
        let mut at: Vec<u64> = line.at.into_iter().filter(|at| *at != 0).collect();
        at.dedup();
        let places: Vec<String> = at.into_iter().map(|at| place(image, at)).collect();
        println!(
            "  {:#x} moves {:.2} writes {} by {}",
            line.number << 6,
            each(line.moves.into()),
            by_core.join(" "),
            places.join(" | ")
        );
    }
}

/// What was counted of a line between two looks.
fn since((before, after): (&Line, &Line)) -> Line {
    match before.number == after.number {
        false => *after,
        true => Line {
            writes: std::array::from_fn(|core| after.writes[core] - before.writes[core]),
            moves: after.moves - before.moves,
            ..*after
        },
    }
}

fn main() {
    if tools::lacks(&["qemu-system-x86_64", "node"]) {
        return;
    }
    let image = value_of("--image").map_or_else(|| cargo::example("invoker"), PathBuf::from);
    let cores = value_of("--cores").map(|n| n.parse().expect("a number of cores"));
    for cores in cores.map_or_else(|| vec![1, 2, 4], |cores| vec![cores]) {
        run(&image, cores);
    }
}
