//! Tests in an image: the descriptors that `#[test]` leaves in the section `ebb_tests`, and a main
//! that runs them and prints what libtest would.
//!
//! In an image a panic stops the machine, so a failing test is the last one. The line `test NAME
//! ... ` has been printed by then; whoever started the image sees which it was, and may start it
//! again with `--after NAME` for the rest.

use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::{fmt::Debug, pin::Pin, slice};

use crate::{core_count, println, time::Instant};

/// A test as a future.
pub type TestFuture = Pin<Box<dyn Future<Output = ()>>>;

/// What `#[test]` leaves for the image's main.
#[derive(Clone, Copy)]
pub struct TestCase {
    /// The module, with the crate's name.
    pub module: &'static str,
    /// The function.
    pub name: &'static str,
    /// Cores that it needs.
    pub cores: Option<usize>,
    /// Only run with `--ignored` or `--include-ignored`.
    pub ignore: bool,
    /// Makes the test.
    pub start: fn() -> TestFuture,
}

/// What a test may return.
#[diagnostic::on_unimplemented(
    message = "the test returns `{Self}`, which says neither success nor failure",
    label = "not the outcome of a test",
    note = "a test returns `()`, or a `Result` of it whose error is `Debug`"
)]
pub trait TestOutcome {
    /// Panics when the test failed.
    fn check(self);
}

impl TestOutcome for () {
    fn check(self) {}
}

impl<T: TestOutcome, E: Debug> TestOutcome for Result<T, E> {
    fn check(self) {
        match self {
            Ok(outcome) => outcome.check(),
            Err(error) => panic!("the test returned an error: {error:?}"),
        }
    }
}

/// Panics when a test's return value says that it failed.
pub fn test_outcome(outcome: impl TestOutcome) {
    outcome.check();
}

/// The arguments of a test image: a subset of libtest's.
#[derive(Default)]
struct Selection {
    filters: Vec<&'static str>,
    skip: Vec<&'static str>,
    after: Option<&'static str>,
    exact: bool,
    ignored: bool,
    include_ignored: bool,
    list: bool,
}

impl Selection {
    fn parse(arguments: &'static [&'static str]) -> Result<Self, String> {
        let mut selection = Self::default();
        let mut arguments = arguments.iter().copied();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument {
                "--exact" => selection.exact = true,
                "--ignored" => selection.ignored = true,
                "--include-ignored" => selection.include_ignored = true,
                "--list" => selection.list = true,
                "--skip" => selection.skip.push(value()?),
                "--after" => selection.after = Some(value()?),
                "--test-threads" | "--format" | "--color" => drop(value()?),
                "--nocapture" | "--no-capture" | "--show-output" | "--quiet" | "-q" => {}
                _ if argument.starts_with("--test-threads=")
                    || argument.starts_with("--format=")
                    || argument.starts_with("--color=") => {}
                _ if argument.starts_with('-') => {
                    return Err(format!(
                        "unknown option {argument}; a test image knows FILTER, --exact, --skip NAME, \
                         --after NAME, --ignored, --include-ignored and --list"
                    ));
                }
                _ => selection.filters.push(argument),
            }
        }
        Ok(selection)
    }

    fn takes(&self, name: &str, ignore: bool) -> bool {
        let matches = |filter: &&str| {
            if self.exact {
                name == *filter
            } else {
                name.contains(*filter)
            }
        };
        (self.filters.is_empty() || self.filters.iter().any(matches))
            && !self.skip.iter().any(matches)
            && (!self.ignored || ignore)
    }
}

/// The test's path without the crate's name, as libtest prints it.
fn full_name(case: &TestCase) -> String {
    match case.module.split_once("::") {
        Some((_, module)) => format!("{module}::{}", case.name),
        None => String::from(case.name),
    }
}

/// The main of a test image; gives its exit status.
///
/// # Safety
/// `start` to `stop` is the section `ebb_tests`, which holds [`TestCase`]s and nothing else.
pub async unsafe fn test_image(start: *const TestCase, stop: *const TestCase) -> u8 {
    // SAFETY: the caller's promise.
    let cases = unsafe { slice::from_raw_parts(start, stop.offset_from_unsigned(start)) };
    let selection = match Selection::parse(crate::args()) {
        Ok(selection) => selection,
        Err(error) => {
            println!("{error}");
            return 2;
        }
    };
    let mut tests: Vec<(String, &TestCase)> = cases.iter().map(|c| (full_name(c), c)).collect();
    tests.sort_by(|a, b| a.0.cmp(&b.0));
    let all = tests.len();
    tests.retain(|(name, case)| {
        selection.takes(name, case.ignore)
            && selection.after.is_none_or(|after| name.as_str() > after)
    });
    if selection.list {
        for (name, _) in &tests {
            println!("{name}: test");
        }
        return 0;
    }
    println!(
        "\nrunning {} test{}",
        tests.len(),
        if tests.len() == 1 { "" } else { "s" }
    );
    let begun = Instant::now();
    let (mut passed, mut ignored) = (0, 0);
    for (name, case) in &tests {
        let enough = case.cores.is_none_or(|cores| cores <= core_count());
        if (case.ignore && !selection.ignored && !selection.include_ignored) || !enough {
            let why = if enough { "" } else { ", needs more cores" };
            println!("test {name} ... ignored{why}");
            ignored += 1;
            continue;
        }
        crate::print!("test {name} ... ");
        (case.start)().await;
        println!("ok");
        passed += 1;
    }
    let spent = begun.elapsed();
    println!(
        "\ntest result: ok. {passed} passed; 0 failed; {ignored} ignored; 0 measured; {} filtered \
         out; finished in {}.{:02}s\n",
        all - tests.len(),
        spent.as_secs(),
        spent.subsec_millis() / 10,
    );
    0
}

/// Makes a program of the `#[ebb::test]`s of its crate. For images: `#![no_std] #![no_main]`, the
/// modules with the tests, and this. `test_image!(crate = PATH)` in a package that reaches ebb through another crate.
#[macro_export]
macro_rules! test_image {
    ($($options:tt)*) => {
        #[$crate::__private::main($($options)*)]
        async fn main() -> u8 {
            unsafe extern "C" {
                #[link_name = "__start_ebb_tests"]
                static START: [$crate::__private::TestCase; 0];
                #[link_name = "__stop_ebb_tests"]
                static STOP: [$crate::__private::TestCase; 0];
            }
            // SAFETY: the linker's bounds of the section that `#[test]` puts its cases into.
            unsafe {
                $crate::__private::test_image((&raw const START).cast(), (&raw const STOP).cast())
                    .await
            }
        }
    };
}
