//! What other kinds that are loaded cost the functions in JavaScript: a machine with that kind alone beside one in which Python and
//! programs have run as well, and an instance of each is idle. One vCPU, because the count is of one.
//!
//! Whatever the machine executes is counted, so what it does by itself has to be told apart. Calls are counted one by one. A new function is
//! called when the machine is quiet, and three counts are taken: until the client has the answer; what follows in [`WINDOW`], which is the
//! capture; and what the machine does in as long a time in which nobody asks for anything, which is in the second as well. Functions in a row,
//! without pauses, have all of that in them, and what it takes to make them known and to delete them.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use benches::{
    functions::{ARGUMENTS, Client, IMAGE},
    goal,
    load::Figures,
    median, quick,
    sides::{Counting, Side, counted},
};
use test_support::scratch;

use crate::{
    COLD, EACH, HOT, LANGUAGE_COLD, LANGUAGE_HOT, NEW, SOURCE, call, languages,
    languages::Language, names,
};

/// The names of what counts.
const COUNTING: [&str; 2] = ["one-kind", "kinds"];
/// After so long a machine has done what follows from a call, but for what it does when an instance has been idle for long.
const WINDOW: Duration = Duration::from_millis(400);
/// What a new function takes, in the order of [`Figures`].
const PARTS: [&str; 3] = [
    "  until the answer",
    "  what follows",
    "  nothing, for as long",
];

/// Calls of one function: the median of the instructions of each until its answer has come.
pub fn hot_calls(address: SocketAddr, side: usize, count: usize) -> Figures {
    let mut client = Client::new(address);
    static KNOWN: AtomicBool = AtomicBool::new(false);
    if !KNOWN.swap(true, Ordering::Relaxed) {
        client.register("each", SOURCE);
    }
    let counts: Vec<f64> = (0..count)
        .map(|_| {
            let before = counted(COUNTING[side]).0;
            call(&mut client, "each");
            (counted(COUNTING[side]).0 - before) as f64
        })
        .collect();
    Figures {
        per_second: median(&counts),
        p50_us: 0.0,
        p99_us: 0.0,
    }
}

/// A function that was not there before, and goes again: instructions until its first answer has come, in the window behind it, and in one
/// before it, in the places of a rate and two times.
pub fn new_function(address: SocketAddr, side: usize) -> Figures {
    let mut client = Client::new(address);
    let instructions = || counted(COUNTING[side]).0 as f64;
    let within = |done: &mut dyn FnMut()| {
        let before = instructions();
        done();
        instructions() - before
    };
    let mut wait = || thread::sleep(WINDOW);
    let name = names(1).remove(0);
    let nothing = within(&mut wait);
    client.register(&name, SOURCE);
    wait();
    let answered = within(&mut || {
        call(&mut client, &name);
    });
    let following = within(&mut wait);
    client.ask("DELETE", &name, "");
    wait();
    Figures {
        per_second: answered,
        p50_us: following,
        p99_us: nothing,
    }
}

/// A machine and what has been counted of it.
struct Machine {
    side: Side,
    counting: Counting,
    hot: Vec<f64>,
    /// Of calls that are not counted one by one.
    hot_in_a_row: Vec<f64>,
    /// As [`PARTS`], of each function.
    new: [Vec<f64>; 3],
    /// Of functions that are called one after the other without a pause, with what it takes to make them known and to delete them.
    in_a_row: Vec<f64>,
}

impl Machine {
    fn start(image: &Path, arguments: &[&str], name: &str) -> Option<Self> {
        let counting = Counting::new(name)?;
        Some(Self {
            side: Side::image(image, 1, IMAGE, arguments, Some(&counting)),
            counting,
            hot: Vec::new(),
            hot_in_a_row: Vec::new(),
            new: Default::default(),
            in_a_row: Vec::new(),
        })
    }

