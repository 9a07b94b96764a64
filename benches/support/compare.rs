//! Side-by-side measurement: the sides of one question take turns, round after round, in one
//! process, and the medians are compared. Absolute times on a shared machine mean little; the ratio
//! of two sides that ran within the same milliseconds does.

use std::time::Duration;

/// True when only the form of the answer matters: CI, a first look.
pub fn quick() -> bool {
    std::env::args().any(|a| a == "--quick") || std::env::var_os("EBB_BENCH_QUICK").is_some()
}

/// One contestant: runs `n` operations and says how long they took.
pub struct Side<'a> {
    name: &'static str,
    run: Box<dyn FnMut(u64) -> Duration + 'a>,
}

impl<'a> Side<'a> {
    /// A side of that name.
    pub fn new(name: &'static str, run: impl FnMut(u64) -> Duration + 'a) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }
}

/// The measured sides of one question.
pub struct Comparison {
    question: &'static str,
    /// Name, and nanoseconds for each operation, per round.
    rounds: Vec<(&'static str, Vec<f64>)>,
}

/// Runs every side `rounds` times, `n` operations each, alternating.
pub fn compare(
    question: &'static str,
    n: u64,
    rounds: usize,
    mut sides: Vec<Side<'_>>,
) -> Comparison {
    let mut results: Vec<(&'static str, Vec<f64>)> =
        sides.iter().map(|s| (s.name, Vec::new())).collect();
    for side in &mut sides {
        (side.run)(n / 10 + 1);
    }
    for round in 0..rounds {
        // Every other round backwards, so that no side always follows the same one.
        for i in 0..sides.len() {
            let i = if round % 2 == 0 {
                i
            } else {
                sides.len() - 1 - i
            };
            let spent = (sides[i].run)(n);
            results[i].1.push(spent.as_secs_f64() * 1e9 / n as f64);
        }
    }
    let comparison = Comparison {
        question,
        rounds: results,
    };
    comparison.print();
    comparison
}

/// The median of some values.
///
/// # Panics
/// When there are none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

impl Comparison {
    fn print(&self) {
        println!("{}", self.question);
        for (name, rounds) in &self.rounds {
            let low = rounds.iter().copied().fold(f64::INFINITY, f64::min);
            let high = rounds.iter().copied().fold(0.0, f64::max);
            println!(
                "  {name:<28} {:>10.2} ns  ({low:.2} to {high:.2})",
                median(rounds)
            );
        }
    }

    fn side(&self, name: &str) -> &[f64] {
        &self
            .rounds
            .iter()
            .find(|(n, _)| *n == name)
            .expect("a side of that name")
            .1
    }

    /// The median over the rounds of `ours / theirs` within one round.
    pub fn ratio(&self, ours: &str, theirs: &str) -> f64 {
        let ratios: Vec<f64> = self
            .side(ours)
            .iter()
            .zip(self.side(theirs))
            .map(|(a, b)| a / b)
            .collect();
        median(&ratios)
    }

    /// Prints `ratio NAME VALUE goal <= BOUND`.
    pub fn goal(&self, name: &str, ours: &str, theirs: &str, bound: f64) {
        goal(name, self.ratio(ours, theirs), bound);
    }
}

/// Prints one verdict line for a figure that should be at most `bound`.
pub fn goal(name: &str, value: f64, bound: f64) {
    // As printed: three digits.
    let verdict = if (value * 1000.0).round() <= bound * 1000.0 {
        ""
    } else {
        "  (missed)"
    };
    println!("ratio {name} {value:.3} goal <= {bound}{verdict}");
}

/// Prints one verdict line for a figure that should be at least `bound`.
pub fn goal_at_least(name: &str, value: f64, bound: f64) {
    let verdict = if value >= bound { "" } else { "  (missed)" };
    println!("ratio {name} {value:.3} goal >= {bound}{verdict}");
}
