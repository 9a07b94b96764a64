//! Measures what the runner's choice of machine is worth. The figures of the documentation come
//! from `cargo test -p ebb-runner --release --test startup -- --ignored --nocapture`.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use test_support::needs;

use crate::common::{Code, directory, runner};

const ROUNDS: usize = 21;

/// The median, in milliseconds, of each command's time; the commands take turns.
fn medians(commands: &mut [(&str, Command)]) -> Vec<f64> {
    let mut times = vec![Vec::new(); commands.len()];
    for _ in 0..ROUNDS {
        for ((_, command), times) in commands.iter_mut().zip(&mut times) {
            let start = Instant::now();
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    };
    times.iter_mut().map(median).collect()
}

#[test]
#[ignore = "a measurement of ten seconds"]
fn startup_times() {
    needs!("qemu-system-x86_64");
    let dir = directory("startup");
    let image = Code::default()
        .report("exit 0")
        .end()
        .image(&dir.join("image"));
    let qemu = |arguments: &str| {
        let mut command = Command::new("timeout");
        command.args([
            "20",
            "qemu-system-x86_64",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-m",
            "64M",
            "-kernel",
        ]);
        command.arg(&image).args([
            "-display",
            "none",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=4",
        ]);
        command.args(arguments.split_whitespace());
        command
    };
    let boot = |machine: &str, firmware: &str| {
        let mut command = runner(&dir, &image);
        command
            .env("EBB_MACHINE", machine)
            .env("EBB_FIRMWARE", firmware)
            .env("EBB_ACCEL", "tcg");
        command
    };
    let mut version = Command::new("qemu-system-x86_64");
    version.arg("--version");
    let network = "-netdev user,id=n -device virtio-net-pci,netdev=n,disable-legacy=on,romfile=";
    let mut commands = [
        ("qemu --version", version),
        ("QEMU's q35", qemu("-machine q35")),
        (
            "q35, -nodefaults, network",
            qemu(&format!("-machine q35 -nodefaults {network}")),
        ),
        (
            "microvm with PCI and ACPI",
            qemu(&format!(
                "-machine microvm,pcie=on,acpi=on -nodefaults {network}"
            )),
        ),
        ("runner, q35, SeaBIOS", boot("q35", "seabios")),
        ("runner, q35, qboot", boot("q35", "qboot")),
        ("runner, pc, qboot", boot("pc", "qboot")),
        ("runner, microvm", boot("microvm", "qboot")),
        ("/bin/true", Command::new("/bin/true")),
        ("runner /bin/true", runner(&dir, "/bin/true".as_ref())),
    ];
    let medians = medians(&mut commands);
    for ((name, _), median) in commands.iter().zip(medians) {
        println!("{name:28} {median:7.1} ms");
    }
}
