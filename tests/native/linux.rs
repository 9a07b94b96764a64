//! Programs of a few system calls each that print what they are told: the image says what Linux says.
//!
//! `guests/linux/NAME.right` is what NAME.c printed on Linux; `EBB_BLESS=1` runs it on the host's and writes that.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use test_support::{GUESTS, RUNNER, cargo, needs};

/// Builds a program, static.
fn build(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("linux-{name}"));
    let status = Command::new("cc")
        .args(["-O1", "-static", "-pthread", "-w", "-o"])
        .arg(&program)
        .arg(format!("{GUESTS}/linux/{name}.c"))
        .status()
        .expect("cc, which Rust needs as its linker, starts");
    assert!(status.success(), "{name}.c does not compile");
    program
}

fn in_the_image(name: &str, program: &Path) -> Output {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (manifest, archive) = (
        out.join(format!("linux-{name}.manifest")),
        out.join(format!("linux-{name}.ebb")),
    );
    let line = format!("file /bin/{name} {}\ndirectory /tmp\n", program.display());
    std::fs::write(&manifest, line).expect("the manifest is written");
    let packed = Command::new(RUNNER)
        .args(["pack".as_ref(), manifest.as_os_str(), "-o".as_ref()])
        .arg(&archive)
        .status()
        .expect("the runner starts");
    assert!(packed.success(), "{name} cannot be packed");
    Command::new(RUNNER)
        .arg(cargo::program("image-guests"))
        .arg(format!("/bin/{name}"))
        .env("EBB_ARCHIVE", &archive)
        .env("EBB_CORES", "1")
        .env("EBB_MEMORY", "512M")
        .env("EBB_TIMEOUT", "120")
        .env("EBB_QUIET", "1")
        .output()
        .expect("the runner starts")
}

/// The image says what Linux says.
#[track_caller]
fn says_what_linux_says(name: &str) {
    let program = build(name);
    let right = Path::new(GUESTS).join(format!("linux/{name}.right"));
    if std::env::var_os("EBB_BLESS").is_some() {
        let host = Command::new(&program).output().expect("it starts here");
        std::fs::write(&right, host.stdout).expect("it is written");
    }
    let right = std::fs::read_to_string(&right).expect("what is right is known");
    let output = in_the_image(name, &program);
    let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let said: Vec<&str> = said
        .lines()
        .take_while(|l| !l.starts_with("uc0 ended"))
        .filter(|l| !l.starts_with("ebb: "))
        .collect();
    let right: Vec<&str> = right.lines().collect();
    assert_eq!(
        said,
        right,
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn system_v_semaphores_queues_and_segments_are_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("sysv");
}

#[test]
fn a_process_can_open_as_many_descriptors_as_it_is_told_and_then_hears_emfile() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("open_files");
}
