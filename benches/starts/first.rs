//! The first call of functions after a restart, beside warm and cold starts before it.

use std::{
    thread,
    time::{Duration, Instant},
};

use benches::{goal, median, quick};
use test_support::{cargo, invoker::Invoker};

use crate::machine::Disks;

/// What a function is, and how much it computes when it is loaded.
const SORTS: [(&str, &str); 2] = [
    ("loads at once", ""),
    (
        "computes when it is loaded",
        "const table = []; for (let n = 0; n < 40000; n++) table.push((n * 2654435761) % 4294967296); table.sort((a, b) => a - b); table.length = 1000;",
    ),
];

/// Milliseconds of a call, and whether it had to load the function.
fn call(machine: &Invoker, name: &str, body: &str) -> (f64, bool) {
    let begun = Instant::now();
    let (status, answer) = machine.action("POST", name, "?blocking=true", body);
    let taken = begun.elapsed().as_secs_f64() * 1000.0;
    assert!(
        status == 200 && answer.contains(r#"{"hello":"you"}"#),
        "{answer}"
    );
    (taken, answer.contains("initTime"))
}

fn print(what: &str, milliseconds: &[f64]) -> f64 {
    let mut sorted = milliseconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |part: usize| sorted[(sorted.len() - 1) * part / 4];
    println!(
        "    {what:<34} {:>6.1} ms (quartiles {:.1}, {:.1})",
        median(&sorted),
        at(1),
        at(3)
    );
    median(&sorted)
}

pub fn run() {
    let count = if quick() { 12 } else { 40 };
    println!("first calls of {count} functions of each sort, one after the other");
    let disks = Disks::new("first");
    let image = cargo::example("invoker");
    let started = disks.boot(&image, &[]);
    let machine = &started.machine;
    machine.until("ebb_base_ready", |ready| ready == 1);
    let name = |sort: usize, n: usize| format!("f{sort}-{n}");
    let mut before = Vec::new();
    for (sort, (_, more)) in SORTS.iter().enumerate() {
        let code = format!(
            "{more} exports.main = ({{ name, wait = 0 }}) => new Promise((done) => setTimeout(() => done({{ hello: name }}), wait))"
        );
        let (mut cold, mut warm) = (Vec::new(), Vec::new());
        for n in 0..count {
            let name = name(sort, n);
            machine.deploy(&name, &code);
            let (taken, loaded) = call(machine, &name, r#"{"name":"you"}"#);
            assert!(loaded, "{name} was there before");
            cold.push(taken);
            machine.until("ebb_captures_put_off", |n| n == 0);
            let (taken, loaded) = thread::scope(|scope| {
                // Its only instance is busy.
                scope.spawn(|| call(machine, &name, r#"{"name":"you","wait":400}"#));
                thread::sleep(Duration::from_millis(100));
                call(machine, &name, r#"{"name":"you"}"#)
            });
            if !loaded {
                warm.push(taken);
            }
        }
        assert!(
            warm.len() * 4 > count * 3,
            "{} of {count} had a snapshot",
            warm.len()
        );
        before.push((cold, warm));
    }
    started.leave();

    let started = disks.boot(&image, &[]);
    // As before the restart, the emulator has translated what every call runs.
    started
        .machine
        .deploy("other", "exports.main = () => ({ hello: 'you' })");
    for _ in 0..8 {
        call(&started.machine, "other", "{}");
    }
    for (sort, ((what, _), (cold, warm))) in SORTS.iter().zip(before).enumerate() {
        println!("  a function that {what}");
        print("cold, before the restart", &cold);
        let warm = print("warm, before the restart", &warm);
        let calls = (0..count).map(|n| call(&started.machine, &name(sort, n), r#"{"name":"you"}"#));
        let (first, loaded): (Vec<f64>, Vec<bool>) = calls.unzip();
        let found = loaded.iter().filter(|loaded| !**loaded).count();
        let first = print(
            &format!("first call after it, {found} of them kept"),
            &first,
        );
        goal(&format!("first_call_{sort}"), first / warm, 1.5);
    }
    started.machine.kill();
}
