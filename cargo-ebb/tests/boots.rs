//! What `cargo ebb image` makes boots on every firmware and machine, and is the same every time.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use test_support::{
    Image, WORKSPACE, cargo,
    invoker::{Invoker, try_ask},
    needs, scratch, tools,
};

/// UEFI, as Debian has it.
const OVMF: &str = "/usr/share/ovmf/OVMF.fd";

/// Makes files of an example; the folder with them.
fn make(example: &str, folder: &str, formats: &str, arguments: &[&str]) -> PathBuf {
    make_and_say(example, folder, formats, arguments).0
}

/// The same, and what was said of it.
fn make_and_say(
    example: &str,
    folder: &str,
    formats: &str,
    arguments: &[&str],
) -> (PathBuf, String) {
    let folder = scratch(folder);
    let _ = fs::remove_dir_all(&folder);
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-ebb"));
    command
        .args([
            "ebb",
            "image",
            "--dev",
            "--example",
            example,
            "--format",
            formats,
            "--output",
        ])
        .arg(&folder)
        .arg("--")
        .args(arguments)
        .current_dir(WORKSPACE)
        .env_remove("SOURCE_DATE_EPOCH");
    cargo::forget_package(&mut command);
    let output = command.output().expect("it is executed");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    (folder, said + &String::from_utf8_lossy(&output.stdout))
}

/// A machine, without the devices that the runner adds.
fn qemu(seconds: u32, cores: u32, memory: &str) -> Command {
    let mut command = Command::new("timeout");
    command
        .args([&*seconds.to_string(), "qemu-system-x86_64"])
        .args(["-accel", "tcg", "-cpu", "max", "-m", memory, "-smp"])
        .arg(cores.to_string())
        .args(["-display", "none", "-serial", "stdio", "-no-reboot"]);
    command
}

