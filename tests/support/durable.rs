//! Machines that are killed at random instants while they write, again and again: what they have acknowledged must be there
//! (`test_suite::durable` is what they run).

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use crate::random::Random;

/// Writers of a machine.
pub const WRITERS: usize = 4;
/// How long a machine may take until it has checked its disk.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a long test says how far it has come.
const PROGRESS: Duration = Duration::from_secs(30);

/// Cycles of a test, from 0, and how far it has come, said every half a minute.
pub struct Cycles {
    next: u64,
    count: u64,
    begun: Instant,
    said: Instant,
    most: Option<Duration>,
}

/// So many cycles, unless `EBB_CYCLES` says otherwise; fewer when `EBB_CYCLES_SECONDS` have passed before.
///
/// # Panics
/// When one of the two is no number.
#[must_use]
pub fn cycles(usual: u64) -> Cycles {
    let number = |name: &str| {
        let value = std::env::var(name).ok();
        value.map(|n| n.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let begun = Instant::now();
    Cycles {
        next: 0,
        count: number("EBB_CYCLES").unwrap_or(usual),
        begun,
        said: begun,
        most: number("EBB_CYCLES_SECONDS").map(Duration::from_secs),
    }
}

impl Iterator for Cycles {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let passed = self.begun.elapsed();
        let is_over = self
            .most
            .is_some_and(|most| passed >= most && self.next > 0);
        if self.said.elapsed() >= PROGRESS || is_over {
            self.said = Instant::now();
            println!(
                "{} of {} cycles after {} s{}",
                self.next,
                self.count,
                passed.as_secs(),
                if is_over {
                    ", and no time for more"
                } else {
                    ""
                }
            );
        }
        if is_over || self.next == self.count {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

/// Runs machines one after another, each with the numbers that were acknowledged to those before, and kills each.
///
/// # Panics
/// When a machine finds its disk other than it must be, or ends on its own.
pub fn kill_again_and_again(
    cycles: Cycles,
    start: impl Fn(&[String]) -> std::process::Command,
    kill: impl Fn(&mut Child),
) {
    let mut random = Random::new(0x6b69_6c6c);
    let mut acknowledged = [0u64; WRITERS];
    let (mut checked, mut early) = (0, 0);
    for cycle in cycles {
        let numbers = acknowledged.map(|n| n.to_string());
        let mut child = start(&numbers)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the machine starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        let reader = thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        // Mostly while it writes, sometimes while it opens its disk.
        let while_opening = random.chance(100);
        let mut end = Instant::now()
            + if while_opening {
                Duration::from_millis(random.next() % 300)
            } else {
                PATIENCE
            };
        let mut said = Vec::new();
        let mut is_checked = false;
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if !is_checked && !while_opening && line.contains("checked [") {
                        end = Instant::now() + Duration::from_millis(random.next() % 250);
                    }
                    is_checked |= line.contains("checked [");
                    said.push(line);
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("cycle {cycle}: the machine has ended: {said:#?}")
                }
            }
        }
        kill(&mut child);
        let _ = child.wait();
        said.extend(lines.iter());
        reader.join().expect("it only reads");
        let wrong = said
            .iter()
            .any(|line| line.contains("WRONG") || line.starts_with("failed"));
        assert!(!wrong, "cycle {cycle}, after {acknowledged:?}: {said:#?}");
        assert!(
            is_checked || while_opening,
            "cycle {cycle}: it does not open: {said:#?}"
        );
        checked += u64::from(is_checked);
        early += u64::from(!is_checked);
        for line in &said {
            let mut words = line.split(' ');
            if words.next() == Some("done")
                && let (Some(writer), Some(number)) = (words.next(), words.next())
                && let (Ok(writer), Ok(number)) = (writer.parse::<usize>(), number.parse())
                && writer < WRITERS
            {
                acknowledged[writer] = number;
            }
        }
    }
    let kills = checked + early;
    println!("{kills} kills, {early} of them while opening; acknowledged {acknowledged:?}");
    assert!(
        checked > 0 && acknowledged.iter().all(|n| *n > 0),
        "{acknowledged:?}"
    );
}
