//! Disks of an image: killed in the middle of writes, failing, slow, in use elsewhere.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Output},
    time::Duration,
};

use test_support::{RUNNER, cargo, durable, needs, scratch};

fn image(arguments: &[&str], disk: &str) -> Command {
    let mut command = Command::new(RUNNER);
    command
        .arg(cargo::program("image-disk"))
        .args(arguments)
        .env("EBB_CORES", "2")
        .env("EBB_NET", "none")
        .env("EBB_MEMORY", "256M")
        .env("EBB_TIMEOUT", "120")
        .env("EBB_QUIET", "1")
        .env("EBB_DISK", disk);
    command
}

fn fresh(name: &str) -> PathBuf {
    let path = scratch(name);
    let _ = fs::remove_file(&path);
    path
}

fn console(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Kills the QEMU of a runner.
fn kill_qemu(runner: &mut Child) {
    let id = runner.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let mut killed = false;
    for child in children.split_whitespace().filter_map(|c| c.parse().ok()) {
        // SAFETY: `kill` takes two numbers; the process is a child of the runner that this test has started.
        killed |= unsafe { libc::kill(child, libc::SIGKILL) } == 0;
    }
    if !killed {
        // It has not started QEMU yet.
        let _ = runner.kill();
    }
}

#[test]
fn after_qemu_is_killed_at_any_instant_every_acknowledged_change_is_there_and_nothing_half() {
    needs!("qemu-system-x86_64");
    let disk = fresh("killed.img");
    let setting = format!("{},size=64M", disk.display());
    // Not in the time that the cycles have.
    let _ = cargo::program("image-disk");
    durable::kill_again_and_again(
        durable::cycles(10),
        |numbers| {
            let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
            image(&[&["durable"], &numbers[..]].concat(), &setting)
        },
        kill_qemu,
    );
    fs::remove_file(disk).expect("the disk was made");
}

/// A disk whose second block cannot be read, third not be written, and whose flushes fail.
#[test]
fn errors_of_the_disk_are_errors_of_the_requests_that_they_hit() {
    needs!("qemu-system-x86_64");
    let disk = fresh("errors.img");
    fs::write(&disk, vec![5; 1 << 20]).expect("a place for disks");
    let rules = fresh("errors.conf");
    let rule = |event: &str, sector: &str| {
        format!("[inject-error]\nevent = \"{event}\"\nerrno = \"5\"\n{sector}once = \"off\"\n")
    };
    let text = rule("read_aio", "sector = \"8\"\n")
        + &rule("write_aio", "sector = \"16\"\n")
        + &rule("flush_to_disk", "");
    fs::write(&rules, text).expect("a place for rules");
    let output = image(&["errors"], "")
        .env(
            "EBB_QEMU_ARGS",
            format!(
                "-drive if=none,id=bad,format=raw,file=blkdebug:{}:{} \
                 -device virtio-blk-pci,drive=bad,disable-legacy=on,werror=report,rerror=report",
                rules.display(),
                disk.display()
            ),
        )
        .output()
        .expect("the runner starts");
    let console = console(&output);
    for line in [
        "block 0: read Ok(5), write Ok(())",
        "block 1: read Err(Io), write Ok(())",
        "block 2: read Ok(5), write Err(Io)",
        "block 3: read Ok(5), write Ok(())",
        "flush Err(Io)",
    ] {
        assert!(console.lines().any(|l| l == line), "{line}: {console}");
    }
}

/// At 256 KiB a second, three reads of 1 MiB take seconds.
#[test]
fn while_a_disk_is_slow_for_seconds_the_core_that_waits_does_other_things() {
    needs!("qemu-system-x86_64");
    let disk = fresh("slow.img");
    fs::write(&disk, vec![0; 4 << 20]).expect("a place for disks");
    let output = image(&["slow"], "")
        .env("EBB_CORES", "1")
        .env(
            "EBB_QEMU_ARGS",
            format!(
                "-drive if=none,id=slow,format=raw,file={},throttling.bps-read=1048576 \
                 -device virtio-blk-pci,drive=slow,disable-legacy=on",
                disk.display()
            ),
        )
        .output()
        .expect("the runner starts");
    let console = console(&output);
    let numbers: Vec<u64> = console
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [ticks, ms] = numbers[..] else {
        panic!("{console}");
    };
    assert!(ms > 1_000, "the disk was not slow: {console}");
    // Each tick is a sleep of 10 ms; a busy host may lose half of them.
    assert!(ticks > ms / 20, "{console}");
}

#[test]
fn a_second_machine_on_the_same_file_is_refused_with_a_word() {
    needs!("qemu-system-x86_64");
    let disk = fresh("shared.img");
    let setting = format!("{},size=64M", disk.display());
    let mut first = image(&["durable"], &setting)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the runner starts");
    let mut said = String::new();
    let mut output = std::io::BufReader::new(first.stdout.take().expect("piped"));
    while !said.contains("checked") {
        assert!(
            std::io::BufRead::read_line(&mut output, &mut said).expect("a line") > 0,
            "{said}"
        );
    }
    let second = image(&["durable"], &setting)
        .output()
        .expect("the runner starts");
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    // Also when only QEMU is left.
    first.kill().expect("it runs");
    kill_qemu(&mut first);
    let _ = first.wait();
    assert_eq!(second.status.code(), Some(125), "{text}");
    assert!(
        text.contains("in use") && text.contains("shared.img"),
        "{text}"
    );
    // And once nothing holds it, it opens.
    let mut third = Err(String::new());
    for _ in 0..100 {
        let output = image(&["errors"], &setting)
            .output()
            .expect("the runner starts");
        if output.status.success() {
            third = Ok(());
            break;
        }
        third = Err(String::from_utf8_lossy(&output.stderr).into_owned());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(third, Ok(()));
}

#[test]
fn an_image_and_a_process_open_the_same_file() {
    needs!("qemu-system-x86_64");
    let disk = fresh("both.img");
    let setting = format!("{},size=64M", disk.display());
    let image = |arguments: &[&str]| {
        let output = Command::new(RUNNER)
            .arg(cargo::example("store"))
            .args(arguments)
            .env("EBB_CORES", "1")
            .env("EBB_NET", "none")
            .env("EBB_TIMEOUT", "60")
            .env("EBB_DISK", &setting)
            .output()
            .expect("the runner starts");
        (output.status.code(), console(&output))
    };
    let (status, said) = image(&["put", "greeting", "hello"]);
    assert_eq!((status, said.as_str()), (Some(0), "start 1\n"));
    ebb_hosted::set_disks(&setting).expect("the file's name has no comma");
    let one = ebb_hosted::Config {
        cores: 1,
        pin: false,
    };
    ebb_hosted::run(&one, || async {
        let (store, _) = ebb_store::Store::open_disk(0)
            .await
            .expect("the same store");
        let value = store.get("value/greeting").await.expect("whole");
        assert_eq!(value.as_deref(), Some(&b"hello"[..]));
        let mut batch = ebb_store::Batch::default();
        batch.put("value/answer", "from a process");
        store.commit(batch).await.expect("room");
        store.close().await.expect("flushed");
    });
    let (status, said) = image(&["get", "answer"]);
    assert_eq!(
        status,
        Some(125),
        "the process still holds the file: {said}"
    );
    let copy = fresh("both-copy.img");
    fs::copy(&disk, &copy).expect("room for a copy");
    let setting = copy.display().to_string();
    let output = Command::new(RUNNER)
        .arg(cargo::example("store"))
        .args(["get", "answer"])
        .env("EBB_NET", "none")
        .env("EBB_TIMEOUT", "60")
        .env("EBB_DISK", &setting)
        .output()
        .expect("the runner starts");
    assert_eq!(console(&output), "from a process\nstart 2\n");
}

/// What an image that draws random numbers says, on a CPU without RDRAND; and its numbers.
fn random(rng: &str, devices: &str) -> (String, String) {
    let output = image(&["random"], "")
        .env_remove("EBB_QUIET")
        .env("EBB_RNG", rng)
        .env("EBB_QEMU_ARGS", format!("-cpu max,rdrand=off {devices}"))
        .output()
        .expect("the runner starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    (said, console(&output))
}

#[test]
fn without_rdrand_the_entropy_device_is_asked_and_one_that_never_answers_is_not_waited_for() {
    needs!("qemu-system-x86_64");
    const WARNING: &str = "not fit for keys";
    // The runner adds one by itself.
    let (said, first) = random("1", "");
    assert!(!said.contains(WARNING), "{said}");
    let (_, second) = random("1", "");
    assert!(
        first.starts_with("random [") && first != second,
        "{first}{second}"
    );
    let (said, _) = random("0", "");
    assert!(said.contains(WARNING), "{said}");
    // A device whose host has no random numbers, ever.
    let silent = fresh("silent");
    let name = std::ffi::CString::new(silent.to_str().expect("text")).expect("no zero byte");
    // SAFETY: a path that ends with a zero byte.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let device = "-device virtio-rng-pci,disable-legacy=on,rng=silent";
    let object = format!("rng-random,id=silent,filename={}", silent.display());
    let (said, third) = random("0", &format!("-object {object} {device}"));
    assert!(
        said.contains(WARNING) && third.starts_with("random ["),
        "{said}"
    );
}
