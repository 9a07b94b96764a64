//! The `EBB_*` environment variables and their parsers.
//!
//! What must hold: a malformed value is an error that names the variable, the value and what is
//! accepted; all errors of one run are reported together.

mod conflicts;
mod names;
pub mod places;

pub use names::{VARIABLES, unknown_variables};

use std::{ffi::OsString, path::PathBuf, time::Duration};

use ebb_disk::Spec;

use crate::channel::Channel;
use crate::net::{Forward, Net};
use crate::vsock::Vsock;

/// What the variables ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Number of cores.
    pub cores: u32,
    /// Guest memory in MiB, if the user says.
    pub memory_mib: Option<u64>,
    /// Forwarded ports.
    pub forwards: Vec<Forward>,
    /// What each network card is connected to.
    pub nets: Vec<Net>,
    /// Channels to the host.
    pub channels: Vec<Channel>,
    /// What its socket device is connected to.
    pub vsock: Option<Vsock>,
    /// The disks.
    pub disks: Vec<Spec>,
    /// The board.
    pub machine: Board,
    /// Whether there is an entropy device.
    pub rng: bool,
    /// Whether the processor has the instructions that draw random numbers.
    pub rdrand: bool,
    /// The accelerator, if the user says.
    pub accel: Option<Accel>,
    /// Time limit.
    pub timeout: Option<Duration>,
    /// Port on which gdb is awaited.
    pub gdb: Option<u16>,
    /// Typed options for the image's kernel.
    pub options: Vec<String>,
    /// Boot archive.
    pub archive: Option<PathBuf>,
    /// How the terminal is used.
    pub console: Console,
    /// Where report lines go.
    pub report: Option<PathBuf>,
    /// Where the trace goes.
    pub trace: Option<PathBuf>,
    /// Where a core file goes.
    pub core: Option<PathBuf>,
    /// No information lines.
    pub quiet: bool,
    /// The user's QEMU.
    pub qemu: Option<PathBuf>,
    /// Further arguments for QEMU.
    pub qemu_args: Vec<String>,
    /// The firmware, if the user says.
    pub firmware: Option<Firmware>,
    /// Never install anything.
    pub no_install: bool,
}

/// How many virtio devices QEMU's microvm has room for, without ACPI.
pub const MICROVM_DEVICES: usize = 8;

/// How many cores qboot's MP table has room for.
const MICROVM_CORES: u32 = 40;

/// The board, by QEMU's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// PCI Express and ACPI.
    Q35,
    /// PCI and ACPI.
    Pc,
    /// Neither.
    Microvm,
}

/// What executes the guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// The CPU's virtualization.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

/// How the terminal is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// Line by line, Ctrl-C ends the image.
    Line,
    /// Key by key, Ctrl-] ends the image.
    Raw,
}

/// What runs before the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// Minimal: ACPI tables and memory map, but no PCI addresses.
    Qboot,
    /// QEMU's default.
    SeaBios,
}

impl Config {
    /// The user's memory, else 512 MiB and room for the boot archive; MiB.
    pub fn memory(&self, archive_bytes: u64) -> u64 {
        self.memory_mib
            .unwrap_or(512 + archive_bytes.div_ceil(64 << 20) * 64)
    }
}

