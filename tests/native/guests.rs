//! Guest programs in the image: what the kernel must keep for them, and what they must not be able to do to it. Builds the C
//! programs of `guests/`, packs them and boots `images/guests.rs` with them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use test_support::{GUESTS, RUNNER, cargo, needs};

/// The archive with all guest programs.
fn archive() -> &'static Path {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let mut manifest = String::new();
        for (name, flags) in [
            ("abi", "-mavx"),
            ("attack", "-O1"),
            ("elf", "-O1"),
            ("files", "-O1"),
            ("fuzz", "-O1"),
            ("long", "-O1"),
            ("alone", "-O1"),
            ("process", "-O1"),
        ] {
            let program = out.join(name);
            let status = Command::new("cc")
                .args(["-O1", "-static", "-pthread", "-w", flags, "-o"])
                .arg(&program)
                .arg(format!("{GUESTS}/{name}.c"))
                .arg("-lm")
                .status()
                .expect("cc, which Rust needs as its linker, starts");
            assert!(
                status.success(),
                "{name}.c does not compile; a static libc is needed (Debian: libc6-dev)"
            );
            manifest.push_str(&format!("file /bin/{name} {}\n", program.display()));
        }
        std::fs::write(out.join("guests.manifest"), manifest).expect("the manifest is written");
        let archive = out.join("guests.ebb");
        let status = Command::new(RUNNER)
            .arg("pack")
            .arg(out.join("guests.manifest"))
            .arg("-o")
            .arg(&archive)
            .status()
            .expect("the runner starts");
        assert!(status.success(), "the archive cannot be packed");
        archive
    })
}

fn boot(cores: usize, arguments: &[&str]) -> String {
    boot_on("max", cores, arguments)
}

/// Boots on one of QEMU's models of a CPU.
fn boot_on(cpu: &str, cores: usize, arguments: &[&str]) -> String {
    let (options, arguments): (Vec<&str>, Vec<&str>) =
        arguments.iter().partition(|a| a.starts_with("--"));
    let options: Vec<&str> = options.iter().map(|o| &o[2..]).collect();
    let output = Command::new(RUNNER)
        .arg(cargo::program("image-guests"))
        .args(&arguments)
        .env("EBB_OPTIONS", options.join(" "))
        .env("EBB_QEMU_ARGS", format!("-cpu {cpu}"))
        .env("EBB_ARCHIVE", archive())
        .env("EBB_CORES", cores.to_string())
        .env("EBB_MEMORY", "512M")
        .env("EBB_TIMEOUT", "120")
        .env("EBB_NET", "none")
        .output()
        .expect("the runner starts");
    let console = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && console.contains("image is well"),
        "{cpu}, {arguments:?}: {:?}\n{console}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    console
}

#[track_caller]
fn says(console: &str, parts: &[&str]) {
    for part in parts {
        assert!(console.contains(part), "`{part}` is not in:\n{console}");
    }
}

#[test]
fn registers_signals_threads_and_memory_are_kept_for_several_programs_at_once() {
    needs!("qemu-system-x86_64");
    let console = boot(2, &["copies=4", "/bin/abi"]);
    assert_eq!(console.matches("all kept").count(), 4, "{console}");
}

#[test]
fn vector_registers_are_kept_while_the_image_itself_uses_them() {
    needs!("qemu-system-x86_64");
    let console = boot(2, &["--vectors=1", "copies=4", "/bin/abi"]);
    assert_eq!(console.matches("all kept").count(), 4, "{console}");
}

#[test]
fn descriptors_and_files_are_as_on_linux() {
    needs!("qemu-system-x86_64");
    archive();
    let here = Command::new(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("files"))
        .output()
        .expect("the program runs on Linux");
    says(&String::from_utf8_lossy(&here.stdout), &["all as on Linux"]);
    says(&boot(1, &["/bin/files"]), &["all as on Linux"]);
}

#[test]
fn programs_run_on_older_and_on_other_cpus() {
    needs!("qemu-system-x86_64");
    // Without FSGSBASE; Intel's and AMD's models; without SMAP, and with it alone; as the runner has it, without instructions that draw.
    for cpu in [
        "max,-fsgsbase",
        "Haswell",
        "EPYC",
        "max,-smap,-smep",
        "max,-rdrand,-rdseed",
    ] {
        let console = boot_on(cpu, 1, &["copies=2", "/bin/abi"]);
        assert_eq!(console.matches("all kept").count(), 2, "{cpu}: {console}");
    }
    // Without XSAVE, so without AVX, which `abi` uses.
    let console = boot_on("qemu64", 1, &["/bin/process"]);
    says(&console, &["all right"]);
}

#[test]
fn a_traced_program_keeps_its_registers_and_every_call_is_printed() {
    needs!("qemu-system-x86_64");
    let console = boot(1, &["--trace=1", "/bin/abi"]);
    let calls = [
        "getpid() = ",
        "gettid() = ",
        "getppid() = 0",
        "geteuid() = 0",
    ];
    says(&console, &calls);
    says(&console, &["sched_yield() = 0", "futex(", "all kept"]);
}

