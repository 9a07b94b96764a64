//! A made-up day in the shape of a real one: which function is called when, for how long, and how much memory it holds.
//!
//! The distributions are those that Shahrad et al. found for Azure Functions in July 2019 ("Serverless in the Wild", USENIX ATC
//! 2020): rates in section 3.3 (45 % of applications are called once an hour or less, 81 % once a minute or less, over eight
//! orders of magnitude), triggers in table 1 (timers are 16 % of functions), execution times as their log-normal fit (section 3.4, mean
//! -0.38 and deviation 2.36 of the logarithm, in seconds), memory as their Burr fit (c 11.652, k 0.221, scale 107.083 MiB).
//! An hour is pressed into minutes: times between calls and execution times shrink alike. The same seed gives the same day.

use benches::load::uniform;
use test_support::Random;

/// A function of the day.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Calls of an hour, on the average.
    pub an_hour: f64,
    /// Bytes that it holds as long as it lives.
    pub memory: usize,
}

/// A call of it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// When, from the start.
    pub at_s: f64,
    /// The number of the function.
    pub function: usize,
    /// How long it runs; it waits, and does not compute.
    pub runs_ms: u32,
}

/// How the day is made.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub functions: usize,
    /// What the hour is pressed into.
    pub seconds: f64,
    /// About how many calls are made: each of the day's is kept with the same probability.
    pub calls: usize,
    pub seed: u64,
}

/// Calls an hour at which the most popular functions are cut: once a second they only find hot instances.
const MOST_AN_HOUR: f64 = 3600.0;
/// Calls an hour of a share of the functions, from the least popular; between the points the logarithm is linear.
const RATES: [(f64, f64); 4] = [
    (0.0, 1.0 / 336.0),
    (0.45, 1.0),
    (0.81, 60.0),
    (1.0, 1_000_000.0),
];
/// Of the functions, those that a timer calls.
const TIMERS: f64 = 0.16;
/// No call runs longer: the paper has 96 % of the functions below a minute.
const LONGEST_S: f64 = 60.0;
/// Memory is measured by application, with its language runtime, and both sides bring one of their own: a function holds this
/// part of it.
const MEMORY_PART: f64 = 1.0 / 64.0;
const MOST_MIB: f64 = 512.0;

/// Draws of the trace.
struct Draw(Random);

impl Draw {
    /// From 0 to 1, neither included.
    fn part(&mut self) -> f64 {
        uniform(self.0.next())
    }

    /// Normally distributed (Box and Muller).
    fn normal(&mut self) -> f64 {
        (-2.0 * self.part().ln()).sqrt() * (std::f64::consts::TAU * self.part()).cos()
    }

    fn an_hour(&mut self) -> f64 {
        let share = self.part();
        let upper = RATES.iter().position(|r| r.0 >= share).unwrap_or(3).max(1);
        let ((a, low), (b, high)) = (RATES[upper - 1], RATES[upper]);
        let along = (share - a) / (b - a);
        (low * (high / low).powf(along)).min(MOST_AN_HOUR)
    }

    fn memory(&mut self) -> usize {
        let (c, k, scale) = (11.652, 0.221, 107.083);
        let mib = scale * ((1.0 - self.part()).powf(-1.0 / k) - 1.0).powf(1.0 / c);
        (mib.min(MOST_MIB) * MEMORY_PART * 1_048_576.0) as usize
    }
}

/// Makes the day: its functions, and its calls in order of time.
pub fn day(shape: Shape) -> (Vec<Function>, Vec<Call>) {
    let mut draw = Draw(Random::new(shape.seed));
    let press = shape.seconds / 3600.0;
    let mut functions = Vec::new();
    let mut calls = Vec::new();
    let rates: Vec<f64> = (0..shape.functions).map(|_| draw.an_hour()).collect();
    let keep = (shape.calls as f64 / rates.iter().sum::<f64>()).min(1.0);
    for (function, an_hour) in rates.into_iter().enumerate() {
        functions.push(Function {
            an_hour,
            memory: draw.memory(),
        });
        let is_timer = draw.part() < TIMERS;
        // A function's calls differ less than functions do: half of the variance is its own.
        let usual = -0.38 + 2.36 * std::f64::consts::FRAC_1_SQRT_2 * draw.normal();
        let gap_s = 3600.0 / an_hour * press;
        let mut at_s = gap_s * draw.part();
        while at_s < shape.seconds {
            let runs_s = usual + 2.36 * std::f64::consts::FRAC_1_SQRT_2 * draw.normal();
            let runs_s = runs_s.exp().min(LONGEST_S) * press;
            if draw.part() < keep {
                calls.push(Call {
                    at_s,
                    function,
                    runs_ms: (runs_s * 1000.0) as u32,
                });
            }
            at_s += gap_s * if is_timer { 1.0 } else { -draw.part().ln() };
        }
    }
    calls.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    (functions, calls)
}