/// Reads the variables through `get`. `host_cores` is how many cores the host has.
///
/// # Errors
/// One message per malformed variable.
pub fn parse(
    get: impl Fn(&str) -> Option<OsString>,
    host_cores: u32,
) -> Result<Config, Vec<String>> {
    let mut reader = Reader {
        get: &get,
        errors: Vec::new(),
    };
    let config = Config {
        cores: reader
            .value("EBB_CORES", parse_cores)
            .unwrap_or(host_cores.clamp(1, 8)),
        memory_mib: reader.value("EBB_MEMORY", parse_memory),
        forwards: reader
            .value("EBB_FORWARD", Forward::parse_list)
            .unwrap_or_default(),
        channels: reader
            .value("EBB_CHANNEL", Channel::parse_list)
            .unwrap_or_default(),
        vsock: reader.value("EBB_VSOCK", Vsock::parse),
        nets: reader
            .value("EBB_NET", Net::parse_list)
            .unwrap_or_else(|| vec![Net::User]),
        disks: reader
            .value("EBB_DISK", Spec::parse_list)
            .unwrap_or_default(),
        machine: reader
            .value("EBB_MACHINE", parse_machine)
            .unwrap_or(Board::Q35),
        rng: reader.value("EBB_RNG", parse_flag).unwrap_or(true),
        rdrand: reader.value("EBB_RDRAND", parse_flag).unwrap_or(true),
        accel: reader.value("EBB_ACCEL", parse_accel),
        timeout: reader.value("EBB_TIMEOUT", parse_timeout),
        gdb: reader.value("EBB_GDB", parse_gdb).flatten(),
        options: reader
            .value("EBB_OPTIONS", parse_options)
            .unwrap_or_default(),
        archive: reader.path("EBB_ARCHIVE"),
        console: reader
            .value("EBB_CONSOLE", parse_console)
            .unwrap_or(Console::Line),
        report: reader.path("EBB_REPORT"),
        trace: reader.path("EBB_TRACE"),
        core: reader.value("EBB_CORE", parse_core_file),
        quiet: reader.value("EBB_QUIET", parse_flag).unwrap_or(false),
        qemu: reader.path("EBB_QEMU"),
        qemu_args: reader
            .value("EBB_QEMU_ARGS", parse_qemu_args)
            .unwrap_or_default(),
        firmware: reader.value("EBB_FIRMWARE", parse_firmware),
        no_install: reader.value("EBB_NO_INSTALL", parse_flag).unwrap_or(false),
    };
    reader.errors.extend(conflicts::of(&config));
    if reader.errors.is_empty() {
        Ok(config)
    } else {
        Err(reader.errors)
    }
}

/// Reads variables and gathers what is wrong with them. An empty value counts as absent.
struct Reader<'a> {
    get: &'a dyn Fn(&str) -> Option<OsString>,
    errors: Vec<String>,
}

impl Reader<'_> {
    fn path(&self, name: &str) -> Option<PathBuf> {
        (self.get)(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    }

    fn value<T>(&mut self, name: &str, parse: fn(&str) -> Result<T, String>) -> Option<T> {
        let raw = (self.get)(name).filter(|v| !v.is_empty())?;
        let parsed = raw
            .to_str()
            .ok_or_else(|| "text in UTF-8".to_string())
            .and_then(parse);
        parsed
            .map_err(|wanted| {
                self.errors
                    .push(format!("{name} is `{}`; accepted: {wanted}", raw.display()))
            })
            .ok()
    }
}

fn parse_cores(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|n| (1..=64).contains(n))
        .ok_or_else(|| "a number from 1 to 64".into())
}

/// MiB of `512M`, `2G`, `512MiB`, `2GB`.
fn parse_memory(text: &str) -> Result<u64, String> {
    let wanted = || "a size such as 512M or 2G, from 16M to 1024G".to_string();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wanted())?;
    let mib = match unit.to_ascii_uppercase().as_str() {
        "M" | "MB" | "MIB" => Some(number),
        "G" | "GB" | "GIB" => number.checked_mul(1024),
        _ => None,
    };
    mib.filter(|m| (16..=1024 * 1024).contains(m))
        .ok_or_else(wanted)
}

fn parse_machine(text: &str) -> Result<Board, String> {
    match text {
        "q35" => Ok(Board::Q35),
        "pc" => Ok(Board::Pc),
        "microvm" => Ok(Board::Microvm),
        _ => Err("q35, pc or microvm".into()),
    }
}

