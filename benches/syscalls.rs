//! What do system calls and page faults cost a program? One static C program, unmodified, in an image and in a Linux guest on
//! the same virtual hardware, with one vCPU.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench syscalls [-- --quick]`; needs a C compiler and a static libc.

use std::process::Command;

use benches::{
    machine::{compare, figures, goals, image, linux, run},
    quick,
};
use test_support::{cargo, scratch};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/syscalls.c");

/// What the clock costs, touching memory whose pages Linux may make huge, and what files cost, have no goal.
const WITHOUT_GOAL: [&str; 4] = [
    "clock_gettime",
    "touch_64_mib_per_page",
    "read_byte",
    "stat",
];

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
    let guest = std::env::var_os("EBB_LINUX_GUEST");
    let list = compare(
        if quick() { 1 } else { 7 },
        "ns",
        || figures(&run(image(&program_image, &[path]), false)),
        guest
            .as_ref()
            .map(|guest| || figures(&run(linux(guest, &[&program], "syscalls"), true))),
    );
    goals(&list, "", |name| {
        (!WITHOUT_GOAL.contains(&name)).then_some(0.5)
    });
}