/// What a machine prints: one with two cores.
fn boots(machine: &[impl AsRef<std::ffi::OsStr>]) -> String {
    let output = qemu(120, 2, "256M")
        .args(["-net", "none"])
        // All that it is given is a way to end.
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .args(machine)
        .stdin(Stdio::null())
        .output()
        .expect("QEMU is executed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said + &String::from_utf8_lossy(&output.stderr)
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[test]
fn a_disk_and_a_cd_boot_by_bios_and_by_uefi_on_every_machine() {
    if tools::lacks(&EVERYWHERE) {
        return;
    }
    let folder = make("hello", "boots", FORMATS, &[]);
    for machine in machines(&folder, "hello") {
        let said = boots(&machine);
        let greetings = said.matches("hello from core").count();
        assert_eq!(greetings, 2, "{machine:?}:\n{said}");
    }
}

/// What it takes to make and boot those.
const EVERYWHERE: [&str; 6] = [
    "qemu-system-x86_64",
    "grub-mkimage",
    "mformat",
    "xorriso",
    "qemu-img",
    OVMF,
];

/// What [`machines`] boot from.
const FORMATS: &str = "raw,iso,qcow2,kernel";

/// Every firmware and machine, with what it boots from.
fn machines(folder: &Path, name: &str) -> Vec<Vec<String>> {
    let file = |suffix: &str| path(folder, &format!("{name}{suffix}"));
    let raw = format!("file={},format=raw,if=virtio", file(".img"));
    let qcow2 = format!("file={},format=qcow2", file(".qcow2"));
    let (iso, kernel) = (file(".iso"), file(".elf"));
    let machines = [
        &["-M", "pc", "-cdrom", &iso][..],
        &["-M", "pc", "-drive", &raw],
        &["-M", "q35", "-drive", &qcow2],
        &["-M", "pc", "-bios", OVMF, "-drive", &raw],
        &["-M", "q35", "-bios", OVMF, "-cdrom", &iso],
        &["-M", "q35", "-bios", OVMF, "-drive", &raw],
        &["-M", "microvm", "-kernel", &kernel],
    ];
    machines
        .map(|words| words.iter().map(|word| (*word).to_owned()).collect())
        .into()
}

/// Whether services are booted on every machine, and not on few, which takes seconds: `EBB_BOOTS=all`.
fn on_all() -> bool {
    env::var_os("EBB_BOOTS").is_some_and(|which| which == "all")
}

/// Those that a service is booted on; `few` are numbers of machines.
fn chosen(folder: &Path, name: &str, few: &[usize]) -> Vec<Vec<String>> {
    let numbered = machines(folder, name).into_iter().enumerate();
    numbered
        .filter(|(number, _)| on_all() || few.contains(number))
        .map(|(_, machine)| machine)
        .collect()
}

/// Boots a machine with a network; a port of this host leads to its `port`. `command_line` is for what is booted as a kernel: files of
/// the other kinds have it in them.
fn serves(
    machine: &[String],
    (cores, memory): (u32, &str),
    port: u16,
    command_line: &str,
) -> (Image, u16) {
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    let here = free.expect("a free port").port();
    let mut command = qemu(600, cores, memory);
    command
        .args(machine)
        .arg("-netdev")
        .arg(format!("user,id=net,hostfwd=tcp:127.0.0.1:{here}-:{port}"));
    let kernel = machine.iter().position(|word| word == "-kernel");
    let card = match kernel.and_then(|at| machine.get(at + 1)) {
        None => "virtio-net-pci",
        Some(kernel) => {
            let archive = Path::new(kernel).with_extension("archive");
            if archive.exists() {
                command.arg("-initrd").arg(archive);
            }
            command
                .args(["-global", "virtio-mmio.force-legacy=false"])
                .args(["-append", command_line]);
            "virtio-net-device"
        }
    };
    command.args(["-device", &format!("{card},netdev=net")]);
    (Image::start(&mut command), here)
}

#[test]
fn the_webserver_answers_on_every_firmware_and_machine() {
    if tools::lacks(&EVERYWHERE) {
        return;
    }
    let formats = if on_all() { FORMATS } else { "raw,kernel" };
    let folder = make("webserver", "boots-webserver", formats, &[]);
    for machine in chosen(&folder, "webserver", &[5, 6]) {
        let begun = Instant::now();
        let (image, port) = serves(&machine, (2, "256M"), 80, "");
        image.says("10.0.2.15/24");
        let (status, page) = try_ask(port, "GET", "/", "").expect("it answers");
        assert!(
            status == 200 && page.contains("<html"),
            "{machine:?}: {page}"
        );
        println!("{machine:?}: {:.1} s", begun.elapsed().as_secs_f32());
    }
}

/// Its image is a large one, and its archive has Node in it.
#[test]
fn the_invoker_runs_an_action_on_every_firmware_and_machine() {
    needs!("node");
    if tools::lacks(&EVERYWHERE) {
        return;
    }
    let words = ["--auth", "guest:key", "--quiet"];
    let formats = if on_all() { FORMATS } else { "raw" };
    let folder = make("invoker", "boots-invoker", formats, &words);
    for machine in chosen(&folder, "invoker", &[3]) {
        let begun = Instant::now();
        let line = format!("-- {}", words.join(" "));
        let (image, port) = serves(&machine, (1, "2G"), 3233, &line);
        image.says("10.0.2.15/24");
        let invoker = Invoker::of(image, port);
        invoker.deploy(
            "greet",
            "function main(args) { return { greeting: `hello ${args.name}` }; }",
        );
        let (status, answer) = invoker.call("greet", r#"{"name":"disk"}"#);
        assert!(
            status == 200 && answer.contains("hello disk"),
            "{machine:?}: {status} {answer}"
        );
        println!("{machine:?}: {:.1} s", begun.elapsed().as_secs_f32());
    }
    // Hundreds of megabytes.
    fs::remove_dir_all(folder).expect("it was made here");
}

#[test]
fn the_lines_that_are_said_boot_what_was_made_and_give_it_a_network() {
    needs!(
        "qemu-system-x86_64",
        "grub-mkimage",
        "mformat",
        "xorriso",
        "qemu-img"
    );
    let (_, said) = make_and_say("webserver", "boots-lines", "raw,iso,qcow2,kernel", &[]);
    let lines = said.lines().filter_map(|line| {
        let line = &line[line.find("qemu-system-x86_64")?..];
        Some(line.split("; or ").next().expect("a part"))
    });
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 4, "{said}");
    for line in lines {
        let mut machine = Command::new("sh")
            .args(["-c", &format!("exec timeout 60 {line}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("it is executed");
        let console = BufReader::new(machine.stdout.take().expect("its console"));
        let mut lines = console.split(b'\n').map_while(Result::ok);
        let address = lines.any(|line| String::from_utf8_lossy(&line).contains("10.0.2.15"));
        // `timeout` hands this on to QEMU.
        let asked = Command::new("kill").arg(machine.id().to_string()).status();
        assert!(asked.is_ok_and(|status| status.success()));
        machine.wait().expect("it has ended");
        assert!(address, "{line}");
    }
}

#[test]
fn the_boot_archive_and_the_arguments_come_along() {
    needs!("qemu-system-x86_64", "grub-mkimage", "mformat", "xorriso");
    let folder = make(
        "linux",
        "boots-linux",
        "raw,kernel",
        &["/bin/echo", "it's", "a \\ \"b\" $c {d}"],
    );
    let raw = format!("file={},format=raw,if=virtio", path(&folder, "linux.img"));
    let said = boots(&["-M", "q35", "-drive", &raw]);
    assert!(said.contains("it's a \\ \"b\" $c {d}"), "{said}");
}

#[test]
fn the_disk_that_was_booted_from_is_none_of_the_programs() {
    needs!(
        "qemu-system-x86_64",
        "grub-mkimage",
        "mformat",
        "xorriso",
        OVMF
    );
    let folder = make("store", "boots-store", "raw", &["put", "greeting", "hello"]);
    let boot = format!("file={},format=raw,if=virtio", path(&folder, "store.img"));
    let bytes = || fs::read(folder.join("store.img")).expect("it was made");
    let before = bytes();
    let said = boots(&["-M", "pc", "-drive", &boot]);
    assert!(said.contains("there is no disk"), "{said}");
    let data = folder.join("data.img");
    let file = fs::File::create(&data).expect("a file");
    file.set_len(64 << 20).expect("a file system with room");
    let data = format!("file={},format=raw,if=virtio", data.display());
    // Whichever comes first.
    for (start, machine) in [
        &["-M", "q35", "-drive", &boot, "-drive", &data][..],
        &["-M", "q35", "-bios", OVMF, "-drive", &data, "-drive", &boot],
    ]
    .into_iter()
    .enumerate()
    {
        let said = boots(machine);
        assert!(said.contains(&format!("start {}", start + 1)), "{said}");
    }
    assert!(before == bytes(), "it was written to");
}

#[test]
fn the_same_sources_give_the_same_bytes() {
    needs!("qemu-img", "grub-mkimage", "mformat", "xorriso");
    let (one, two) = (
        make("hello", "same-1", "raw,iso,qcow2,kernel,oci", &["x"]),
        make("hello", "same-2", "raw,iso,qcow2,kernel,oci", &["x"]),
    );
    let same = Command::new("diff")
        .arg("-r")
        .args([&one, &two])
        .output()
        .expect("diff");
    assert!(
        same.status.success(),
        "{}",
        String::from_utf8_lossy(&same.stdout)
    );
    // What its index names is there, under the digest of its bytes.
    let index = fs::read_to_string(one.join("hello.oci/index.json")).expect("an index");
    let digest = index
        .split("sha256:")
        .nth(1)
        .and_then(|rest| rest.get(..64))
        .expect("a digest");
    let blob = one.join("hello.oci/blobs/sha256").join(digest);
    let sum = Command::new("sha256sum")
        .arg(&blob)
        .output()
        .expect("sha256sum");
    assert!(String::from_utf8_lossy(&sum.stdout).starts_with(digest));
    assert!(fs::read_to_string(blob).is_ok_and(|text| text.contains("com.urunc.unikernel.binary")));
}