    fn count_calls(&mut self, number: usize) {
        let (seconds, count) = if quick() { (1.0, 200) } else { (4.0, 800) };
        let each = self.side.order(&format!("{EACH} {number} {count}"));
        self.hot.push(each.per_second);
        let order = format!("{HOT} 1 {seconds}");
        let hot = self.counting.per_request(&mut self.side, &order, seconds);
        self.hot_in_a_row.push(hot);
    }

    fn count_in_a_row(&mut self) {
        let count = if quick() { 12 } else { 40 };
        let order = format!("{COLD} 1 {count}");
        let each = self.counting.per_start(&mut self.side, &order, count);
        self.in_a_row.push(each);
    }

    fn count_new_function(&mut self, number: usize) {
        let taken = self.side.order(&format!("{NEW} {number}"));
        let parts = [taken.per_second, taken.p50_us, taken.p99_us];
        for (all, part) in self.new.iter_mut().zip(parts) {
            all.push(part);
        }
    }

    /// What comes first is for what is compiled and translated.
    fn forget(&mut self) {
        self.hot.clear();
        self.hot_in_a_row.clear();
        self.in_a_row.clear();
        self.new.iter_mut().for_each(Vec::clear);
    }

    fn rows(&self) -> Vec<(&'static str, Vec<f64>)> {
        let [answered, following, _] = &self.new;
        let both = answered.iter().zip(following);
        let whole = both.map(|(answered, rest)| answered + rest).collect();
        let mut rows = vec![("hot call", self.hot.clone()), ("new function", whole)];
        rows.extend(PARTS.into_iter().zip(self.new.clone()));
        rows.push(("hot calls in a row, each", self.hot_in_a_row.clone()));
        rows.push(("new functions in a row, each", self.in_a_row.clone()));
        rows
    }
}

/// Measures on images with one vCPU.
pub fn run(image: &Path) {
    if !languages::build() {
        return;
    }
    let manifest = scratch("one-kind.json");
    let kind = r#"{"runtimes":{"nodejs":[{"kind":"nodejs:20","default":true}]}}"#;
    fs::write(&manifest, kind).expect("a file to write to");
    let manifest = manifest.to_str().expect("a path in UTF-8");
    let one = [&ARGUMENTS[..], &["--runtimes", manifest]].concat();
    let [first, second] = COUNTING;
    let (Some(first), Some(mut second)) = (
        Machine::start(image, &one, first),
        Machine::start(image, &ARGUMENTS, second),
    ) else {
        return;
    };
    for number in 0..Language::ALL.len() {
        second.side.order(&format!("{LANGUAGE_HOT} {number} 20"));
        second.side.order(&format!("{LANGUAGE_COLD} {number} 4"));
    }
    let mut machines = [first, second];
    let (rounds, functions) = if quick() { (4, 10) } else { (6, 16) };
    for round in 0..=rounds {
        for at in [round % 2, (round + 1) % 2] {
            machines[at].count_calls(at);
            machines[at].count_in_a_row();
        }
        for turn in 0..functions {
            for at in [turn % 2, (turn + 1) % 2] {
                machines[at].count_new_function(at);
            }
        }
        if round == 0 {
            machines.iter_mut().for_each(Machine::forget);
        }
    }
    let count = rounds * functions;
    println!(
        "\ninstructions of JavaScript, 1 vCPU, {rounds} rounds and {count} new functions in turns: medians (quartiles)"
    );
    println!("{:<34} {:<30} three kinds", "", "one kind");
    let [one, three] = machines.each_ref().map(Machine::rows);
    let ratio = |row: usize| median(&three[row].1) / median(&one[row].1);
    for (row, (name, one)) in one.iter().enumerate() {
        let (one, three) = (told(one), told(&three[row].1));
        println!("{name:<34} {one:<30} {three:<30} {:.3}", ratio(row));
    }
    goal("hot_beside_other_kinds", ratio(0), 1.02);
    goal("cold_beside_other_kinds", ratio(1), 1.02);
}

fn told(counts: &[f64]) -> String {
    let mut sorted = counts.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |part: usize| sorted[(sorted.len() - 1) * part / 4];
    format!("{:.0} ({:.0} to {:.0})", median(counts), at(1), at(3))
}
