//! The runner with a real QEMU and images of a few instructions.

use std::{
    fs,
    io::{Read, Write},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use test_support::needs;

use crate::common::{Code, Directory, complete, directory, finish, note, runner};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// An image of `code` as `name`, in a directory of its own.
fn in_directory(test: &str, name: &str, code: Code) -> (Directory, PathBuf) {
    let dir = directory(test);
    let image = code.image(&dir.join(name));
    (dir, image)
}

/// Starts it with its output going here.
fn read_by_us(runner: &mut Command) -> Child {
    let runner = runner.stdout(Stdio::piped()).stderr(Stdio::piped());
    runner.spawn().unwrap()
}

#[test]
fn an_images_output_and_exit_status_are_the_runners() {
    needs!("qemu-system-x86_64");
    let dir = directory("status");
    for status in [0, 7, 255] {
        let image = Code::default()
            .print("hello\n")
            .report(&format!("exit {status}"))
            .end()
            .image(&dir.join("hello"));
        let (code, out, err) = complete(&mut runner(&dir, &image));
        assert_eq!((code, out.as_str()), (status, "hello\n"), "{err}");
        assert!(
            err.starts_with("ebb-runner: hello: 1 core, 64 MiB, ") && err.lines().count() == 1,
            "{err}"
        );
    }
}

#[test]
fn a_quiet_runner_says_nothing() {
    needs!("qemu-system-x86_64");
    let (dir, image) = in_directory("quiet", "quiet", Code::default().report("exit 0").end());
    assert_eq!(
        complete(runner(&dir, &image).env("EBB_QUIET", "1")),
        (0, String::new(), String::new())
    );
}

#[test]
fn both_firmwares_boot_an_image() {
    needs!("qemu-system-x86_64");
    let (dir, image) = in_directory("firmware", "image", Code::default().report("exit 3").end());
    for firmware in ["qboot", "seabios"] {
        let (code, _, err) = complete(runner(&dir, &image).env("EBB_FIRMWARE", firmware));
        assert_eq!(code, 3, "{firmware}: {err}");
    }
}

#[test]
fn an_image_may_lie_anywhere() {
    needs!("qemu-system-x86_64");
    let dir = directory("path");
    for name in ["a b,c=d", "-x", "\u{f6}", "%s"] {
        let image = Code::default()
            .report("exit 3")
            .end()
            .image(&dir.join(name));
        assert_eq!(complete(&mut runner(&dir, &image)).0, 3, "{name}");
    }
    let name = std::ffi::OsStr::from_bytes(b"\xff\n");
    let image = Code::default()
        .report("exit 3")
        .end()
        .image(&dir.join(name));
    assert_eq!(complete(&mut runner(&dir, &image)).0, 3);
}

#[test]
fn forty_boots_in_a_row_all_end_as_they_should() {
    needs!("qemu-system-x86_64");
    let (dir, image) = in_directory(
        "forty",
        "image",
        Code::default().print("x").report("exit 3").end(),
    );
    for round in 0..40 {
        let cores = ["1", "2", "4"][round % 3];
        let (code, out, err) = complete(runner(&dir, &image).env("EBB_CORES", cores));
        assert_eq!((code, out.as_str()), (3, "x"), "round {round}: {err}");
    }
}

#[test]
fn options_and_arguments_reach_the_image_as_the_command_line() {
    needs!("qemu-system-x86_64");
    let dir = directory("arguments");
    let command_line = Code::default().raw(&[0x8b, 0x73, 24]).print_string(); // mov esi, [ebx+24]
    let image = command_line
        .report("exit 0")
        .end()
        .image(&dir.join("image"));
    let mut command = runner(&dir, &image);
    command.env("EBB_OPTIONS", "timeline=full").args([
        "--",
        "a b",
        "",
        "--",
        "50%",
        "h\u{f6}",
        "x=\"1,2\"",
    ]);
    let (_, out, err) = complete(&mut command);
    // The time of the launch comes with what was asked for.
    let launched = out
        .split(' ')
        .find(|word| word.starts_with("launched="))
        .expect("the time of the launch");
    let out = out.replace(&format!("{launched} "), "");
    assert_eq!(
        out, "timeline=full -- a%20b % -- 50%25 h%C3%B6 x=\"1,2\"",
        "{err}"
    );
}

#[test]
fn the_archive_is_the_first_boot_module_on_a_page_boundary() {
    needs!("qemu-system-x86_64");
    let dir = directory("archive");
    // mov esi, [ebx+16]; mov esi, [esi]; test esi, 0xfff; jnz over the print
    let module = Code::default().raw(&[
        0x8b, 0x73, 16, 0x8b, 0x36, 0xf7, 0xc6, 0xff, 0x0f, 0, 0, 0x75, 12,
    ]);
    let image = module
        .print_string()
        .report("exit 0")
        .end()
        .image(&dir.join("image"));
    let archive = dir.join("an archive");
    fs::write(&archive, "the archive\0").unwrap();
    for firmware in ["qboot", "seabios"] {
        let (_, out, err) = complete(
            runner(&dir, &image)
                .env("EBB_ARCHIVE", &archive)
                .env("EBB_FIRMWARE", firmware),
        );
        assert_eq!(out, "the archive", "{firmware}: {err}");
        assert!(
            err.contains("it does not begin as a boot archive does"),
            "{err}"
        );
    }
}

#[test]
fn input_reaches_the_image_and_its_end_is_a_byte_4() {
    needs!("qemu-system-x86_64");
    let dir = directory("input");
    #[rustfmt::skip]
    let echo = Code::default().raw(&[
        0x66, 0xba, 0xfd, 0x03, // again: mov dx, 0x3fd
        0xec,                   // in al, dx
        0xa8, 0x01,             // test al, 1
        0x74, 0xf7,             // jz again
        0xb2, 0xf8,             // mov dl, 0xf8
        0xec,                   // in al, dx
        0x3c, 0x04,             // cmp al, 4
        0x74, 0x03,             // jz done
        0xee,                   // out dx, al
        0xeb, 0xed,             // jmp again
    ]);
    let image = echo.report("exit 5").end().image(&dir.join("echo"));
    let text: String = (0..5000).map(|i| format!("line {i}\n")).collect();
    let mut child = read_by_us(runner(&dir, &image).stdin(Stdio::piped()));
    let mut input = child.stdin.take().unwrap();
    let sent = text.clone();
    let writer = std::thread::spawn(move || input.write_all(sent.as_bytes()));
    let (code, out, err) = finish(child.wait_with_output().unwrap());
    writer.join().unwrap().unwrap();
    assert_eq!(code, 5, "{err}");
    assert!(
        out == text,
        "{} of {} bytes came back",
        out.len(),
        text.len()
    );
}

#[test]
fn a_triple_fault_is_explained_with_the_place() {
    needs!("qemu-system-x86_64");
    let (dir, image) = in_directory(
        "triple",
        "faulty-0123456789abcdef",
        Code::default().print("before").triple_fault(),
    );
    let (code, out, err) = complete(&mut runner(&dir, &image));
    assert_eq!((code, out.as_str()), (123, "before"), "{err}");
    for word in [
        "ebb-runner: faulty: ",
        "triple fault",
        "core 0: running at 0x0000000000100031 tiny::code+0x31",
        "EBB_GDB=1",
    ] {
        assert!(err.contains(word), "{word} in {err}");
    }
}

#[test]
fn an_image_that_hangs_is_ended_with_a_report_of_its_cores() {
    needs!("qemu-system-x86_64");
    let (dir, image) = in_directory("hang", "hang", Code::default().print("begin").halt());
    let start = Instant::now();
    let (code, out, err) = complete(
        runner(&dir, &image)
            .env("EBB_TIMEOUT", "1")
            .env("EBB_CORES", "2"),
    );
    assert_eq!((code, out.as_str()), (124, "begin"), "{err}");
    assert!(start.elapsed() < Duration::from_secs(15));
    for word in [
        "still running after 1 s",
        "core 0: halted at 0x",
        "tiny::code+0x",
        "core 1: ",
    ] {
        assert!(err.contains(word), "{word} in {err}");
    }
}

#[test]
fn ending_without_a_status_is_a_failure() {
    needs!("qemu-system-x86_64");
    let dir = directory("silent");
    let image = Code::default().end().image(&dir.join("silent"));
    let (code, _, err) = complete(&mut runner(&dir, &image));
    assert!(
        code == 123 && err.contains("without a report"),
        "{code} {err}"
    );
}

#[test]
fn an_image_that_stays_after_its_exit_line_is_ended() {
    needs!("qemu-system-x86_64");
    let (dir, image) = in_directory("stays", "stays", Code::default().report("exit 9").halt());
    let (code, _, err) = complete(&mut runner(&dir, &image));
    assert_eq!(code, 9, "{err}");
}

#[test]
fn report_lines_go_to_a_file() {
    needs!("qemu-system-x86_64");
    let (dir, image) = in_directory(
        "report",
        "image",
        Code::default()
            .report("boot total=3")
            .report("exit 0")
            .end(),
    );
    let file = dir.join("report");
    let (code, _, err) = complete(
        runner(&dir, &image)
            .env("EBB_REPORT", &file)
            .env("EBB_FORWARD", "0:80"),
    );
    let report = fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = report.lines().collect();
    assert!(
        code == 0 && lines[0].starts_with("forward tcp 127.0.0.1:") && lines[0].ends_with(" 80"),
        "{report} {err}"
    );
    assert_eq!(lines[1..], ["boot total=3", "exit 0"]);
}

#[test]
fn a_reader_that_stops_reading_ends_the_image() {
    needs!("qemu-system-x86_64");
    let dir = directory("reader");
    // jmp back over one print, for ever.
    let image = Code::default()
        .print("x")
        .raw(&[0xeb, 0xf7])
        .image(&dir.join("chatty"));
    let mut child = read_by_us(&mut runner(&dir, &image));
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0; 100]).unwrap();
    drop(output);
    let (code, _, err) = finish(child.wait_with_output().unwrap());
    assert!(code == 141 && err.contains("nobody reads"), "{code} {err}");
}

