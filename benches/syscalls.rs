//! What do system calls and page faults cost a program? One static C program, unmodified, in an image and in a Linux guest on
//! the same virtual hardware, with one vCPU.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench syscalls [-- --quick]`; needs a C compiler and a static libc. With `-- --count`
//! it counts instructions instead, those of the image and of the program's loop, which do not depend on what else the host does.

use std::process::Command;

use benches::{
    machine::{compare, figures, goals, image, linux, run},
    quick,
    sides::Counting,
    sides::linux_guest_program,
};
use test_support::{cargo, scratch};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/syscalls.c");

/// What the clock costs, touching memory whose pages Linux may make huge, and what files cost, have no goal.
const WITHOUT_GOAL: [&str; 11] = [
    "clock_gettime",
    "touch_64_mib_per_page",
    "read_byte",
    "pread_file_byte",
    "pwrite_file_byte",
    "pipe_byte",
    "eventfd_count",
    "unix_byte",
    "unix_send_recv_byte",
    "futex_wake_nobody",
    "stat",
];

/// At least 1.3 times the bytes per second of Linux.
const BULK: [&str; 2] = ["pipe_64_kib", "tcp_64_kib"];

fn main() {
    let program = scratch("syscalls");
    let built = Command::new("cc")
        .args(["-O2", "-static", "-pthread", "-o"])
        .arg(&program)
        .arg(SOURCE)
        .status();
    assert!(
        built.is_ok_and(|s| s.success()),
        "syscalls.c does not compile; a C compiler and a static libc are needed (Debian: gcc, libc6-dev)"
    );
    let path = program.to_str().expect("a path of text");
    let program_image = cargo::example("linux");
    if std::env::args().any(|argument| argument == "--count") {
        return count(&program_image, path);
    }
    let guest = linux_guest_program();
    let list = compare(
        if quick() { 1 } else { 7 },
        "ns",
        || figures(&run(image(&program_image, &[path]), false)),
        guest
            .as_ref()
            .map(|guest| || figures(&run(linux(guest, &[&program], "syscalls"), true))),
    );
    goals(&list, "", |name| {
        let bound = if BULK.contains(&name) { 1.0 / 1.3 } else { 0.5 };
        (!WITHOUT_GOAL.contains(&name)).then_some(bound)
    });
}

/// Prints how many instructions each operation takes in the image.
fn count(image_of_programs: &std::path::Path, path: &str) {
    const TIMES: u64 = 20_000;
    let Some(counting) = Counting::new("syscalls") else {
        return;
    };
    let mut side = image(image_of_programs, &[path, &TIMES.to_string()]);
    counting.counts(&mut side);
    let names = figures(&run(side, false));
    for ((name, _), instructions) in names.iter().zip(counting.between_marks()) {
        println!(
            "instructions {name:<24} {:>9.1}",
            instructions as f64 / TIMES as f64
        );
    }
}