fn parse_accel(text: &str) -> Result<Accel, String> {
    match text {
        "kvm" => Ok(Accel::Kvm),
        "tcg" => Ok(Accel::Tcg),
        _ => Err("kvm or tcg".into()),
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    seconds
        .filter(|s| *s > 0.0 && *s <= 1e8)
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a number of seconds above 0, such as 10 or 0.5".into())
}

fn parse_gdb(text: &str) -> Result<Option<u16>, String> {
    match text.parse() {
        Ok(0) => Ok(None),
        Ok(1) => Ok(Some(1234)),
        Ok(port) => Ok(Some(port)),
        Err(_) => Err("1 (port 1234), a port number, or 0 for no gdb".into()),
    }
}

/// The kernel's own options: words of printable ASCII, none of them `--`.
fn parse_options(text: &str) -> Result<Vec<String>, String> {
    let words: Vec<String> = text.split_ascii_whitespace().map(str::to_string).collect();
    let fine = |w: &String| w != "--" && w.bytes().all(|b| b.is_ascii_graphic());
    if words.iter().all(fine) {
        Ok(words)
    } else {
        Err("blank-separated words of printable ASCII, none of them `--` (an application's arguments follow the image)"
            .into())
    }
}

fn parse_console(text: &str) -> Result<Console, String> {
    match text {
        "line" => Ok(Console::Line),
        "raw" => Ok(Console::Raw),
        _ => Err("line or raw".into()),
    }
}

fn parse_firmware(text: &str) -> Result<Firmware, String> {
    match text {
        "qboot" => Ok(Firmware::Qboot),
        "seabios" => Ok(Firmware::SeaBios),
        _ => Err("qboot or seabios".into()),
    }
}

fn parse_flag(text: &str) -> Result<bool, String> {
    match text {
        "1" | "yes" | "true" | "on" => Ok(true),
        "0" | "no" | "false" | "off" => Ok(false),
        _ => Err("1 or 0".into()),
    }
}

/// The number of cores has nearly the same name.
fn parse_core_file(text: &str) -> Result<PathBuf, String> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("a file for a core dump; the number of cores is EBB_CORES".into());
    }
    Ok(text.into())
}

