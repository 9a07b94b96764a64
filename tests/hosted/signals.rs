//! Ctrl-C on a hosted program: this test runs itself as one.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

/// Starts this test again as a program of its own.
fn child(mode: &str) -> std::process::Child {
    Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "program", "--nocapture", "--include-ignored"])
        .env("EBB_TEST_PROGRAM", mode)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test starts")
}

/// The child's program; not a test by itself.
#[test]
#[ignore = "run by the other tests as a program of its own"]
fn program() {
    let Ok(mode) = std::env::var("EBB_TEST_PROGRAM") else {
        return;
    };
    static GRACEFUL: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    GRACEFUL.store(mode == "graceful", std::sync::atomic::Ordering::Relaxed);
    fn start() {
        ebb::spawn(async {
            ebb::println!("\nup");
            if GRACEFUL.load(std::sync::atomic::Ordering::Relaxed) {
                ebb::shutdown().await;
                ebb::println!("finishing");
                ebb::time::sleep(std::time::Duration::from_millis(20)).await;
                ebb::exit(7);
            }
            core::future::pending::<()>().await;
        });
    }
    // SAFETY: no arguments.
    let status = unsafe { ebb_hosted::main(0, std::ptr::null(), start) };
    std::process::exit(status);
}

fn interrupted(mode: &str) -> (Option<i32>, String) {
    let mut child = child(mode);
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    while lines.next().expect("the program says `up`").expect("text") != "up" {}
    std::thread::sleep(std::time::Duration::from_millis(50));
    test_support::signal(&child, libc::SIGINT);
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    (child.wait().expect("it ends").code(), rest.join("\n"))
}

#[test]
fn ctrl_c_ends_a_program_that_does_not_wait_for_it() {
    assert_eq!(interrupted("plain").0, Some(130));
}

#[test]
fn ctrl_c_lets_a_program_that_waits_for_it_finish() {
    let (status, rest) = interrupted("graceful");
    assert_eq!(status, Some(7), "{rest}");
    assert!(rest.contains("finishing"), "{rest}");
}
