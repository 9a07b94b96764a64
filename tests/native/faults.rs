//! What an image says when something goes wrong: each fault ends it with one report that names what,
//! where and, where that helps, what to do. Boots `images/faults.rs`.

use std::{
    io::Write,
    process::{Command, Stdio},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use test_support::{RUNNER, boot_small, cargo, needs};

struct Ended {
    status: Option<i32>,
    console: String,
    messages: String,
}

impl Ended {
    #[track_caller]
    fn says(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(
                self.console.contains(part),
                "`{part}` is not in:\n{}\n{}",
                self.console,
                self.messages
            );
        }
        self
    }

    /// Apart from what the program prints.
    #[track_caller]
    fn tells(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.messages.contains(part), "`{part}`: {}", self.messages);
            assert!(!self.console.contains(part), "`{part}`: {}", self.console);
        }
        self
    }

    #[track_caller]
    fn ends_with(&self, status: i32) -> &Self {
        assert_eq!(
            self.status,
            Some(status),
            "{}\n{}",
            self.console,
            self.messages
        );
        self
    }
}

fn boot(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let output = boot_small(&cargo::program("image-faults"), arguments, environment);
    Ended {
        status: output.status.code(),
        console: String::from_utf8_lossy(&output.stdout).into_owned(),
        messages: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn fault(name: &str) -> Ended {
    boot(&[name], &[])
}

#[test]
fn the_status_of_main_is_the_status_of_the_run() {
    needs!("qemu-system-x86_64");
    boot(&["status", "0"], &[]).ends_with(0);
    boot(&["status", "42"], &[]).ends_with(42);
}

#[test]
fn arguments_arrive_as_they_were() {
    needs!("qemu-system-x86_64");
    boot(&["arguments", "a b", "", "100%", "--", "h\u{f6}"], &[])
        .ends_with(0)
        .says(&["<a b>\n<>\n<100%>\n<-->\n<h\u{f6}>\n"]);
}

#[test]
fn a_panic_says_where_and_who_called_whom() {
    needs!("qemu-system-x86_64");
    let ended = fault("panic");
    ended.ends_with(101).says(&[
        "core 0 panicked at tests/images/faults.rs:",
        "41 is not above 41",
        "image_faults::inner+0x",
        "image_faults::outer+0x",
        "ebb_runtime::event::run",
    ]);
    let (inner, outer) = (ended.console.find("::inner"), ended.console.find("::outer"));
    assert!(inner < outer, "{}", ended.console);
}

#[test]
fn a_panic_on_another_core_ends_the_image_too() {
    needs!("qemu-system-x86_64");
    fault("panic-on-core-1")
        .ends_with(101)
        .says(&["core 1 panicked at", "image_faults::inner+0x"]);
}

#[test]
fn panics_on_all_cores_at_once_give_one_report() {
    needs!("qemu-system-x86_64");
    let ended = boot(&["panic-in-all"], &[("EBB_CORES", "4")]);
    ended.ends_with(101);
    assert_eq!(
        ended.console.matches("panicked at").count(),
        1,
        "{}",
        ended.console
    );
}

#[test]
fn a_report_comes_out_although_others_were_stopped_while_they_printed() {
    needs!("qemu-system-x86_64");
    for _ in 0..5 {
        boot(&["panic-while-others-print"], &[("EBB_CORES", "4")])
            .ends_with(101)
            .says(&[
                "core 0 panicked at",
                "41 is not above 41",
                "image_faults::inner+0x",
            ]);
    }
}

#[test]
fn cores_beyond_64_are_left_alone() {
    needs!("qemu-system-x86_64");
    boot_bare(&["-cpu", "max", "-smp", "66"])
        .ends_with(0)
        .says(&["64 cores"])
        .tells(&["ebb: the machine has 2 cores more than the 64 that an image uses"]);
}

#[test]
fn a_null_read_is_reported_as_one_with_registers() {
    needs!("qemu-system-x86_64");
    fault("null-read").ends_with(101).says(&[
        "page fault on core 0: reading 0x0: a null pointer",
        "  rip ffffffff8",
        "  rax ",
        "cr2 0000000000000000",
        "image_faults::null_read+0x",
    ]);
}

#[test]
fn a_null_call_is_reported_with_its_caller() {
    needs!("qemu-system-x86_64");
    fault("null-call").ends_with(101).says(&[
        "executing 0x0: a call through a null pointer",
        "image_faults::null_call+0x",
    ]);
}

#[test]
fn memory_that_is_not_there_is_not_read() {
    needs!("qemu-system-x86_64");
    fault("wild-read")
        .ends_with(101)
        .says(&["reading 0xffff900000000000: nothing is mapped there"]);
    fault("user-memory")
        .ends_with(101)
        .says(&["reading 0x400000: nothing is mapped there"]);
}

#[test]
fn the_image_cannot_be_changed_nor_data_executed() {
    needs!("qemu-system-x86_64");
    for name in ["write-text", "write-text-by-linear-map", "write-rodata"] {
        fault(name)
            .ends_with(101)
            .says(&["writing 0xffff", "its protection forbids it"]);
    }
    fault("execute-heap")
        .ends_with(101)
        .says(&["executing 0xffff8", "its protection forbids it"]);
}

#[test]
fn a_stack_overflow_is_reported_as_one() {
    needs!("qemu-system-x86_64");
    fault("stack-overflow").ends_with(101).says(&[
        "stack overflow on core 0: the event stack of core 0 is used up (256 KiB)",
        "image_faults::endless+0x",
        "... and more",
    ]);
    fault("stack-overflow-on-core-1")
        .ends_with(101)
        .says(&["stack overflow on core 1: the event stack of core 1"]);
}

#[test]
fn a_double_fault_is_reported() {
    needs!("qemu-system-x86_64");
    fault("double-fault")
        .ends_with(101)
        .says(&["double fault on core 0", "image_faults::double_fault+0x"]);
}

#[test]
fn other_exceptions_are_named() {
    needs!("qemu-system-x86_64");
    fault("invalid-opcode")
        .ends_with(101)
        .says(&["invalid opcode on core 0"]);
    fault("divide")
        .ends_with(101)
        .says(&["divide error on core 0"]);
}

#[test]
fn exhausted_memory_is_an_error_to_a_caller_who_asks_and_a_clear_end_to_others() {
    needs!("qemu-system-x86_64");
    fault("memory-politely")
        .ends_with(0)
        .says(&[" MiB: memory allocation failed", "and again 8 MiB"]);
    fault("memory")
        .ends_with(101)
        .says(&["memory allocation of 1048576 bytes failed"]);
}

#[test]
fn a_hang_ends_with_a_backtrace_of_every_core() {
    needs!("qemu-system-x86_64");
    let ended = boot(&["hang"], &[("EBB_TIMEOUT", "3")]);
    assert_ne!(ended.status, Some(0));
    ended.says(&[
        "got an NMI from outside",
        "core 0:\n",
        "core 1:\n",
        "image_faults::spins_for_ever+0x",
    ]);
    assert_eq!(
        ended
            .console
            .matches("image_faults::spins_for_ever")
            .count(),
        2,
        "{}",
        ended.console
    );
}

#[test]
fn a_program_that_waits_for_ever_shows_its_cores_asleep() {
    needs!("qemu-system-x86_64");
    let ended = boot(&["wait-for-ever"], &[("EBB_TIMEOUT", "3")]);
    assert_ne!(ended.status, Some(0));
    ended.says(&["core 0:\n", "core 1:\n", "ebb_runtime::event::run_loop"]);
}

#[test]
fn an_unknown_option_is_refused_with_the_options_there_are() {
    needs!("qemu-system-x86_64");
    boot(&[], &[("EBB_OPTIONS", "colour=blue")])
        .ends_with(78)
        .says(&[
            "ebb: unknown option `colour`",
            "timeline= (off, line or full)",
            "taste= (sweet or sour)",
            "after `--`",
        ]);
}

#[test]
fn a_malformed_option_is_refused_with_what_it_takes() {
    needs!("qemu-system-x86_64");
    boot(&[], &[("EBB_OPTIONS", "cores=many")])
        .ends_with(78)
        .says(&["ebb: option `cores` is `many`; it takes a number from 1 to 64"]);
    boot(&[], &[("EBB_OPTIONS", "x2apic")])
        .ends_with(78)
        .says(&["ebb: option `x2apic` is ``; it takes on or off"]);
}

#[test]
fn an_option_that_the_application_declares_is_checked_like_the_others() {
    needs!("qemu-system-x86_64");
    boot(&["none"], &[("EBB_OPTIONS", "taste=sour")]).ends_with(0);
    boot(&["none"], &[("EBB_OPTIONS", "taste=loud")])
        .ends_with(78)
        .says(&["ebb: option `taste` is `loud`; it takes sweet or sour"]);
    boot(&["none"], &[("EBB_OPTIONS", "numbers=1,2,3")]).ends_with(0);
    boot(&["none"], &[("EBB_OPTIONS", "numbers=1,two")])
        .ends_with(78)
        .says(&["ebb: option `numbers` is `1,two`; it takes numbers, joined by commas"]);
}

/// Nine seconds or more: `cargo test -p native-tests --test native faults:: -- --ignored`.
#[test]
#[ignore = "takes its time"]
fn a_hundred_boots_in_a_row_succeed() {
    needs!("qemu-system-x86_64");
    for n in 0..100 {
        let cores = [1, 2, 4][n % 3];
        boot(&["none"], &[("EBB_CORES", &cores.to_string())])
            .ends_with(0)
            .says(&[&format!("{cores} cores")]);
    }
}

#[test]
fn fewer_cores_than_there_are_can_be_asked_for() {
    needs!("qemu-system-x86_64");
    boot(&["none"], &[("EBB_CORES", "4"), ("EBB_OPTIONS", "cores=3")])
        .ends_with(0)
        .says(&["3 cores\n"]);
}

#[test]
fn a_core_that_does_not_come_up_is_done_without() {
    needs!("qemu-system-x86_64");
    boot(
        &["none"],
        &[("EBB_CORES", "4"), ("EBB_OPTIONS", "broken-core=2")],
    )
    .ends_with(0)
    .says(&["3 cores\n"])
    .tells(&[
        "ebb: the core with APIC ID 2 did not start",
        "ebb: going on without 1 (3 cores)",
    ]);
}

#[test]
fn a_quiet_run_is_without_what_the_machine_says_of_itself() {
    needs!("qemu-system-x86_64");
    let settings = [
        ("EBB_CORES", "4"),
        ("EBB_OPTIONS", "broken-core=2"),
        ("EBB_QUIET", "1"),
    ];
    let ended = boot(&["none"], &settings);
    ended.ends_with(0);
    assert_eq!(
        (&*ended.console, &*ended.messages),
        ("3 cores\n", ""),
        "console, messages"
    );
}

#[test]
fn words_of_a_command_line_that_are_linuxs_are_ignored_and_named() {
    needs!("qemu-system-x86_64");
    let words = "reboot=k panic=1 pci=off i8042.noaux quiet";
    boot(&["none"], &[("EBB_OPTIONS", words)])
        .ends_with(0)
        .tells(&["`reboot`", "`i8042.noaux`", "ignored"]);
    boot(&["none"], &[("EBB_OPTIONS", "rebot=k")]).ends_with(78);
}

#[test]
fn a_network_card_that_cannot_be_used_is_named_with_one_that_can() {
    needs!("qemu-system-x86_64");
    let card = "-netdev user,id=x -device e1000,netdev=x,romfile=";
    let output = Command::new(RUNNER)
        .arg(cargo::example("echo"))
        .envs([
            ("EBB_NET", "none"),
            ("EBB_QEMU_ARGS", card),
            ("EBB_TIMEOUT", "6"),
            ("EBB_CORES", "1"),
            ("EBB_QUIET", "1"),
        ])
        .stdin(Stdio::null())
        .output()
        .expect("the runner starts");
    let messages = String::from_utf8_lossy(&output.stderr);
    for part in ["network card 8086:100e at PCI", "-device virtio-net-pci"] {
        assert!(messages.contains(part), "{messages}");
    }
}

#[test]
fn sixty_four_cores_come_up() {
    needs!("qemu-system-x86_64");
    boot(&["none"], &[("EBB_CORES", "64"), ("EBB_MEMORY", "256M")])
        .ends_with(0)
        .says(&["64 cores\n"]);
}

#[test]
fn memory_from_64_mib_to_16_gib_is_used() {
    needs!("qemu-system-x86_64");
    for (memory, least) in [("64M", 50), ("3G", 2900), ("5G", 4900), ("16G", 16000)] {
        let ended = boot(&["memory-size"], &[("EBB_MEMORY", memory)]);
        ended.ends_with(0);
        let number = ended.console.lines().find_map(|l| l.parse().ok());
        let mib: u64 = number.expect("a line with a number of MiB");
        assert!(mib >= least, "{mib} MiB of {memory}");
    }
}

/// Unix time in the image, with the real-time clock of QEMU's arguments.
fn time_with(rtc: &str) -> u64 {
    let ended = boot(&["time"], &[("EBB_QEMU_ARGS", rtc)]);
    ended.ends_with(0);
    let milliseconds = ended.console.lines().find_map(|l| l.parse().ok());
    milliseconds.expect("a line with milliseconds")
}

#[test]
fn the_wall_clock_is_the_hosts() {
    needs!("qemu-system-x86_64");
    let host = || {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        time.expect("after 1970").as_millis() as u64
    };
    // The machine's real-time clock alone would be up to two seconds slow, by an amount that differs from one start to
    // the next. The launcher's time is slow by what QEMU takes to come up: never ahead, and always after the launch.
    for _ in 0..3 {
        let before = host();
        let image = time_with("-rtc base=utc");
        let after = host();
        assert!(
            (before..=after).contains(&image),
            "{before} {image} {after}"
        );
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn the_wall_clock_knows_the_calendar() {
    needs!("qemu-system-x86_64");
    // From `date -u -d DATE +%s`.
    for (date, seconds) in [
        ("2024-02-29T12:00:00", 1_709_208_000),
        ("2023-12-31T23:59:50", 1_704_067_190),
        ("2028-03-01T00:00:00", 1_835_481_600),
        ("2000-01-01T00:00:00", 946_684_800),
    ] {
        let image = time_with(&format!("-rtc base={date}")) / 1000;
        assert!(
            (seconds..seconds + 9).contains(&image),
            "{image} for {date}"
        );
    }
}

/// Boots the image that answers one line, and types it after `wait`.
fn type_line(text: &str, wait: Duration) {
    let mut child = Command::new(RUNNER)
        .arg(cargo::program("image-faults"))
        .arg("echo")
        .envs([
            ("EBB_CORES", "2"),
            ("EBB_NET", "none"),
            ("EBB_TIMEOUT", "60"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the runner starts");
    let mut input = child.stdin.take().expect("piped");
    thread::sleep(wait);
    writeln!(input, "{text}").expect("the runner reads");
    let output = child.wait_with_output().expect("the runner ends");
    let console = String::from_utf8_lossy(&output.stdout);
    assert!(console.contains(&format!("<{text}>")), "{console}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn what_is_typed_arrives_whole() {
    needs!("qemu-system-x86_64");
    // Longer than the UART's 16 bytes.
    type_line(
        "the quick brown fox jumps over the lazy dog, again and again",
        Duration::from_millis(700),
    );
}

#[test]
fn what_was_typed_before_the_image_is_up_is_not_lost() {
    needs!("qemu-system-x86_64");
    type_line("early", Duration::ZERO);
    type_line(&"0123456789".repeat(300), Duration::ZERO);
}

#[test]
fn too_little_memory_is_refused_with_how_much_it_takes() {
    needs!("qemu-system-x86_64");
    boot(&[], &[("EBB_QEMU_ARGS", "-m 16M")])
        .ends_with(71)
        .says(&["MiB of memory are too little; give the machine at least 24 MiB"]);
}

/// Boots in a machine that the runner would not make.
fn boot_bare(machine: &[&str]) -> Ended {
    let report = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(machine.join("-"));
    let output = Command::new("timeout")
        .args([
            "60",
            "qemu-system-x86_64",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
        ])
        .args([
            "-accel",
            "tcg,thread=multi",
            "-m",
            "128M",
            "-serial",
            "stdio",
            "-no-reboot",
        ])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .args([
            "-chardev".into(),
            format!(
                "file,id=report,path={}",
                report.display().to_string().replace(',', ",,")
            ),
        ])
        .args(["-device", "isa-debugcon,iobase=0xe9,chardev=report"])
        .arg("-kernel")
        .arg(cargo::program("image-faults"))
        .args(machine)
        .stdin(Stdio::null())
        .output()
        .expect("QEMU starts (the runner installs it)");
    let text = std::fs::read_to_string(&report).unwrap_or_default();
    let status = text
        .lines()
        .find_map(|l| l.strip_prefix("exit ")?.parse().ok());
    Ended {
        status,
        console: String::from_utf8_lossy(&output.stdout).into_owned(),
        messages: text + &String::from_utf8_lossy(&output.stderr),
    }
}

#[test]
fn other_machines_of_qemus_boot_too() {
    needs!("qemu-system-x86_64");
    for machine in ["pc", "q35", "microvm", "microvm,rtc=off"] {
        boot_bare(&["-M", machine, "-cpu", "max", "-smp", "2"])
            .ends_with(0)
            .says(&["2 cores"]);
    }
    boot_bare(&["-cpu", "qemu64"])
        .ends_with(0)
        .says(&["1 cores"]);
}

#[test]
fn cpus_from_nehalem_on_and_64_cores_boot() {
    needs!("qemu-system-x86_64");
    for cpu in ["Nehalem", "Westmere", "SandyBridge", "Haswell", "EPYC"] {
        boot_bare(&["-M", "q35", "-cpu", cpu, "-smp", "2"])
            .ends_with(0)
            .says(&["2 cores"]);
    }
    boot_bare(&["-M", "pc", "-cpu", "Nehalem", "-smp", "64"])
        .ends_with(0)
        .says(&["64 cores"]);
}

#[test]
fn a_machine_without_acpi_tells_its_cores_by_the_mp_table() {
    needs!("qemu-system-x86_64");
    for (machine, cores) in [
        ("microvm,acpi=off", "1"),
        ("microvm,acpi=off,rtc=off", "2"),
        ("microvm,acpi=off,pic=off", "5"),
    ] {
        let ended = boot_bare(&["-M", machine, "-cpu", "max", "-smp", cores]);
        ended.ends_with(0).says(&[&format!("{cores} cores")]);
        assert!(!ended.messages.contains("MP table"), "{}", ended.messages);
    }
}

#[test]
fn a_machine_without_any_tables_is_one_of_one_core_and_says_so() {
    needs!("qemu-system-x86_64");
    // qboot writes its MP table from 0x9fc00 on; that of 64 cores is longer than the memory there.
    boot_bare(&["-M", "microvm,acpi=off", "-cpu", "max", "-smp", "64"])
        .ends_with(0)
        .says(&["1 cores"])
        .tells(&["ebb: the machine has neither ACPI tables nor an MP table"]);
}

#[test]
fn a_machine_without_a_timer_is_refused() {
    needs!("qemu-system-x86_64");
    boot_bare(&["-M", "microvm,pit=off", "-cpu", "max"])
        .ends_with(71)
        .says(&["ebb: the machine has no timer to measure the TSC with"]);
}

#[test]
fn a_cpu_that_lacks_what_an_image_needs_is_refused() {
    needs!("qemu-system-x86_64");
    for cpu in ["qemu64,-lm", "qemu64,-nx"] {
        boot_bare(&["-cpu", cpu])
            .ends_with(71)
            .says(&["ebb: this CPU lacks 64-bit mode or no-execute pages"]);
    }
    boot_bare(&["-cpu", "max,-apic"])
        .ends_with(71)
        .says(&["ebb: the CPU has no local APIC"]);
}

#[test]
fn the_clock_does_without_an_hpet() {
    needs!("qemu-system-x86_64");
    boot(&["none"], &[("EBB_QEMU_ARGS", "-machine hpet=off")])
        .ends_with(0)
        .says(&["2 cores\n"]);
}

#[test]
fn the_boot_timeline_is_a_table_on_request() {
    needs!("qemu-system-x86_64");
    boot(&["none"], &[("EBB_OPTIONS", "timeline=full")])
        .ends_with(0)
        .says(&["boot step", "paging", "cores", "main"]);
}
