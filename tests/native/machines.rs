//! The machines that an image runs on: the runner's three boards, devices that are on no bus, and ends without the runner's
//! devices.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use test_support::{Server, boot_small, cargo, client::connect, needs, scratch};

const BOARDS: [&str; 3] = ["q35", "pc", "microvm"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_said(output: &Output, status: i32, console: &str) {
    assert_eq!(
        (output.status.code(), &*text(&output.stdout)),
        (Some(status), console),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn hello_boots_on_every_board() {
    needs!("qemu-system-x86_64");
    for board in BOARDS {
        let output = boot_small(&cargo::example("hello"), &[], &[("EBB_MACHINE", board)]);
        assert_said(&output, 0, "hello from core 0\nhello from core 1\n");
    }
    let refused = boot_small(&cargo::example("hello"), &[], &[("EBB_MACHINE", "virt")]);
    assert_said(&refused, 125, "");
    let messages = text(&refused.stderr);
    assert!(messages.contains("q35, pc or microvm"), "{messages}");
}

#[test]
fn the_webserver_answers_on_every_board() {
    needs!("qemu-system-x86_64");
    for board in BOARDS {
        let image = Server::webserver(&[("EBB_MACHINE", board)]);
        // Each request is an interrupt of its own: one that is lost is a request that stays without an answer.
        let mut stream = BufReader::new(connect(image.address));
        for _ in 0..300 {
            let request = b"GET / HTTP/1.1\r\nhost: image\r\n\r\n";
            stream.get_mut().write_all(request).expect("connected");
            let mut length = None;
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).expect("a line");
                if line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().ok();
                }
            }
            let mut page = vec![0; length.expect("a length")];
            stream.read_exact(&mut page).expect("a page");
            assert_eq!(
                text(&page),
                include_str!("../../examples/webserver/index.html")
            );
        }
    }
}

fn fresh(name: &str) -> PathBuf {
    let path = scratch(name);
    let _ = std::fs::remove_file(&path);
    path
}

#[test]
fn a_store_is_the_same_on_every_board_and_disks_keep_their_order() {
    needs!("qemu-system-x86_64");
    let (first, second) = (fresh("machines-0.img"), fresh("machines-1.img"));
    let both = format!("{},size=64M;{},size=64M", first.display(), second.display());
    let store = |board: &str, disks: &str, arguments: &[&str]| {
        let settings = [("EBB_MACHINE", board), ("EBB_DISK", disks)];
        boot_small(&cargo::example("store"), arguments, &settings)
    };
    // The machine's devices come after the arguments on a microvm's command line: `put` would not take one more.
    let put = store("microvm", &both, &["put", "greeting", "hello"]);
    assert_said(&put, 0, "start 1\n");
    for (n, board) in BOARDS.into_iter().enumerate() {
        let got = store(board, &both, &["get", "greeting"]);
        assert_said(&got, 0, &format!("hello\nstart {}\n", n + 2));
    }
    let other = format!("{};{}", second.display(), first.display());
    let got = store("microvm", &other, &["get", "greeting"]);
    assert_said(&got, 1, "there is no greeting\nstart 1\n");
    for path in [first, second] {
        std::fs::remove_file(path).expect("the disk was made");
    }
}

#[test]
fn a_device_that_cannot_be_used_is_named_with_the_reason() {
    needs!("qemu-system-x86_64");
    let store = |settings: &[(&str, &str)]| {
        let output = boot_small(&cargo::example("store"), &["list"], settings);
        assert_said(&output, 1, "there is no disk: EBB_DISK=FILE names one\n");
        text(&output.stderr)
    };
    let disk = fresh("machines-legacy.img");
    let disks = format!("{},size=64M", disk.display());
    let legacy = store(&[
        ("EBB_MACHINE", "microvm"),
        ("EBB_RNG", "0"),
        ("EBB_DISK", &disks),
        ("EBB_QEMU_ARGS", "-global virtio-mmio.force-legacy=true"),
    ]);
    let named = legacy.matches("-global virtio-mmio.force-legacy=false");
    assert_eq!(named.count(), 1, "{legacy}");
    std::fs::remove_file(disk).expect("the disk was made");

    let absent = "virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0x200000:6";
    let absent = store(&[("EBB_OPTIONS", absent)]);
    for line in [
        "MMIO 0xd0000000 is not used: there is no virtio device",
        "MMIO 0x200000 is not used: its registers would lie in memory",
    ] {
        assert!(absent.contains(line), "{absent}");
    }

    let malformed = [("EBB_OPTIONS", "virtio_mmio.device=4K@0xd0000000")];
    let refused = boot_small(&cargo::example("hello"), &[], &malformed);
    let said = text(&refused.stdout);
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("SIZE@ADDRESS:LINE"), "{said}");
}

