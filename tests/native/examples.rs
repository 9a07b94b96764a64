//! Programs that the book goes through, as images.

use std::process::Command;

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