#[test]
fn programs_on_four_cores_give_every_frame_back() {
    needs!("qemu-system-x86_64");
    let console = boot(4, &["--rounds=3", "copies=8", "/bin/abi"]);
    assert_eq!(console.matches("all kept").count(), 24, "{console}");
    let free: Vec<u64> = console
        .lines()
        .filter_map(|l| {
            l.strip_prefix("frames free after round ")?
                .split(": ")
                .nth(1)
        })
        .map(|n| n.parse().expect("a number"))
        .collect();
    // The first round fills what allocators and drivers keep; none may cost more.
    assert_eq!(free.len(), 3, "{console}");
    assert!(free[2] + 8 >= free[0], "{console}");
}

#[test]
fn programs_see_neither_one_another_nor_the_kernel() {
    needs!("qemu-system-x86_64");
    for cores in [1, 2, 4] {
        let console = boot(cores, &["copies=6", "/bin/alone"]);
        assert_eq!(console.matches("alone\n").count(), 6, "{console}");
    }
}

#[test]
fn processes_start_end_and_talk_as_on_linux() {
    needs!("qemu-system-x86_64");
    let console = boot(1, &["copies=2", "/bin/process"]);
    assert_eq!(console.matches("all right").count(), 2, "{console}");
}

#[test]
fn what_a_program_must_not_do_ends_it_with_a_report_and_nothing_else() {
    needs!("qemu-system-x86_64");
    for (attack, parts) in [
        ("read-null", &["SIGSEGV", "uc0 ended by signal 11"][..]),
        ("write-kernel", &["uc0 ended by signal 11"]),
        ("read-kernel", &["uc0 ended by signal 11"]),
        ("jump-kernel", &["uc0 ended by signal 11"]),
        ("jump-noncanonical", &["uc0 ended by signal 11"]),
        ("hlt", &["vector 13", "uc0 ended by signal 11"]),
        ("cli", &["uc0 ended by signal 11"]),
        ("out", &["uc0 ended by signal 11"]),
        ("wrmsr", &["uc0 ended by signal 11"]),
        ("cr3", &["uc0 ended by signal 11"]),
        ("lgdt", &["uc0 ended by signal 11"]),
        ("int80", &["uc0 ended by signal 11"]),
        ("int-timer", &["uc0 ended by signal 11"]),
        ("swapgs", &["uc0 ended by signal 11"]),
        ("ud2", &["SIGILL", "uc0 ended by signal 4"]),
        ("int3", &["uc0 ended by signal 5"]),
        ("divide", &["uc0 ended by signal 8"]),
        ("write-text", &["uc0 ended by signal 11"]),
        ("run-stack", &["uc0 ended by signal 11"]),
        ("stack-overflow", &["uc0 ended by signal 11"]),
        ("bad-stack", &["uc0 ended by signal 11"]),
        ("bad-stack-syscall", &["uc0 ended by signal 11"]),
        ("trap-flag", &["uc0 ended by signal 5"]),
        ("nested-task", &["uc0 ended by signal 11"]),
        ("exec-end", &["uc0 ended by signal 11"]),
        ("sigreturn", &["uc0 ended by signal 11"]),
    ] {
        says(&boot(1, &["/bin/attack", attack]), parts);
    }
}

#[test]
fn a_program_that_takes_all_it_can_get_finds_its_limits_and_gives_all_back() {
    needs!("qemu-system-x86_64");
    for (attack, parts) in [
        (
            "all-memory",
            &["out of memory", "uc0 ended by signal 9"][..],
        ),
        ("tables", &["out of memory", "uc0 ended by signal 9"]),
        ("threads", &["63 threads", "uc0 ended with status 0"]),
        ("descriptors", &["descriptors", "uc0 ended with status 0"]),
        ("spin", &["uc0 ended with status 0"]),
        ("forks", &["63 children", "uc0 ended with status 0"]),
        ("zombies", &["zombies", "uc0 ended with status 0"]),
    ] {
        let console = boot(1, &["/bin/attack", attack]);
        says(&console, parts);
    }
}

#[test]
fn a_program_that_never_stops_ends_at_its_processor_time_and_others_go_on_meanwhile() {
    needs!("qemu-system-x86_64");
    for attack in [
        "spin-for-ever",
        "syscall-for-ever",
        "failing-call-for-ever",
        "yield-for-ever",
        "signal-storm",
        "fork-bomb",
        "vfork-bomb",
        "exec-loop",
    ] {
        let console = boot(
            1,
            &["--cpu=500", "beside=/bin/process", "/bin/attack", attack],
        );
        let ended = ["uc0: out of processor time", "uc0 ended by signal 9"];
        says(&console, &ended);
        says(&console, &["beside0 ended with status 0", "all right"]);
    }
}

#[test]
fn hostile_arguments_of_every_system_call_are_survived() {
    needs!("qemu-system-x86_64");
    for seed in ["1", "20261123"] {
        let console = boot(1, &["/bin/fuzz", seed, "60"]);
        says(&console, &["60 batches", "uc0 ended with status 0"]);
    }
}

#[test]
fn others_have_their_turns_during_calls_on_much_memory_and_long_files() {
    needs!("qemu-system-x86_64");
    let console = boot(1, &["--memory=300000000", "/bin/long", "strict"]);
    says(&console, &["nothing took long", "uc0 ended with status 0"]);
}

#[test]
fn damaged_programs_are_refused_or_end_alone() {
    needs!("qemu-system-x86_64");
    for seed in ["1", "20261123"] {
        let console = boot(1, &["beside=/bin/abi", "/bin/elf", seed, "150"]);
        says(
            &console,
            &["150 damaged programs", "uc0 ended with status 0"],
        );
        says(&console, &["beside0 ended with status 0"]);
    }
}
