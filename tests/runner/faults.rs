//! Every way in which the runner's surroundings can fail, with QEMUs that are shell scripts.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use test_support::needs;

use crate::common::{
    BASE, Code, Directory, complete, directory, eventually, fake_qemu, finish, is_alive, note,
    qemu_of, runner, write_program,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn image(dir: &Path) -> PathBuf {
    Code::default()
        .report("exit 0")
        .end()
        .image(&dir.join("image"))
}

/// Runs an image with a fake QEMU of these lines.
fn with_qemu(test: &str, lines: &str) -> (i32, String, String) {
    let dir = directory(test);
    let qemu = fake_qemu(&dir.join("qemu"), lines);
    complete(runner(&dir, &image(&dir)).env("EBB_QEMU", qemu))
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

#[test]
fn a_program_that_is_no_image_is_executed_as_it_is() {
    let dir = directory("other");
    let (code, out, err) =
        complete(runner(&dir, Path::new("/bin/sh")).args(["-c", "echo $0 $1; exit 3", "a", "b c"]));
    assert_eq!((code, out.as_str(), err.as_str()), (3, "a b c\n", ""));
    let script = write_program(&dir.join("script"), b"#!/bin/sh\necho script\n");
    assert_eq!(complete(&mut runner(&dir, &script)).1, "script\n");
    let (code, out, _) = complete(runner(&dir, Path::new("script")).current_dir(&*dir));
    assert_eq!((code, out.as_str()), (0, "script\n"));
}

#[test]
fn a_file_that_is_neither_image_nor_program_is_named() {
    let dir = directory("neither");
    fs::write(dir.join("text"), "text").unwrap();
    fs::write(dir.join("empty"), "").unwrap();
    for (file, status, word) in [
        ("text", 126, "neither an ebb image nor a program"),
        ("empty", 126, "neither"),
        ("missing", 127, "No such file"),
        (".", 126, "is a directory"),
    ] {
        let (code, _, err) = complete(&mut runner(&dir, &dir.join(file)));
        assert!(
            code == status && err.contains(word) && err.contains(file),
            "{file}: {code} {err}"
        );
    }
}

#[test]
fn every_malformed_variable_is_reported_at_once() {
    let dir = directory("malformed");
    let (code, out, err) = complete(
        runner(&dir, &image(&dir))
            .env("EBB_CORES", "none")
            .env("EBB_MEMORY", "1"),
    );
    assert_eq!((code, out.as_str()), (125, ""));
    assert!(
        err.contains("EBB_CORES is `none`; accepted: ")
            && err.contains("EBB_MEMORY is `1`; accepted: "),
        "{err}"
    );
}

#[test]
fn every_place_that_cannot_be_used_is_reported_at_once_before_qemu_is_looked_for() {
    let dir = directory("places");
    let (code, out, err) = complete(
        runner(&dir, &image(&dir))
            .env("EBB_QEMU", "/no/such/qemu")
            .env("EBB_CORE", "/no/such/core")
            .env("EBB_TRACE", dir.join("missing/trace"))
            .env("EBB_DISK", "/no/such/disk")
            .env("EBB_CHANNEL", "log=unix:/no/such/socket")
            .env("EBB_ARCHIVE", "/no/such/archive"),
    );
    assert_eq!((code, out.as_str()), (125, ""));
    for name in [
        "EBB_CORE",
        "EBB_TRACE",
        "EBB_DISK",
        "EBB_CHANNEL",
        "EBB_ARCHIVE",
    ] {
        assert!(err.contains(&format!("{name} is `")), "{name}: {err}");
    }
    assert!(
        !err.contains("EBB_QEMU") && err.contains("mkdir -p /no/such"),
        "{err}"
    );
}

#[test]
fn further_files_of_an_image_without_an_archive_are_a_warning() {
    let dir = directory("nofiles");
    let qemu = fake_qemu(&dir.join("qemu"), "echo exit 0 >$report");
    let (code, _, err) = complete(
        runner(&dir, &image(&dir))
            .env("EBB_QEMU", qemu)
            .env("EBB_FILES", "/etc/passwd"),
    );
    assert!(
        code == 0 && err.contains("EBB_FILES is left out: this image takes no boot archive"),
        "{code} {err}"
    );
}

/// What `bake` says of an image, and its exit status.
fn bake(dir: &Path, image: &Path, disk: &Path) -> (i32, String) {
    let mut command = runner(dir, "bake".as_ref());
    let (code, _, err) = complete(command.arg(image).arg("-o").arg(disk));
    (code, err)
}

#[test]
fn an_image_that_makes_nothing_ahead_is_not_booted_to_bake_it() {
    let dir = directory("bake");
    let disk = dir.join("disk");
    let (code, err) = bake(&dir, &image(&dir), &disk);
    assert!(
        code == 125 && err.contains("has nothing to bake"),
        "{code} {err}"
    );
    let mut words = note(
        b"ebb\0",
        3,
        &[
            u32::from_le_bytes(*b"bake"),
            u32::from_le_bytes(*b"s\0\0\0"),
        ],
    );
    words.extend(note(b"ebb\0", 1, &[1, 1]));
    let bakes = Code::default()
        .report("exit 0")
        .end()
        .image_with(&dir.join("bakes"), &[words, note(b"Xen\0", 18, &[BASE])]);
    let (code, err) = bake(&dir, &bakes, &dir.join("missing/disk"));
    assert!(
        code == 125 && err.contains("cannot write ") && err.contains("there is no folder"),
        "{code} {err}"
    );
    assert!(!disk.exists());
}

#[test]
fn a_command_without_its_words_says_its_usage_and_is_no_mistake_with_help() {
    let dir = directory("usage");
    for command in ["pack", "bake", "list", "install"] {
        let usage = format!("usage: ebb-runner {command} ");
        let (code, _, err) = complete(&mut runner(&dir, command.as_ref()));
        assert!(code == 125 && err.contains(&usage), "{code} {err}");
        let (code, out, err) = complete(runner(&dir, command.as_ref()).arg("--help"));
        assert!(code == 0 && out.starts_with(&usage), "{code} {out} {err}");
    }
}

#[test]
fn a_misspelt_variable_is_a_warning() {
    let dir = directory("misspelt");
    let qemu = fake_qemu(&dir.join("qemu"), "echo exit 0 >$report");
    let (code, _, err) = complete(
        runner(&dir, &image(&dir))
            .env("EBB_QEMU", qemu)
            .env("EBB_MEMROY", "1G"),
    );
    assert!(
        code == 0 && err.contains("EBB_MEMROY; did you mean EBB_MEMORY?"),
        "{code} {err}"
    );
}

#[test]
fn a_missing_qemu_is_reported_with_what_to_install() {
    let dir = directory("missing");
    let (code, _, err) = complete(runner(&dir, &image(&dir)).env("PATH", &*dir));
    assert!(
        code == 127 && err.contains("Install it: ") && err.contains("EBB_QEMU"),
        "{code} {err}"
    );
    for wanted in ["/no/such/qemu", "no-such-qemu"] {
        let (code, _, err) = complete(runner(&dir, &image(&dir)).env("EBB_QEMU", wanted));
        assert!(
            code == 127 && err.contains(&format!("EBB_QEMU is `{wanted}`")),
            "{code} {err}"
        );
    }
}

/// A directory for PATH in which `apt-get install` is these lines.
fn with_apt(test: &str, install: &str) -> (Directory, Command) {
    let dir = directory(test);
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).unwrap();
    let apt = format!(
        "#!/bin/sh\necho \"$@\" >>{0}/apt.log\n[ \"$1\" = update ] || {{ {install}\n}}\n",
        dir.display()
    );
    write_program(&bin.join("apt-get"), apt.as_bytes());
    write_program(&bin.join("sudo"), b"#!/bin/sh\nshift\nexec \"$@\"\n");
    for tool in ["sh", "true", "mv"] {
        let _ = symlink(Path::new("/bin").join(tool), bin.join(tool));
    }
    fake_qemu(&dir.join("new"), "echo exit 4 >$report");
    let mut command = runner(&dir, &image(&dir));
    command.env("PATH", &bin).env_remove("EBB_NO_INSTALL");
    (dir, command)
}

fn on_debian() -> bool {
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    os_release
        .lines()
        .any(|line| line.starts_with("ID") && (line.contains("debian") || line.contains("ubuntu")))
}

#[test]
fn on_debian_a_missing_qemu_is_installed_after_saying_so() {
    let dir = directory("install");
    let (_dir, mut command) = with_apt(
        "install",
        &format!("mv {0}/new {0}/bin/qemu-system-x86_64", dir.display()),
    );
    let (code, out, err) = complete(&mut command);
    if !on_debian() {
        assert!(code == 127 && !dir.join("apt.log").exists(), "{err}");
        return;
    }
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
    assert!(
        err.contains("QEMU is missing; installing qemu-system-x86"),
        "{err}"
    );
    assert!(
        fs::read_to_string(dir.join("apt.log"))
            .unwrap()
            .starts_with("install -y ")
    );
}

#[test]
fn a_failing_installation_is_tried_with_new_lists_and_then_reported() {
    let (dir, mut command) = with_apt("failing", "echo no such package >&2; exit 100");
    let (code, _, err) = complete(&mut command);
    assert_eq!(code, 127, "{err}");
    if on_debian() {
        assert!(
            err.contains("no such package") && err.contains("installing it failed"),
            "{err}"
        );
        let log = fs::read_to_string(dir.join("apt.log")).unwrap();
        let verbs: Vec<_> = log
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(verbs, ["install", "update", "install"]);
    }
}

#[test]
fn installing_can_be_forbidden() {
    let (dir, mut command) = with_apt("forbidden", "exit 0");
    let (code, _, err) = complete(command.env("EBB_NO_INSTALL", "1"));
    assert!(code == 127 && !dir.join("apt.log").exists(), "{err}");
    assert!(!on_debian() || err.contains("EBB_NO_INSTALL"), "{err}");
}

#[test]
fn what_a_socket_device_needs_is_named_with_what_installs_it() {
    let (dir, mut command) = with_apt("vsock", "exit 0");
    fake_qemu(&dir.join("bin/qemu-system-x86_64"), "echo exit 0 >$report");
    let vsock = format!("unix:{}/v", dir.display());
    command.env("EBB_VSOCK", vsock).env("CARGO_HOME", &*dir);
    let (code, _, err) = complete(&mut command);
    assert_eq!(code, 127, "{err}");
    assert!(
        err.contains("there is no Cargo to install it with"),
        "{err}"
    );
    let (code, _, err) = complete(command.env("EBB_NO_INSTALL", "1"));
    assert_eq!(code, 127, "{err}");
    for part in [
        "EBB_NO_INSTALL forbids",
        "cargo install --locked vhost-device-vsock",
        "modprobe vhost_vsock",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    // One that ends at once says why.
    fake_qemu(
        &dir.join("bin/vhost-device-vsock"),
        "echo no luck >&2; exit 1",
    );
    let (code, _, err) = complete(&mut command);
    assert_eq!(code, 125, "{err}");
    assert!(err.contains("it ended at once: no luck"), "{err}");
}

/// A program in place of vhost-device-vsock that takes QEMU's connection, and fails when it is told to.
const ENDING_DEVICE: &str = r#"#!/usr/bin/env python3
import os, socket, sys, time
options = dict(word[2:].split("=", 1) for word in sys.argv[1:])
listener = socket.socket(socket.AF_UNIX)
listener.bind(options["socket"])
listener.listen()
taken = listener.accept()
while not os.path.exists(options["uds-path"] + "-fail"): time.sleep(0.01)
sys.exit("no more luck")
"#;

#[test]
fn a_socket_device_that_ends_is_told_of_while_the_image_runs() {
    let (dir, mut command) = with_apt("vsock-ends", "exit 0");
    let (fail, end) = (dir.join("v-fail"), dir.join("end"));
    // The image fails it, and ends by itself only when this test has read of that.
    fake_qemu(
        &dir.join("bin/qemu-system-x86_64"),
        &format!(
            "echo up >{fail}\nwhile [ ! -e {end} ]; do sleep 0.05; done\necho exit 0 >$report",
            fail = fail.display(),
            end = end.display()
        ),
    );
    write_program(
        &dir.join("bin/vhost-device-vsock"),
        ENDING_DEVICE.as_bytes(),
    );
    for tool in ["sleep", "env", "python3"] {
        let found = Path::new("/usr/bin").join(tool);
        let _ = symlink(fs::canonicalize(found).unwrap(), dir.join("bin").join(tool));
    }
    let vsock = format!("unix:{}/v", dir.display());
    command.env("EBB_VSOCK", vsock).stderr(Stdio::piped());
    let mut runner = command.spawn().unwrap();
    let mut lines = BufReader::new(runner.stderr.take().unwrap()).lines();
    let told = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.contains("has ended before the image (status 1)"));
    let told = told.expect("it is told of before the time limit");
    assert!(told.ends_with("is not told: no more luck"), "{told}");
    fs::write(end, "").unwrap();
    let more: Vec<_> = lines.map_while(Result::ok).collect();
    assert!(!more.iter().any(|line| line.contains("vhost")), "{more:?}");
    assert_eq!(runner.wait().unwrap().code(), Some(0));
}

/// The runner told to install `tools`, with `install` as the lines of `apt-get install`.
fn install_tools(test: &str, tools: &[&str], install: &str) -> (Directory, Command) {
    let (dir, found) = with_apt(test, install);
    let mut command = runner(&dir, "install".as_ref());
    command.args(tools).env_remove("EBB_NO_INSTALL");
    let path = found.get_envs().find(|(name, _)| *name == "PATH");
    command.env("PATH", path.and_then(|(_, value)| value).unwrap());
    (dir, command)
}

#[test]
fn what_tests_need_is_installed_at_once_after_saying_so_and_only_where_it_is_missing() {
    let tools = ["sh", "redis-server", "busybox"];
    let (dir, mut command) = install_tools("tools", &tools, "exit 0");
    let (code, out, err) = complete(&mut command);
    if !on_debian() {
        assert!(code == 127 && !dir.join("apt.log").exists(), "{err}");
        return;
    }
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let said = "missing: redis-server, busybox; installing redis-server busybox-static with";
    assert!(err.contains(said), "{err}");
    let log = fs::read_to_string(dir.join("apt.log")).unwrap();
    assert!(
        log.lines().count() == 1 && log.trim().ends_with(" redis-server busybox-static"),
        "{log}"
    );
}

#[test]
fn where_nothing_may_be_installed_the_packages_are_named() {
    let (dir, mut command) = install_tools("refused", &["redis-server"], "exit 0");
    let (code, _, err) = complete(command.env("EBB_NO_INSTALL", "1"));
    assert!(
        code == 127 && err.contains("apt-get install redis-server"),
        "{code} {err}"
    );
    assert!(!dir.join("apt.log").exists());
    let (_dir, mut command) = install_tools("unknown", &["no-such-tool"], "exit 0");
    let (code, _, err) = complete(&mut command);
    assert!(code == 127 && err.contains("no-such-tool"), "{code} {err}");
}

#[test]
fn an_old_qemu_is_refused_with_its_version() {
    let dir = directory("old");
    let old = write_program(
        &dir.join("qemu"),
        b"#!/bin/sh\necho 'QEMU emulator version 5.2.0 (Debian 1:5.2)'\n",
    );
    for _ in 0..2 {
        let (code, _, err) = complete(runner(&dir, &image(&dir)).env("EBB_QEMU", &old));
        assert!(
            code == 125 && err.contains("is QEMU 5.2; 6.0 or newer is needed"),
            "{code} {err}"
        );
    }
}

#[test]
fn a_program_that_is_no_qemu_is_refused() {
    let dir = directory("noqemu");
    let (code, _, err) = complete(runner(&dir, &image(&dir)).env("EBB_QEMU", "/bin/echo"));
    assert!(
        code == 125 && err.contains("does not look like QEMU: `--version` said `"),
        "{code} {err}"
    );
}

#[test]
fn qemu_is_asked_for_its_version_once() {
    let dir = directory("once");
    let qemu = write_program(
        &dir.join("qemu"),
        format!("#!/bin/sh\necho $1 >>{}/log\ncase $1 in --version) echo QEMU emulator version 7.2;; esac\n", dir.display()).as_bytes(),
    );
    for _ in 0..3 {
        complete(runner(&dir, &image(&dir)).env("EBB_QEMU", &qemu));
    }
    let log = fs::read_to_string(dir.join("log")).unwrap();
    assert_eq!(
        log.lines().filter(|line| *line == "--version").count(),
        1,
        "{log}"
    );
}

#[test]
fn a_port_in_use_is_reported_before_qemu_starts() {
    let dir = directory("port");
    let qemu = fake_qemu(&dir.join("qemu"), "echo started >&2; echo exit 0 >$report");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (variable, value) in [
        ("EBB_FORWARD", format!("{port}:80")),
        ("EBB_GDB", port.to_string()),
    ] {
        let (code, _, err) = complete(
            runner(&dir, &image(&dir))
                .env("EBB_QEMU", &qemu)
                .env(variable, value),
        );
        assert!(
            code == 125 && err.contains(&format!("port {port} of 127.0.0.1 is in use")),
            "{code} {err}"
        );
        assert!(err.contains(variable) && !err.contains("started"), "{err}");
    }
}

#[test]
fn the_command_for_gdb_is_printed() {
    let dir = directory("gdb");
    let qemu = fake_qemu(&dir.join("qemu"), "echo exit 0 >$report");
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut command = runner(&dir, &image(&dir));
    let (_, _, err) = complete(
        command
            .env("EBB_QEMU", qemu)
            .env("EBB_GDB", port.to_string())
            .env("EBB_QUIET", "1"),
    );
    let wanted = format!(
        "gdb {} -ex 'target remote 127.0.0.1:{port}'",
        dir.join("image").display()
    );
    assert!(err.contains(&wanted), "{err}");
}

#[test]
fn a_machine_goes_on_when_nobody_reads_what_the_runner_says() {
    let dir = directory("unread");
    let qemu = fake_qemu(&dir.join("qemu"), "sleep 0.3\ntouch ran");
    let mut child = runner(&dir, &image(&dir))
        .current_dir(&*dir)
        .env("EBB_QEMU", qemu)
        .env("EBB_MISSPELT", "1")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    let status = child.wait().unwrap();
    assert_ne!(status.code(), Some(101), "it has panicked");
    assert!(dir.join("ran").exists(), "{status}");
}

#[test]
fn a_missing_archive_is_reported_by_its_variable() {
    let dir = directory("noarchive");
    for path in ["/no/such/archive", "/tmp"] {
        let (code, _, err) = complete(runner(&dir, &image(&dir)).env("EBB_ARCHIVE", path));
        assert!(
            code == 125 && err.contains(&format!("EBB_ARCHIVE is `{path}`")),
            "{code} {err}"
        );
    }
}

#[test]
fn a_qemu_that_does_not_start_is_explained() {
    let (code, _, err) = with_qemu(
        "nostart",
        "echo 'qemu: Could not set up host forwarding rule' >&2; exit 1",
    );
    assert_eq!(code, 125, "{err}");
    assert!(
        err.contains("qemu: Could not set up") && err.contains("QEMU did not start (status 1)"),
        "{err}"
    );
    assert!(err.contains("Hint: a port of EBB_FORWARD"), "{err}");
}

#[test]
fn a_qemu_that_is_killed_is_explained() {
    let (code, _, err) = with_qemu("killed", "kill -9 $$");
    assert!(
        code == 125 && err.contains("QEMU was killed by signal 9") && err.contains("EBB_MEMORY"),
        "{code} {err}"
    );
}

#[test]
fn the_last_output_and_report_of_a_qemu_that_ends_are_not_lost() {
    let (code, out, err) = with_qemu(
        "last",
        "i=0; while [ $i -lt 2000 ]; do echo 0123456789 $i; i=$((i+1)); done; echo exit 6 >$report; exit 1",
    );
    assert_eq!((code, out.lines().count()), (6, 2000), "{err}");
    assert!(out.ends_with("0123456789 1999\n"));
}

#[test]
fn a_signal_to_the_runner_ends_qemu_and_is_its_exit_status() {
    needs!("qemu-system-x86_64");
    for (sent, status) in [
        (Signal::SIGINT, 130),
        (Signal::SIGTERM, 143),
        (Signal::SIGHUP, 129),
    ] {
        let dir = directory(sent.as_str());
        let image = Code::default().halt().image(&dir.join("image"));
        let child = runner(&dir, &image)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let runner = child.id();

        let qemu = qemu_of(runner);
        signal(runner, sent);
        let (code, _, err) = finish(child.wait_with_output().unwrap());
        assert!(
            code == status && err.contains(&format!("ended by {sent}")),
            "{code} {err}"
        );
        assert!(!err.contains("terminating on signal"), "{err}");
        assert!(!is_alive(qemu));
    }
}

#[test]
fn a_qemu_that_does_not_want_to_end_is_killed() {
    let dir = directory("stubborn");
    let qemu = fake_qemu(
        &dir.join("qemu"),
        "trap '' TERM; echo up; while :; do sleep 0.1; done",
    );
    for signals in [1, 2] {
        let mut command = runner(&dir, &image(&dir));
        let child = command
            .env("EBB_QEMU", &qemu)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let runner = child.id();

        std::thread::sleep(Duration::from_millis(200));
        let qemu = qemu_of(runner);
        let start = Instant::now();
        for _ in 0..signals {
            signal(runner, Signal::SIGINT);
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(finish(child.wait_with_output().unwrap()).0, 130);
        assert!(
            start.elapsed() < Duration::from_secs(if signals == 1 { 8 } else { 2 }),
            "the second signal kills at once"
        );
        assert!(!is_alive(qemu));
    }
}

#[test]
fn no_qemu_survives_a_runner_that_is_killed() {
    needs!("qemu-system-x86_64");
    let dir = directory("orphan");
    let image = Code::default().halt().image(&dir.join("image"));
    let mut child = runner(&dir, &image).stderr(Stdio::null()).spawn().unwrap();
    let runner = child.id();

    let qemu = qemu_of(runner);
    eventually("it is QEMU", || {
        fs::read_to_string(format!("/proc/{qemu}/comm")).is_ok_and(|c| c.starts_with("qemu"))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("QEMU is gone", || !is_alive(qemu));
}

#[test]
fn what_qemu_started_goes_with_it() {
    let dir = directory("group");
    let qemu = fake_qemu(
        &dir.join("qemu"),
        "sleep 1000 & echo $!; echo exit 0 >$report",
    );
    let (code, out, err) = complete(runner(&dir, &image(&dir)).env("EBB_QEMU", qemu));
    assert_eq!(code, 0, "{err}");
    let sleeper: i32 = out.trim().parse().unwrap();
    eventually("it is gone", || !is_alive(sleeper));
}
