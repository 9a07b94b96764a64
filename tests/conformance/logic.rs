//! The runner's own judgement: what is counted, what has a reason, what is told.

#![expect(dead_code, reason = "what fetches is not asked here")]

#[path = "chapter.rs"]
mod chapter;
#[path = "compare.rs"]
mod compare;
#[path = "fetch.rs"]
mod fetch;
#[path = "suite.rs"]
mod suite;
#[path = "suites/mod.rs"]
mod suites;

use compare::{Comparison, compare};
use fetch::Source;
use suite::{Known, Outcome, Ran, Suite, Test};

const SUITE: Suite = Suite {
    name: "made-up",
    title: "a made-up suite",
    needs: &[],
    source: Source::Own,
    build: "",
    tests: |_| Ok(Vec::new()),
    files: |_| Vec::new(),
    results: |test, ran| ran.by_lines(test),
    part: |test, _| test.clone(),
    sample: 1,
    long: &[],
    limit_s: 1,
    as_another_user: false,
    memory: 512,
    known: &[Known {
        what: "t.absent*",
        why: "it is absent",
    }],
};

fn ran(status: &str, output: &str) -> Ran {
    Ran {
        status: status.to_owned(),
        output: output.to_owned(),
        took_ms: 1,
    }
}

fn compared(linux: &Ran, image: &Ran) -> Comparison {
    let tests = [Test::new("t", &["/bin/true"])];
    compare(
        &SUITE,
        &tests,
        std::slice::from_ref(linux),
        std::slice::from_ref(image),
    )
}

#[test]
fn a_star_in_what_is_known_stands_for_anything() {
    let is = |what: &'static str, name: &str| Known { what, why: "" }.is(name);
    assert!(is("a.b", "a.b") && !is("a.b", "a.bc") && !is("a.b", "xa.b"));
    assert!(is("a.*", "a.bc") && !is("a.*", "b.a.c"));
    assert!(is("a*c*e", "abcde") && is("a*c*e", "ace") && !is("a*c*e", "abde"));
    assert!(!is("ab*b", "ab"), "a byte is meant once");
}

#[test]
fn a_difference_without_a_reason_is_one_and_the_others_are_told_with_theirs() {
    let linux = ran("exit:0", "@ one ok\n@ two ok\n@ absent_one ok\nnoise\n");
    let image = ran("exit:0", "@ one ok\n@ absent_one skipped no such thing\n");
    let all = compared(&linux, &image);
    assert_eq!((all.tests, all.on_linux, all.in_image), (1, 3, 1));
    let names: Vec<_> = all.unexplained().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["t.two"], "it was never come to");
    let told = all.details();
    assert!(
        told.contains("t.two: never came to it\n      WITHOUT A REASON"),
        "{told}"
    );
    assert!(told.contains("no such thing\n      it is absent"), "{told}");
    assert_eq!(all.row("s"), "| s | 1 | 3 | 1 | 33.3 % |");
}

#[test]
fn what_did_not_pass_on_linux_is_not_counted_but_told() {
    let linux = ran("exit:0", "@ one ok\n@ two failed here\n@ three skipped x\n");
    let image = ran("exit:0", "@ one ok\n@ two ok\n@ three failed y\n");
    let all = compared(&linux, &image);
    assert_eq!((all.on_linux, all.in_image), (1, 1));
    assert_eq!(all.unexplained().count(), 0);
    assert_eq!(all.only_in_image, ["t.two"]);
    assert!(
        all.details()
            .contains("failed on Linux, so not counted: t.two")
    );
}

#[test]
fn a_process_that_ends_otherwise_than_on_linux_differs_even_if_all_its_lines_are_good() {
    let linux = ran("exit:0", "@ one ok\n");
    for status in ["exit:1", "signal:11", "limit", "the machine hangs"] {
        let all = compared(&linux, &ran(status, "@ one ok\n"));
        assert_eq!((all.on_linux, all.in_image), (1, 1));
        let names: Vec<_> = all.unexplained().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["t"], "{status}");
    }
}

#[test]
fn what_passes_the_second_time_is_no_difference_without_a_reason() {
    let linux = ran("exit:0", "@ one ok\n");
    let mut all = compared(&linux, &ran("exit:0", "@ one failed slow\n"));
    all.second_time.push("t.one".to_owned());
    assert_eq!(all.unexplained().count(), 0);
    assert!(all.details().contains("passed when it was run once more"));
    assert_eq!(all.in_image, 0, "the figure stays what it was");
}

#[test]
fn a_status_is_passed_skipped_or_failed() {
    let test = Test::new("t", &["/bin/true"]);
    let outcome = |status: &str| {
        ran(status, "said\n")
            .by_status(&test, &["exit:7"])
            .remove(0)
            .1
    };
    assert_eq!(outcome("exit:0"), Outcome::Passed);
    assert_eq!(outcome("exit:7"), Outcome::Skipped("exit:7: said".into()));
    assert_eq!(outcome("limit"), Outcome::Failed("limit: said".into()));
    let mut test = Test::new("t", &["/bin/x", "a b"]);
    test.links.push(("l", "/to".into()));
    test.environment.push("A=b".into());
    assert_eq!(test.line(), "t\tlink:l=/to\tA=b\t/bin/x\ta b");
}

#[test]
fn a_reason_that_no_longer_applies_is_a_failure() {
    let linux = ran("exit:0", "@ one ok\n@ absent_one ok\n@ absent_two ok\n");
    let some = compared(&linux, &ran("exit:0", "@ one ok\n@ absent_one ok\n"));
    assert!(some.outdated.is_empty() && some.holds());
    let none = compared(&linux, &linux);
    assert_eq!(none.outdated.len(), 1);
    assert!(!none.holds() && none.details().contains("WITHOUT A DIFFERENCE"));
    let not_run = compared(&ran("exit:0", "@ one ok\n"), &ran("exit:0", "@ one ok\n"));
    assert!(not_run.holds(), "a sample need not have it");
}

#[test]
fn a_suite_that_does_not_come_up_on_linux_says_nothing() {
    let broken = ran("exit:1", "no server\n");
    let all = compared(&broken, &broken);
    assert_eq!(all.unexplained().count(), 0);
    assert!(!all.holds(), "{}", all.details());
}

#[test]
fn the_chapter_has_the_reasons_that_the_suites_have() {
    let text = std::fs::read_to_string(chapter::PATH).expect("the chapter is there");
    let right = chapter::with_reasons(&text, suites::ALL).expect("it has the table");
    assert!(
        text == right,
        "docs/src/conformance.md is out of date: `cargo test -p conformance-tests --test conformance -- --write` writes it"
    );
    for suite in suites::ALL {
        let row = format!("| `{}` |", suite.name);
        assert!(text.contains(&row), "the chapter lists no {}", suite.name);
    }
}

#[test]
fn a_whole_run_replaces_its_own_row_of_figures_only() {
    let text = "## Figures\n\n| suite | n |\n|---|---|\n| `a` 1 | 5 |\n| `ab` 1 | 6 |\n\nmore\n## Next\n| `a` |\n";
    let said = chapter::with_figures(text, "a", "| `a` 2 | 7 |");
    assert_eq!(said, Ok(text.replace("| `a` 1 | 5 |", "| `a` 2 | 7 |")));
    let said = chapter::with_figures(text, "c", "| `c` 2 | 7 |");
    let added = "| `ab` 1 | 6 |\n| `c` 2 | 7 |";
    assert_eq!(said, Ok(text.replace("| `ab` 1 | 6 |", added)));
    assert!(chapter::with_figures("## Other\n", "c", "").is_err());
}
