//! Options of a hosted program: this test runs itself as one.

use std::process::Command;

use ebb::{EbbRef, platform::Environment};

ebb::option!("taste", "sweet or sour", |value| matches!(
    value,
    "sweet" | "sour"
));
ebb::option!("trace", "0 or 1", |value| matches!(value, "0" | "1"));

/// The program of the other tests; not a test by itself.
#[test]
#[ignore = "run by the other tests as a program of its own"]
fn program() {
    fn start() {
        let environment = EbbRef::<dyn Environment>::get();
        ebb::println!("\ntaste {:?}", environment.option("taste"));
        ebb::println!("trace {:?}", environment.option("trace"));
        ebb::exit(3);
    }
    // SAFETY: no arguments.
    let status = unsafe { ebb_hosted::main(0, std::ptr::null(), start) };
    std::process::exit(status);
}

/// Runs it. Gives its status and what it said.
fn with(variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "program", "--nocapture", "--include-ignored"])
        .env_remove("EBB_OPTIONS")
        .envs(variables.iter().copied())
        .output()
        .expect("this test starts");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[track_caller]
fn refused(variables: &[(&str, &str)], saying: &[&str]) {
    let (status, said) = with(variables);
    assert_eq!(status, Some(78), "{said}");
    for words in saying {
        assert!(said.contains(words), "`{words}` is missing in: {said}");
    }
    assert!(!said.contains("\ntaste "), "it started: {said}");
}

#[track_caller]
fn tastes(variables: &[(&str, &str)], line: &str) {
    let (status, said) = with(variables);
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains(line), "`{line}` is missing in: {said}");
}

#[test]
fn options_that_the_program_or_its_platform_takes_are_given_to_it() {
    tastes(&[], "\ntaste None\n");
    let options = "taste=sour trace-ring=64  forward=127.0.0.1:8080:80 disk=none";
    tastes(&[("EBB_OPTIONS", options)], "\ntaste Some(\"sour\")\n");
    tastes(
        &[("EBB_OPTIONS", "taste=sour taste=sweet")],
        "\ntaste Some(\"sweet\")\n",
    );
    tastes(&[("EBB_TASTE", "sweet")], "\ntaste Some(\"sweet\")\n");
}

#[test]
fn an_unknown_option_is_refused_with_the_options_there_are() {
    refused(
        &[("EBB_OPTIONS", "taste=sour colour=blue")],
        &[
            "ebb: unknown option `colour`; the options are ",
            "taste= (sweet or sour)",
            "trace-ring= (a number of records for each core)",
            "forward= (",
            "disk= (",
        ],
    );
}

#[test]
fn a_value_that_an_option_does_not_take_is_refused_with_what_it_takes() {
    refused(
        &[("EBB_OPTIONS", "taste=loud")],
        &["ebb: option `taste` is `loud`; it takes sweet or sour\n"],
    );
    refused(
        &[("EBB_OPTIONS", "trace-ring=many")],
        &["ebb: option `trace-ring` is `many`; it takes a number of records"],
    );
    refused(
        &[("EBB_OPTIONS", "taste")],
        &["ebb: option `taste` is ``; it takes sweet or sour\n"],
    );
    refused(
        &[("EBB_TASTE", "loud")],
        &["ebb: EBB_TASTE is `loud`; it takes sweet or sour\n"],
    );
    refused(
        &[("EBB_DISK", "disk.img,size=huge")],
        &["ebb: EBB_DISK is `disk.img,size=huge`; it takes FILE["],
    );
}

/// An option that has the name of what a process takes by itself.
#[test]
fn the_file_of_the_time_line_is_no_value_of_an_option_named_trace() {
    let file = std::env::temp_dir().join(format!("ebb-options-{}.json", std::process::id()));
    tastes(&[("EBB_TRACE", file.to_str().unwrap())], "\ntrace None\n");
    assert!(std::fs::metadata(&file).is_ok_and(|file| file.len() > 0));
    std::fs::remove_file(file).unwrap();
}