#[test]
fn each_of_several_network_cards_has_its_address_on_every_board() {
    needs!("qemu-system-x86_64");
    let tell = |board: &str, net: &str| {
        let settings = [
            ("EBB_MACHINE", board),
            ("EBB_NET", net),
            ("EBB_TIMEOUT", "5"),
        ];
        text(&boot_small(&cargo::example("echo"), &[], &settings).stderr)
    };
    let lines = |said: &str, what: &str| said.lines().filter(|l| l.contains(what)).count();
    for board in ["q35", "microvm"] {
        let said = tell(board, "user;user");
        for (card, address) in [(0, "10.0.2.15/24"), (1, "10.0.3.15/24")] {
            let is_said =
                |line: &str| line.contains(&format!("card {card}:")) && line.contains(address);
            assert_eq!(said.lines().filter(|l| is_said(l)).count(), 1, "{said}");
        }
    }
    // On a machine without PCI nobody is told to look there.
    let said = tell("microvm", "none");
    assert_eq!(lines(&said, "there is no network card"), 1, "{said}");
    assert!(!said.contains("PCI"), "{said}");
}

/// Boots in a machine that has no device to exit by, and gives what the image said, and what QEMU logged of resets.
fn end_without_a_device(machine: &str) -> (String, String) {
    let (report, log) = (fresh("machines-report"), fresh("machines-log"));
    let comma = |path: &Path| path.display().to_string().replace(',', ",,");
    let ended = Command::new("timeout")
        .args(["60", "qemu-system-x86_64", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-accel", "tcg,thread=multi"])
        .args(["-m", "128M", "-cpu", "max", "-smp", "2", "-no-reboot"])
        .args(["-d", "cpu_reset", "-M", machine, "-D"])
        .arg(&log)
        .arg("-chardev")
        .arg(format!("file,id=report,path={}", comma(&report)))
        .args(["-device", "isa-debugcon,iobase=0xe9,chardev=report"])
        .arg("-kernel")
        .arg(cargo::program("image-faults"))
        .stdin(Stdio::null())
        .status()
        .expect("QEMU starts (the runner installs it)");
    let read = |path: &Path| text(&std::fs::read(path).unwrap_or_default());
    let (said, logged) = (read(&report), read(&log));
    assert_eq!(ended.code(), Some(0), "{machine}: {said}");
    (said, logged)
}

#[test]
fn without_a_device_or_acpi_to_end_by_an_image_resets_the_machine() {
    needs!("qemu-system-x86_64");
    for (machine, faults) in [("pc,acpi=off", 0), ("microvm,acpi=off", 1)] {
        let (said, logged) = end_without_a_device(machine);
        assert!(said.contains("\nexit 0\n"), "{machine}: {said}");
        // By the keyboard controller, or where there is none by the CPU itself.
        let count = logged.matches("Triple fault").count();
        assert_eq!(count, faults, "{machine}: {logged}");
    }
    // With ACPI the machine is switched off: a microvm has a register for it that lies in memory.
    for machine in ["q35", "microvm"] {
        let (said, logged) = end_without_a_device(machine);
        assert!(
            said.contains("\nexit 0\n") && !logged.contains("Triple"),
            "{machine}: {said}"
        );
    }
}
