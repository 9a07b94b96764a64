//! A process on a disk that is killed at random instants while it writes.

use std::{env, fs, process::Command};

use ebb_hosted::Config;
use test_suite::durable as load;
use test_support::{durable, scratch};

/// What the other test starts and kills.
#[test]
#[ignore = "it ends when it is killed"]
fn a_process_that_writes() {
    let numbers = env::var("DURABLE").expect("the numbers that were acknowledged");
    let mut acknowledged = [0; load::WRITERS];
    for (to, from) in acknowledged.iter_mut().zip(numbers.split(' ')) {
        *to = from.parse().expect("a number");
    }
    let two = Config {
        cores: 2,
        pin: false,
    };
    let Err(wrong) = ebb_hosted::run(&two, move || load::run(acknowledged));
    println!("WRONG: {wrong}");
}

#[test]
fn after_a_process_is_killed_at_any_instant_every_acknowledged_change_is_there_and_nothing_half() {
    let disk = scratch("killed-process.img");
    let _ = fs::remove_file(&disk);
    durable::kill_again_and_again(
        durable::cycles(100),
        |numbers| {
            let mut command = Command::new(env::current_exe().expect("this program"));
            command
                .args([
                    "--exact",
                    "a_process_that_writes",
                    "--ignored",
                    "--nocapture",
                ])
                .env("DURABLE", numbers.join(" "))
                .env("EBB_DISK", format!("{},size=64M", disk.display()));
            command
        },
        |child| child.kill().expect("it runs"),
    );
    fs::remove_file(disk).expect("the disk was made");
}