#[test]
fn a_slow_reader_loses_nothing_and_does_not_delay_a_signal() {
    needs!("qemu-system-x86_64");
    let (dir, image) = in_directory(
        "slow",
        "chatty",
        Code::default().print("x").raw(&[0xeb, 0xf7]),
    );
    let mut child = read_by_us(&mut runner(&dir, &image));
    // Nobody reads: the pipes fill up, the image waits.
    std::thread::sleep(Duration::from_millis(700));
    let start = Instant::now();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    // What is in the pipes may still be read.
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(start.elapsed() < Duration::from_secs(8));
    assert!(out.len() >= 4096 && out.iter().all(|b| *b == b'x'));
}

#[test]
fn a_broken_image_is_refused_before_qemu_starts() {
    needs!("qemu-system-x86_64");
    let dir = directory("broken");
    let good = [
        note(b"ebb\0", 1, &[1, 1]),
        note(b"Xen\0", 18, &[crate::common::BASE]),
    ];
    let path = dir.join("broken");
    let refused = |word: &str| {
        let (code, _, err) = complete(runner(&dir, &path).env("EBB_QEMU", "/bin/false"));
        assert!(code == 126 && err.contains(word), "{word}: {code} {err}");
    };
    Code::default().end().image_with(&path, &good[..1]);
    refused("no PVH entry note");
    Code::default()
        .end()
        .image_with(&path, &[note(b"ebb\0", 1, &[2]), good[1].clone()]);
    refused("newer runner");
    Code::default().raw(&[0; 4096]).image(&path);
    let mut bytes = fs::read(&path).unwrap();
    bytes[18] = 183; // AArch64
    fs::write(&path, &bytes).unwrap();
    refused("not a statically linked x86-64");
    bytes[18] = 62;
    bytes[64 + 32..64 + 40].copy_from_slice(&u64::MAX.to_le_bytes()); // size of the segment
    fs::write(&path, &bytes).unwrap();
    refused("shorter than its headers say");
}
