//! Programs that the book goes through, as images.

use std::{fs, process::Command};

use test_support::{RUNNER, cargo, needs};

/// Status and console of the book's driver with these arguments.
fn driver(arguments: &[&str], devices: &str) -> (Option<i32>, String) {
    let output = Command::new(RUNNER)
        .arg(cargo::program("image-driver"))
        .args(arguments)
        .env("EBB_CORES", "2")
        .env("EBB_NET", "none")
        .env("EBB_TIMEOUT", "60")
        .env("EBB_QEMU_ARGS", devices)
        .output()
        .expect("the runner starts");
    let console = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), console)
}

#[test]
fn the_driver_of_the_book_waits_for_its_device_s_interrupts() {
    needs!("qemu-system-x86_64");
    let (status, console) = driver(&["5", "10", "13"], "-device edu");
    assert_eq!(status, Some(0), "{console}");
    // 13! modulo 2^32.
    for line in ["5! = 120", "10! = 3628800", "13! = 1932053504"] {
        assert!(console.lines().any(|l| l == line), "{line}: {console}");
    }
}

#[test]
fn without_its_device_the_driver_of_the_book_says_what_to_do() {
    needs!("qemu-system-x86_64");
    let (status, console) = driver(&["5"], "");
    assert_eq!(status, Some(1), "{console}");
    assert!(console.contains("-device edu"), "{console}");
}

/// A test that boots an image without asking for QEMU fails where there is none, instead of being skipped.
#[test]
fn every_test_of_this_folder_says_which_programs_it_needs() {
    let mut silent = Vec::new();
    for entry in fs::read_dir(env!("CARGO_MANIFEST_DIR")).expect("this folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "rs") || path.ends_with("examples.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source");
        for body in text.split("#[test]").skip(1) {
            if !["needs!(", "lan(", "lacks("]
                .iter()
                .any(|way| body.contains(way))
            {
                let name = body
                    .split("fn ")
                    .nth(1)
                    .and_then(|rest| rest.split('(').next());
                silent.push(format!("{}: {}", path.display(), name.unwrap_or("?")));
            }
        }
    }
    assert!(silent.is_empty(), "without `needs!`: {silent:#?}");
}
