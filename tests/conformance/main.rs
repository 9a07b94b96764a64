//! Other people's suites, on this machine's Linux and in the image: how many tests pass on Linux, how many of these in the
//! image, and every difference with its reason. One without a reason is a failure.
//!
//! ```text
//! cargo test -p conformance-tests     a sample of every suite, in about a minute once all is built
//! cargo test -p conformance-tests --test conformance --
//!     libuv                           of one
//!     --seed 7                        another sample
//!     node --whole                    all of it
//!     python --only test_os
//!     --fetch                         fetches and builds, and runs nothing
//!     --write                         brings what the last whole runs said, and the reasons, into the book
//! ```
//!
//! The sources come from packages (Debian, PyPI, npm), once, into `target/tmp/conformance`; nothing of them is kept here. What
//! the tests of both sides said is left there, beside the log of the build. Samples of suites run beside one another, because most
//! tests wait. A test that differs is run once more by itself, because some measure time and the machine may be busy.

mod chapter;
mod compare;
mod fetch;
mod run;
mod suite;
mod suites;

use std::{
    env, fs,
    io::Write,
    path::PathBuf,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use compare::{Comparison, compare};
use fetch::Place;
use run::{Side, run};
use serde_json::json;
use suite::{Ran, Suite, Test};
use test_support::{Random, cargo, tools};

const HELP: &str = "cargo test -p conformance-tests --test conformance -- [SUITE...] [--whole] [--seed N] [--only TEST,...] [--fetch] [--write]";

/// When a suite's sample takes no further test on one side.
const SHORT: Duration = Duration::from_secs(12);

/// How many suites' samples run beside one another. Most tests wait; of more, tests that measure time would hear too much.
const AT_ONCE: usize = 3;

struct Asked {
    suites: Vec<&'static Suite>,
    whole: bool,
    seed: u64,
    only: Vec<String>,
    fetch: bool,
}

fn main() -> ExitCode {
    let asked = match Asked::parse(env::args().skip(1)) {
        Ok(Some(asked)) => asked,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance: {error}\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let mut there = Vec::new();
    for suite in &asked.suites {
        if tools::lacks(suite.needs) {
            continue;
        }
        if suite.as_another_user && !others_may_use_null() {
            println!(
                "{}: left out, since only root may use this host's /dev/null",
                suite.name
            );
            continue;
        }
        there.push(*suite);
    }
    let (passed, failed) = asked.run(&there);
    println!("\n{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

/// Whether users other than root may read and write `/dev/null`.
fn others_may_use_null() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/dev/null").is_ok_and(|null| null.mode() & 0o006 == 0o006)
}

/// What came of a suite's tests on both sides.
struct Told {
    suite: &'static Suite,
    place: Place,
    part: String,
    compared: Comparison,
    /// What differs and has no reason.
    again: Vec<Test>,
}

enum Refused {
    /// The registries are not reached, or a build fails.
    Fetch(String),
    Run(String),
}

impl Asked {
    /// `None` when there is nothing to do.
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut asked = Self {
            suites: Vec::new(),
            whole: false,
            seed: 1,
            only: Vec::new(),
            fetch: false,
        };
        let mut filtered = false;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--whole" => asked.whole = true,
                "--fetch" => asked.fetch = true,
                "--seed" => asked.seed = value()?.parse().map_err(|e| format!("--seed: {e}"))?,
                "--only" => asked.only = value()?.split(',').map(str::to_owned).collect(),
                "--write" => {
                    write_chapter()?;
                    return Ok(None);
                }
                "--list" => {
                    for suite in suites::ALL {
                        println!("{}: test", suite.name);
                    }
                    return Ok(None);
                }
                // What Cargo's users say to all test programs at once.
                "--ignored" | "--nocapture" | "--no-capture" | "--include-ignored" | "-q"
                | "--quiet" | "--exact" => {}
                option if option.starts_with("--test-threads") => {}
                option if option.starts_with('-') => return Err(format!("what is {option}?")),
                name => {
                    filtered = true;
                    asked
                        .suites
                        .extend(suites::ALL.iter().find(|s| s.name == name));
                }
            }
        }
        if !filtered {
            asked.suites = suites::ALL.to_vec();
        } else if asked.suites.is_empty() {
            let names: Vec<_> = suites::ALL.iter().map(|s| s.name).collect();
            println!("0 passed, 0 failed (the suites are {})", names.join(", "));
            return Ok(None);
        }
        Ok(Some(asked))
    }

    /// Runs suites and says what came of each; how many hold, and how many do not.
    fn run(&self, suites: &[&'static Suite]) -> (usize, usize) {
        let at_once = if self.is_short() { AT_ONCE } else { 1 };
        let left = Mutex::new(suites.iter().copied());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let (mut passed, mut failed, mut again) = (0, 0, Vec::new());
        thread::scope(|scope| {
            let (to, came) = std::sync::mpsc::channel();
            for _ in 0..at_once {
                let to = to.clone();
                scope.spawn(move || {
                    while let Some(suite) = next() {
                        let _ = to.send((suite.name, self.suite(suite)));
                    }
                });
            }
            drop(to);
            for (name, told) in came {
                match told {
                    Ok(None) => passed += 1,
                    Ok(Some(told)) if !told.again.is_empty() => again.push(told),
                    Ok(Some(told)) if self.holds(&told) => passed += 1,
                    Ok(Some(_)) => failed += 1,
                    Err(Refused::Fetch(why)) => tools::skip(&format!("{name}: {why}")),
                    Err(Refused::Run(why)) => {
                        println!("{name}: {why}");
                        failed += 1;
                    }
                }
            }
        });
        // Without another suite beside.
        for mut told in again {
            let held = once_more(&mut told).map(|()| self.holds(&told));
            match held {
                Ok(true) => passed += 1,
                Ok(false) => failed += 1,
                Err(why) => {
                    println!("{}: {why}", told.suite.name);
                    failed += 1;
                }
            }
        }
        (passed, failed)
    }

    /// Whether it is a sample of each suite that is asked for.
    fn is_short(&self) -> bool {
        !self.whole && self.only.is_empty()
    }

    /// Runs a suite on both sides, unless it is only to be fetched.
    fn suite(&self, suite: &'static Suite) -> Result<Option<Told>, Refused> {
        // They share apt's lists.
        static FETCHING: Mutex<()> = Mutex::new(());
        let fetching = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
        let place = fetch::fetch(suite.name, &suite.source, suite.build).map_err(Refused::Fetch)?;
        drop(fetching);
        if self.fetch {
            return Ok(None);
        }
        // Said now and not between the two sides.
        cargo::example("linux");
        let tests = self.choose(suite, (suite.tests)(&place).map_err(Refused::Run)?)?;
        let part = match (self.whole, self.only.is_empty()) {
            (true, _) => "all of it".to_owned(),
            (false, false) => self.only.join(", "),
            (false, true) => format!("a sample of {}, seed {}", tests.len(), self.seed),
        };
        let limit = self.is_short().then_some(SHORT);
        let (linux, image) = both(suite, &place, &tests, limit, "said").map_err(Refused::Run)?;
        let compared = compare(suite, &tests, &linux, &image);
        let differs = |test: &Test| {
            let of = compared.unexplained().filter(|d| d.test == test.name);
            let names: Vec<&str> = of.map(|d| d.name.as_str()).collect();
            (!names.is_empty()).then(|| (suite.part)(test, &names))
        };
        let again = tests.iter().filter_map(differs).collect();
        Ok(Some(Told {
            suite,
            place,
            part,
            compared,
            again,
        }))
    }

    /// Says what came of a suite; whether all differences have their reasons.
    fn holds(&self, told: &Told) -> bool {
        let (suite, compared) = (told.suite, &told.compared);
        let row = compared.row(suite.title);
        println!("\n{}, {}", suite.title, told.part);
        println!("{TABLE_HEAD}{row}\n{}", compared.details());
        if self.whole {
            keep_row(suite, &told.place, compared);
        }
        let _ = std::io::stdout().flush();
        compared.holds()
    }

    fn choose(&self, suite: &Suite, all: Vec<Test>) -> Result<Vec<Test>, Refused> {
        if !self.only.is_empty() {
            let chosen: Vec<_> = all
                .into_iter()
                .filter(|t| self.only.contains(&t.name))
                .collect();
            return match chosen.len() == self.only.len() {
                true => Ok(chosen),
                false => Err(Refused::Run("--only names a test that is not there".into())),
            };
        }
        if self.whole {
            return Ok(all);
        }
        let mut left: Vec<_> = all
            .into_iter()
            .filter(|test| !suite.long.contains(&test.name.as_str()))
            .collect();
        let mut random = Random::new(self.seed);
        let mut chosen = Vec::new();
        while chosen.len() < suite.sample && !left.is_empty() {
            let at = random.next() % left.len() as u64;
            chosen.push(left.swap_remove(usize::try_from(at).unwrap_or(0)));
        }
        Ok(chosen)
    }
}

/// Runs tests on both sides: in the image those that Linux came to.
fn both(
    suite: &Suite,
    place: &Place,
    tests: &[Test],
    limit: Option<Duration>,
    name: &str,
) -> Result<(Vec<Ran>, Vec<Ran>), String> {
    let until = || limit.map(|limit| Instant::now() + limit);
    let linux = run(suite, place, Side::Linux, tests, until(), name)?;
    let tests = &tests[..linux.len()];
    let image = run(suite, place, Side::Image, tests, until(), name)?;
    Ok((linux, image))
}

/// Runs what differed once more, and notes what is the same then.
fn once_more(told: &mut Told) -> Result<(), String> {
    let (suite, again) = (told.suite, &told.again);
    let (linux, image) = both(suite, &told.place, again, None, "again")?;
    let second = compare(suite, again, &linux, &image);
    let still = |name: &String| second.differences.iter().any(|d| d.name == *name);
    let differed = told.compared.differences.iter().map(|d| d.name.clone());
    told.compared.second_time = differed
        .filter(|name| !still(name))
        .filter(|_| second.tests == again.len())
        .collect();
    Ok(())
}

const TABLE_HEAD: &str = "| suite | tests | results that pass on Linux | of these in the image | |\n|---|---|---|---|---|\n";

/// Keeps what the table of the book says of a suite.
fn keep_row(suite: &Suite, place: &Place, compared: &Comparison) {
    let title = format!("`{}` {}", suite.name, place.version);
    let differences: Vec<_> = compared
        .differences
        .iter()
        .map(|d| json!({ "name": d.name, "why": d.why.unwrap_or("") }))
        .collect();
    let kept = json!({ "row": compared.row(title.trim_end()), "differences": differences });
    let _ = fs::write(kept_row(suite), kept.to_string());
}

fn kept_row(suite: &Suite) -> PathBuf {
    fetch::root().join(format!("{}.json", suite.name))
}

/// Brings the rows of the last whole runs and the reasons into the chapter; rows of suites that were not run whole stay.
fn write_chapter() -> Result<(), String> {
    let error = |e| format!("{}: {e}", chapter::PATH);
    let mut text = fs::read_to_string(chapter::PATH).map_err(error)?;
    text = chapter::with_reasons(&text, suites::ALL)?;
    for suite in suites::ALL {
        let kept = fs::read_to_string(kept_row(suite)).unwrap_or_default();
        let kept: serde_json::Value = serde_json::from_str(&kept).unwrap_or_default();
        match kept["row"].as_str() {
            Some(row) => text = chapter::with_figures(&text, suite.name, row)?,
            None => eprintln!("conformance: {} has not been run whole", suite.name),
        }
    }
    fs::write(chapter::PATH, text).map_err(error)
}