fn parse_qemu_args(text: &str) -> Result<Vec<String>, String> {
    shlex::split(text).ok_or_else(|| "words with balanced quotes".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        parse(
            |name| {
                pairs
                    .iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, v)| v.into())
            },
            2,
        )
    }

    #[test]
    fn without_variables_the_machine_has_the_hosts_cores() {
        let config = with(&[]).unwrap();
        assert_eq!((config.cores, config.memory_mib), (2, None));
        assert_eq!(
            (&config.nets[..], config.console, config.quiet),
            (&[Net::User][..], Console::Line, false)
        );
        assert_eq!(parse(|_| None, 96).unwrap().cores, 8);
    }

    #[test]
    fn an_empty_variable_counts_as_absent() {
        assert_eq!(
            with(&[("EBB_CORES", ""), ("EBB_GDB", ""), ("EBB_QEMU", "")]),
            with(&[])
        );
    }

    #[test]
    fn every_variable_is_read() {
        let config = with(&[
            ("EBB_CORES", "4"),
            ("EBB_MEMORY", "2G"),
            ("EBB_FORWARD", "8080:80"),
            ("EBB_NET", "user"),
            ("EBB_DISK", "a.img;b.img,size=1G"),
            ("EBB_ACCEL", "tcg"),
            ("EBB_TIMEOUT", "0.5"),
            ("EBB_GDB", "1"),
            ("EBB_OPTIONS", "timeline=full  cores=2"),
            ("EBB_ARCHIVE", "/a b"),
            ("EBB_CONSOLE", "raw"),
            ("EBB_REPORT", "/r"),
            ("EBB_QUIET", "1"),
            ("EBB_QEMU", "/q"),
            ("EBB_QEMU_ARGS", "-d 'int,cpu reset'"),
            ("EBB_FIRMWARE", "qboot"),
            ("EBB_MACHINE", "pc"),
            ("EBB_NO_INSTALL", "yes"),
        ])
        .unwrap();
        assert_eq!(
            (config.cores, config.memory_mib, config.forwards.len()),
            (4, Some(2048), 1)
        );
        assert_eq!(config.disks.len(), 2);
        assert_eq!((config.accel, config.gdb), (Some(Accel::Tcg), Some(1234)));
        assert_eq!(config.timeout, Some(Duration::from_millis(500)));
        assert_eq!(config.options, ["timeline=full", "cores=2"]);
        assert_eq!(config.qemu_args, ["-d", "int,cpu reset"]);
        assert_eq!(
            (config.console, config.firmware),
            (Console::Raw, Some(Firmware::Qboot))
        );
        assert_eq!(config.machine, Board::Pc);
        assert_eq!(config.archive, Some("/a b".into()));
        assert!(
            config.quiet && config.no_install && config.qemu.is_some() && config.report.is_some()
        );
    }

    #[test]
    fn a_board_is_one_of_three_and_goes_with_the_rest() {
        let error = |pairs: &[(&str, &str)]| with(pairs).unwrap_err().join("\n");
        assert_eq!(
            error(&[("EBB_MACHINE", "virt")]),
            "EBB_MACHINE is `virt`; accepted: q35, pc or microvm"
        );
        let microvm = ("EBB_MACHINE", "microvm");
        assert!(error(&[microvm, ("EBB_FIRMWARE", "seabios")]).contains("q35 or pc"));
        assert!(error(&[microvm, ("EBB_NET", "tap:t0,queues=2")]).contains("q35 or pc"));
        assert!(error(&[microvm, ("EBB_CORES", "41")]).contains("40 cores"));
        assert!(with(&[microvm, ("EBB_CORES", "40")]).is_ok());
        let six = ("EBB_DISK", "a;b;c;d;e;f");
        assert_eq!(with(&[microvm, six]).unwrap().machine, Board::Microvm);
        let seven = ("EBB_DISK", "a;b;c;d;e;f;g");
        assert!(error(&[microvm, seven]).contains("room for 8"));
        assert!(with(&[microvm, seven, ("EBB_RNG", "0")]).is_ok());
        assert_eq!(with(&[]).unwrap().machine, Board::Q35);
    }

    #[test]
    fn an_archive_adds_to_the_default_memory_only() {
        assert_eq!(
            [0, 1, 64 << 20, (64 << 20) + 1].map(|b| with(&[]).unwrap().memory(b)),
            [512, 576, 576, 640]
        );
        assert_eq!(
            with(&[("EBB_MEMORY", "128M")]).unwrap().memory(1 << 30),
            128
        );
    }

    #[test]
    fn sizes_have_a_unit_and_bounds() {
        for (text, mib) in [
            ("16M", 16),
            ("512m", 512),
            ("1MiB", 0),
            ("2GiB", 2048),
            ("16GB", 16384),
            ("1024G", 1 << 20),
        ] {
            assert_eq!(parse_memory(text).ok(), (mib > 0).then_some(mib), "{text}");
        }
        for text in [
            "512",
            "",
            "G",
            "-1G",
            "1.5G",
            "15M",
            "1025G",
            "99999999999999999999G",
            "18446744073709551615G",
            "2T",
        ] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_malformed_value_is_named_with_what_is_accepted_and_all_are_reported() {
        let bad = [
            ("EBB_CORES", "65", "1 to 64"),
            ("EBB_MEMORY", "many", "512M"),
            ("EBB_FORWARD", "80", "HOST:GUEST"),
            ("EBB_NET", "wifi", "tap:INTERFACE"),
            ("EBB_DISK", "a,format=vmdk", "format=raw|qcow2"),
            ("EBB_ACCEL", "hvf", "kvm or tcg"),
            ("EBB_TIMEOUT", "-1", "seconds"),
            ("EBB_TIMEOUT", "NaN", "seconds"),
            ("EBB_GDB", "yes", "1 (port 1234)"),
            ("EBB_OPTIONS", "a -- b", "--"),
            ("EBB_CONSOLE", "cooked", "line or raw"),
            ("EBB_CORE", "4", "EBB_CORES"),
            ("EBB_QUIET", "maybe", "1 or 0"),
            ("EBB_QEMU_ARGS", "'open", "quotes"),
            ("EBB_FIRMWARE", "ovmf", "qboot or seabios"),
        ];
        for (name, value, accepted) in bad {
            let errors = with(&[(name, value)]).unwrap_err();
            assert_eq!(errors.len(), 1);
            let error = &errors[0];
            assert!(
                error.starts_with(&format!("{name} is `{value}`")) && error.contains(accepted),
                "{error}"
            );
        }
        assert_eq!(
            with(&[("EBB_CORES", "0"), ("EBB_MEMORY", "0")])
                .unwrap_err()
                .len(),
            2
        );
    }

    #[test]
    fn ports_cannot_be_forwarded_to_a_tap_device_or_to_no_network() {
        for (net, why) in [("tap:t0", "its own address"), ("none", "no network")] {
            let errors = with(&[("EBB_NET", net), ("EBB_FORWARD", "1:1")]).unwrap_err();
            assert!(
                errors[0].contains("EBB_NET=user") && errors[0].contains(why),
                "{errors:?}"
            );
        }
    }
}
