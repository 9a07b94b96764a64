//! Tests that run as a Linux process (`cargo test`) and in an image (`cargo ebb test`).
#![allow(missing_docs)]

use core::time::Duration;

use {{crate}}::{Limits, run};

// Of the image of the tests.
ebb_archive::manifest!("program /bin/sh\nargs -c\n");

fn limits(time: Duration) -> Limits {
    Limits {
        memory: 64 << 20,
        time,
    }
}

#[ebb::test]
async fn a_programs_exit_status_is_the_result() {
    if cfg!(test) {
        // A process has neither a boot archive nor a user mode of its own.
        return;
    }
    assert_eq!(
        run("sh", &["exit 7"], limits(Duration::from_secs(20))).await,
        7
    );
}

#[ebb::test]
async fn a_program_that_takes_too_long_is_ended() {
    if cfg!(test) {
        return;
    }
    let soon = limits(Duration::from_millis(500));
    assert_eq!(run("sh", &["while :; do :; done"], soon).await, 124);
}
