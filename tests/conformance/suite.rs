//! What a suite is, and what came of its tests.

use std::path::PathBuf;

use crate::fetch::{Place, Source};

/// Other people's tests.
pub struct Suite {
    /// As it is asked for.
    pub name: &'static str,
    /// What it is, for the table.
    pub title: &'static str,
    /// Programs that it takes, by the names of `tests/support/tools.rs`.
    pub needs: &'static [&'static str],
    /// Where it comes from.
    pub source: Source,
    /// Shell commands that build it, in the folder of its sources; `$version` is the package's.
    pub build: &'static str,
    /// Its tests, in an order that does not change.
    pub tests: fn(&Place) -> Result<Vec<Test>, String>,
    /// What the image brings along: lines of a manifest.
    pub files: fn(&Place) -> Vec<String>,
    /// What a test's exit status and output say.
    pub results: fn(&Test, &Ran) -> Vec<(String, Outcome)>,
    /// The part of a test that has these results, to be run once more.
    pub part: fn(&Test, &[&str]) -> Test,
    /// How many tests the short form takes.
    pub sample: usize,
    /// Tests that the short form never takes: they are long.
    pub long: &'static [&'static str],
    /// Seconds that a test may take.
    pub limit_s: u64,
    /// Its programs refuse to run as root, and take another user.
    pub as_another_user: bool,
    /// Of the machine, in MiB.
    pub memory: u32,
    /// What is known to differ, and why.
    pub known: &'static [Known],
}

/// A difference that has a reason.
pub struct Known {
    /// The result's name, in which `*` stands for anything.
    pub what: &'static str,
    /// Why it differs.
    pub why: &'static str,
}

impl Known {
    /// Whether a result is meant.
    pub fn is(&self, name: &str) -> bool {
        let mut parts = self.what.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let parts: Vec<&str> = parts.collect();
        let Some((last, middle)) = parts.split_last() else {
            return rest.is_empty();
        };
        for part in middle {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

/// A process of a suite.
#[derive(Clone)]
pub struct Test {
    /// Without blanks.
    pub name: String,
    /// Links in its working directory: name and target.
    pub links: Vec<(&'static str, PathBuf)>,
    /// `NAME=VALUE` each.
    pub environment: Vec<String>,
    /// The program, by its path, and its arguments.
    pub words: Vec<String>,
}

impl Test {
    /// A test without links and environment.
    pub fn new(name: &str, words: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            links: Vec::new(),
            environment: Vec::new(),
            words: words.iter().map(|&w| w.to_owned()).collect(),
        }
    }

    /// Its line for `each`.
    pub fn line(&self) -> String {
        let links = self
            .links
            .iter()
            .map(|(name, to)| format!("link:{name}={}", to.display()));
        let mut fields = vec![self.name.clone()];
        fields.extend(links);
        fields.extend(self.environment.iter().cloned());
        fields.extend(self.words.iter().cloned());
        fields.join("\t")
    }
}

/// How a process of a suite ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// `exit:N`, `signal:N`, `limit`, or what became of the machine.
    pub status: String,
    /// The end of what it said.
    pub output: String,
    /// How long it took.
    pub took_ms: u64,
}

/// What a test found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is as it should be.
    Passed,
    /// With what it said last.
    Failed(String),
    /// It found that it cannot be run here.
    Skipped(String),
}

impl Ran {
    /// The last line that is not empty, or how it ended.
    fn last(&self) -> String {
        let line = self.output.lines().rev().find(|l| !l.trim().is_empty());
        format!("{}: {}", self.status, line.unwrap_or_default().trim())
    }

    /// Of tests that are a process each: status 0 is passed, another one of these is skipped.
    pub fn by_status(&self, test: &Test, skipped: &[&str]) -> Vec<(String, Outcome)> {
        let outcome = match self.status.as_str() {
            "exit:0" => Outcome::Passed,
            status if skipped.contains(&status) => Outcome::Skipped(self.last()),
            _ => Outcome::Failed(self.last()),
        };
        vec![(test.name.clone(), outcome)]
    }

    /// Of processes that say `@ NAME ok`, `@ NAME failed WHY` or `@ NAME skipped WHY` for each test. A process that ends
    /// otherwise than it should has one failure more, by its own name.
    pub fn by_lines(&self, test: &Test) -> Vec<(String, Outcome)> {
        self.by_said(test, |line| {
            let mut words = line.strip_prefix("@ ")?.splitn(3, ' ');
            let (name, verdict) = (words.next()?, words.next()?);
            let why = words.next().unwrap_or_default().to_owned();
            let outcome = match verdict {
                "ok" => Outcome::Passed,
                "failed" => Outcome::Failed(why),
                "skipped" => Outcome::Skipped(why),
                _ => return None,
            };
            Some((format!("{}.{name}", test.name), outcome))
        })
    }

    /// Of processes that say a result on a line of its own, as `said` reads it. One that ends otherwise than it should has one failure
    /// more, by its own name.
    pub fn by_said(
        &self,
        test: &Test,
        said: impl FnMut(&str) -> Option<(String, Outcome)>,
    ) -> Vec<(String, Outcome)> {
        let mut results: Vec<_> = self.output.lines().filter_map(said).collect();
        if self.status != "exit:0" {
            results.extend(self.by_status(test, &[]));
        }
        results
    }
}
