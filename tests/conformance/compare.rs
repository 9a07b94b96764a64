//! What both sides said, beside one another.

use std::{collections::BTreeMap, fmt::Write};

use crate::suite::{Known, Outcome, Ran, Suite, Test};

/// What came of a suite.
pub struct Comparison {
    /// Processes that both sides have run.
    pub tests: usize,
    /// Results that Linux passed.
    pub on_linux: usize,
    /// How many of these passed in the image too.
    pub in_image: usize,
    /// Those that did not.
    pub differences: Vec<Difference>,
    /// Results that passed in the image and not on Linux.
    pub only_in_image: Vec<String>,
    /// What failed or was skipped on Linux, with why.
    pub not_on_linux: Vec<(String, Outcome)>,
    /// What is known to differ and did not, though results of that name passed on Linux.
    pub outdated: Vec<&'static Known>,
    /// Of `differences`, those that passed when they were run once more.
    pub second_time: Vec<String>,
}

/// A result that passed on Linux and not in the image.
pub struct Difference {
    /// The process that said it.
    pub test: String,
    /// Which.
    pub name: String,
    /// What the image said; `None` when it never came to it.
    pub image: Option<Outcome>,
    /// Why, where that is known.
    pub why: Option<&'static str>,
}

/// Compares the results of processes that both sides have run.
pub fn compare(suite: &Suite, tests: &[Test], linux: &[Ran], image: &[Ran]) -> Comparison {
    let mut all = Comparison {
        tests: 0,
        on_linux: 0,
        in_image: 0,
        differences: Vec::new(),
        only_in_image: Vec::new(),
        not_on_linux: Vec::new(),
        outdated: Vec::new(),
        second_time: Vec::new(),
    };
    let mut alike: Vec<String> = Vec::new();
    for ((test, linux), image) in tests.iter().zip(linux).zip(image) {
        all.tests += 1;
        let here: BTreeMap<_, _> = (suite.results)(test, image).into_iter().collect();
        let right = (suite.results)(test, linux);
        for (name, outcome) in &right {
            let said = here.get(name);
            let passes = said == Some(&Outcome::Passed);
            if *outcome != Outcome::Passed {
                all.not_on_linux.push((name.clone(), outcome.clone()));
                if passes {
                    all.only_in_image.push(name.clone());
                }
                continue;
            }
            all.on_linux += 1;
            if passes {
                all.in_image += 1;
                alike.push(name.clone());
                continue;
            }
            all.differences.push(Difference {
                test: test.name.clone(),
                name: name.clone(),
                image: said.cloned(),
                why: why(suite, name),
            });
        }
        // A process that ended well on Linux and otherwise here: each of its results may have passed all the same.
        let untold = |(name, outcome): &(&String, &Outcome)| {
            matches!(outcome, Outcome::Failed(_)) && !right.iter().any(|(n, _)| n == *name)
        };
        for (name, outcome) in here.iter().filter(untold) {
            all.differences.push(Difference {
                test: test.name.clone(),
                name: name.clone(),
                image: Some(outcome.clone()),
                why: why(suite, name),
            });
        }
    }
    let differs = |known: &Known| all.differences.iter().any(|d| known.is(&d.name));
    let outdated = |known: &&Known| alike.iter().any(|name| known.is(name)) && !differs(known);
    all.outdated = suite.known.iter().filter(outdated).collect();
    all
}

fn why(suite: &Suite, name: &str) -> Option<&'static str> {
    let known: Option<&Known> = suite.known.iter().find(|known| known.is(name));
    known.map(|known| known.why)
}

impl Comparison {
    /// Differences without a reason.
    pub fn unexplained(&self) -> impl Iterator<Item = &Difference> {
        let explained = |d: &&Difference| d.why.is_none() && !self.second_time.contains(&d.name);
        self.differences.iter().filter(explained)
    }

    /// Whether it speaks for the image: what differs has its reason, every reason has what differs, and something passed on
    /// Linux, since a suite that does not come up there differs in nothing.
    pub fn holds(&self) -> bool {
        self.on_linux > 0 && self.unexplained().count() == 0 && self.outdated.is_empty()
    }

    /// The row of the table.
    pub fn row(&self, title: &str) -> String {
        let percent = match self.on_linux {
            0 => 100.0,
            all => self.in_image as f64 * 100.0 / all as f64,
        };
        // Cut, so that less than all never reads as all.
        let percent = (percent * 10.0).floor() / 10.0;
        format!(
            "| {title} | {} | {} | {} | {percent:.1} % |",
            self.tests, self.on_linux, self.in_image
        )
    }

    /// Everything that is to be told beside the row.
    pub fn details(&self) -> String {
        let mut text = String::new();
        for difference in &self.differences {
            let image = match &difference.image {
                None => "never came to it".to_owned(),
                Some(Outcome::Passed) => "passed".to_owned(),
                Some(Outcome::Failed(why)) => format!("failed: {why}"),
                Some(Outcome::Skipped(why)) => format!("skipped: {why}"),
            };
            let why = match difference.why {
                Some(why) => why,
                None if self.second_time.contains(&difference.name) => {
                    "passed when it was run once more"
                }
                None => "WITHOUT A REASON",
            };
            let _ = writeln!(text, "  {}: {image}\n      {why}", difference.name);
        }
        for known in &self.outdated {
            let (what, why) = (known.what, known.why);
            let _ = writeln!(
                text,
                "  {what}: passed\n      A REASON WITHOUT A DIFFERENCE: {why}"
            );
        }
        if self.on_linux == 0 {
            let _ = writeln!(text, "  nothing passed on Linux, so this says nothing");
        }
        let skipped = |o: &Outcome| matches!(o, Outcome::Skipped(_));
        let (skipped, failed): (Vec<_>, Vec<_>) =
            self.not_on_linux.iter().partition(|(_, o)| skipped(o));
        if !failed.is_empty() {
            let names: Vec<_> = failed.iter().map(|(name, _)| name.as_str()).collect();
            let _ = writeln!(
                text,
                "  failed on Linux, so not counted: {}",
                names.join(", ")
            );
        }
        if !skipped.is_empty() {
            let _ = writeln!(
                text,
                "  skipped on Linux, so not counted: {}",
                skipped.len()
            );
        }
        if !self.only_in_image.is_empty() {
            let names = self.only_in_image.join(", ");
            let _ = writeln!(text, "  passed only in the image: {names}");
        }
        text
    }
}
