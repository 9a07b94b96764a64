//! Two sides that are measured in turns, and the ratios of their figures.
//!
//! What must hold: both are up during all rounds, and each is measured in each round.

use crate::{load::Figures, median, sides::Side};

/// What each round gave: our figures, and the other side's.
pub type Rounds = Vec<(Figures, Option<Figures>)>;

/// One measurement of each side, in turns, `rounds` times.
pub fn turns(
    name: &str,
    unit: &str,
    rounds: usize,
    ours: &mut Side,
    theirs: Option<&mut Side>,
    order: &str,
) -> Rounds {
    turns_of(["image", "Linux"], name, unit, rounds, ours, theirs, order)
}

/// Two servers that are up, or ours alone, under loads whose orders are `RATE SECONDS`.
pub struct Pair {
    /// Of the two, as they are printed.
    pub names: [&'static str; 2],
    /// Ours.
    pub ours: Side,
    /// The other one.
    pub theirs: Option<Side>,
    /// How often each is measured.
    pub rounds: usize,
    /// How long each time.
    pub seconds: f64,
}

impl Pair {
    /// Loads that do not count: TCG translates code when it first runs, V8 compiles what is hot.
    pub fn warm_up(&mut self, seconds: f64) {
        let order = format!("0 {seconds}");
        self.ours.order(&order);
        if let Some(theirs) = &mut self.theirs
            && let Err(reason) = theirs.try_order(&order)
        {
            println!("(warming up) {} failed: {reason}", self.names[1]);
        }
    }

    fn turns(&mut self, name: &str, rate: f64) -> Rounds {
        let order = format!("{rate} {}", self.seconds);
        let (ours, theirs) = (&mut self.ours, self.theirs.as_mut());
        turns_of(
            self.names,
            name,
            "requests/s",
            self.rounds,
            ours,
            theirs,
            &order,
        )
    }

    /// As much as the servers can take.
    pub fn closed_loop(&mut self) -> Rounds {
        self.turns("closed loop", 0.0)
    }

    /// The same for both: a share of what the other one could take. `None` if there is no other.
    pub fn open_loop(&mut self, share: f64, peak: &[(Figures, Option<Figures>)]) -> Option<Rounds> {
        let theirs = peak.iter().filter_map(|(_, f)| Some((*f)?.per_second));
        let theirs: Vec<f64> = theirs.collect();
        let rate = median((!theirs.is_empty()).then_some(&theirs)?) * share;
        Some(self.turns(&format!("open loop at {rate:.0}/s"), rate))
    }
}

/// As [`turns`], with names for the two sides.
pub fn turns_of(
    sides: [&str; 2],
    name: &str,
    unit: &str,
    rounds: usize,
    ours: &mut Side,
    mut theirs: Option<&mut Side>,
    order: &str,
) -> Rounds {
    // One that fails is told once, and is not in the figures.
    let mut failed = false;
    let mut other = |side: &mut Side| match side.try_order(order) {
        Ok(figures) => Some(figures),
        Err(reason) => {
            if !std::mem::replace(&mut failed, true) {
                println!("{name:<34} {:<9} failed: {reason}", sides[1]);
            }
            None
        }
    };
    let figures: Rounds = (0..rounds)
        .map(|round| {
            // Every other round the other way about.
            if round % 2 == 0 {
                let linux = theirs.as_mut().and_then(|side| other(side));
                (ours.order(order), linux)
            } else {
                let image = ours.order(order);
                (image, theirs.as_mut().and_then(|side| other(side)))
            }
        })
        .collect();
    let show = |who: &str, list: Vec<Figures>| {
        if list.is_empty() {
            return;
        }
        let all = |f: fn(&Figures) -> f64| median(&list.iter().map(f).collect::<Vec<_>>());
        let low = list
            .iter()
            .map(|f| f.per_second)
            .fold(f64::INFINITY, f64::min);
        let high = list.iter().map(|f| f.per_second).fold(0.0, f64::max);
        println!(
            "{name:<34} {who:<9} {:>9.0} {unit} ({low:.0} to {high:.0}){}",
            all(|f| f.per_second),
            if all(|f| f.p99_us) > 0.0 {
                format!(
                    ", p50 {:>7.0} us, p99 {:>7.0} us",
                    all(|f| f.p50_us),
                    all(|f| f.p99_us)
                )
            } else {
                String::new()
            }
        );
    };
    show(sides[0], figures.iter().map(|f| f.0).collect());
    show(sides[1], figures.iter().filter_map(|f| f.1).collect());
    figures
}

/// The median over the rounds of `f(ours) / f(theirs)`.
pub fn ratio(figures: &[(Figures, Option<Figures>)], f: impl Fn(&Figures) -> f64) -> Option<f64> {
    let ratios: Vec<f64> = figures
        .iter()
        .filter_map(|(ours, theirs)| Some(f(ours) / f(&(*theirs)?)))
        .collect();
    (!ratios.is_empty()).then(|| median(&ratios))
}
