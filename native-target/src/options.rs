//! The kernel command line: typed options, then `--` and the application's arguments.
//!
//! An option is `name=value`. A name that nobody knows and a value that its option does not take
//! are errors that say what would be right; words that Linux would understand are ignored. Besides the machine's own there are those that the
//! image's other crates declare (`ebb::option!`), which the linker gathers. Arguments are
//! percent-encoded where they hold a blank.

use alloc::string::String;
use alloc::vec::Vec;
use ebb_firmware::virtio_mmio::{self, split_appended};
use ebb_runtime::{
    options::{self, Wrong},
    platform::MmioDevice,
};

/// How much of the boot timeline is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeline {
    /// Nothing.
    Off,
    /// One line on the debug console.
    Line,
    /// Also a table on the console.
    Full,
}

/// The options that the machine itself knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Use at most this many cores.
    pub cores: usize,
    /// See [`Timeline`].
    pub timeline: Timeline,
    /// Use the x2APIC and the TSC-deadline timer where the CPU has them.
    pub x2apic: bool,
    /// See `x2apic`.
    pub deadline_timer: bool,
    /// Measure the TSC even if the CPU or the hypervisor tell its frequency.
    pub measure_clock: bool,
    /// Milliseconds between 1970 and the start of the virtual machine, as the runner's clock told.
    pub launched_ms: Option<u64>,
    /// Write the trace to the debug console at the end.
    pub reports_trace: bool,
    /// After a fault, stand still for the runner to write a core file.
    pub stays_for_core_file: bool,
    /// Do not start the core with this APIC ID, as if it were broken.
    pub broken_core: Option<u32>,
}

/// Words that other loaders and their users put on a kernel's command line, for Linux: without meaning here, and no
/// mistake. So are those with a dot in their name, which Linux takes for options of its modules
/// (Linux `Documentation/admin-guide/kernel-parameters.txt`).
const OF_LINUX: [&str; 34] = [
    "BOOT_IMAGE",
    "acpi",
    "apic",
    "clocksource",
    "console",
    "debug",
    "earlycon",
    "earlyprintk",
    "init",
    "initrd",
    "ip6",
    "loglevel",
    "mitigations",
    "nmi_watchdog",
    "noacpi",
    "noapic",
    "nokaslr",
    "nolapic",
    "nomodules",
    "noreplace-smp",
    "nosmp",
    "panic",
    "pci",
    "pcie_ports",
    "quiet",
    "reboot",
    "ro",
    "root",
    "rootflags",
    "rootfstype",
    "rootwait",
    "rw",
    "swiotlb",
    "tsc",
];

/// Whether a word of the command line is one of Linux'.
fn is_of_linux(name: &str) -> bool {
    OF_LINUX.contains(&name) || name.contains('.')
}

/// The words of a command line that are Linux' and mean nothing here.
pub fn ignored(line: &[u8]) -> impl Iterator<Item = &str> {
    let line = core::str::from_utf8(line).unwrap_or_default();
    named(line)
        .map(|(name, _)| name)
        .filter(|name| is_of_linux(name) && *name != virtio_mmio::NAME)
        .filter(|name| options::find(name).is_none())
}

type Set = fn(&mut Options, &str) -> Option<()>;

/// Every option: name, what it takes, how it is set. The table is the documentation's too.
const TABLE: [(&str, &str, Set); 13] = [
    ("cores", "a number from 1 to 64", |o, v| {
        o.cores = v.parse().ok().filter(|n| (1..=64).contains(n))?;
        Some(())
    }),
    ("timeline", "off, line or full", |o, v| {
        o.timeline = match v {
            "off" => Timeline::Off,
            "line" => Timeline::Line,
            "full" => Timeline::Full,
            _ => return None,
        };
        Some(())
    }),
    ("x2apic", "on or off", |o, v| switch(&mut o.x2apic, v)),
    ("deadline-timer", "on or off", |o, v| {
        switch(&mut o.deadline_timer, v)
    }),
    ("measure-clock", "on or off", |o, v| {
        switch(&mut o.measure_clock, v)
    }),
    // For the application: where the host reaches the image's ports. Written by the runner.
    ("forward", "ADDRESS:HOST:GUEST, ...", |_, _| Some(())),
    // For the application: the files that are its disks, for people. Written by the runner.
    ("disk", "FILE; ...", |_, _| Some(())),
    // For the driver of disks: what the volume is called that the machine was booted from. Written by `cargo ebb image`.
    ("boot-volume", "the identifier of a volume", |_, _| Some(())),
    // Written by the runner: the real-time clock tells whole seconds only.
    ("launched", "milliseconds since 1970", |o, v| {
        o.launched_ms = Some(v.parse().ok()?);
        Some(())
    }),
    // Written by monitors, once for each device.
    (virtio_mmio::NAME, virtio_mmio::FORM, |_, v| {
        virtio_mmio::Device::parse(v).map(|_| ())
    }),
    // Written by the runner, which makes a file of it.
    ("trace-report", "on or off", |o, v| {
        switch(&mut o.reports_trace, v)
    }),
    // Written by the runner.
    ("core-file", "on or off", |o, v| {
        switch(&mut o.stays_for_core_file, v)
    }),
    ("broken-core", "an APIC ID", |o, v| {
        o.broken_core = Some(v.parse().ok()?);
        Some(())
    }),
];

/// Of each its name and what it takes, for messages.
static OWN: [(&str, &str); TABLE.len()] = {
    let mut own = [("", ""); TABLE.len()];
    let mut at = 0;
    while at < own.len() {
        own[at] = (TABLE[at].0, TABLE[at].1);
        at += 1;
    }
    own
};

fn switch(flag: &mut bool, value: &str) -> Option<()> {
    *flag = match value {
        "on" => true,
        "off" => false,
        _ => return None,
    };
    Some(())
}

impl Options {
    /// What holds when the command line says nothing.
    pub const DEFAULT: Self = Self {
        cores: 64,
        timeline: Timeline::Line,
        x2apic: true,
        deadline_timer: true,
        measure_clock: false,
        launched_ms: None,
        reports_trace: false,
        stays_for_core_file: false,
        broken_core: None,
    };

    /// Reads the options of a command line; what values the image's other crates take is for [`check_declared`].
    ///
    /// # Errors
    /// See [`Wrong`].
    pub fn parse(line: &[u8]) -> Result<Self, Wrong<'_>> {
        let mut options = Self::DEFAULT;
        for (name, value) in named(text(line)?) {
            if options::find(name).is_some() {
                continue;
            }
            let Some((_, takes, set)) = TABLE.iter().find(|(n, ..)| *n == name) else {
                if is_of_linux(name) {
                    continue;
                }
                return Err(Wrong::Unknown { name, own: &OWN });
            };
            set(&mut options, value).ok_or(Wrong::Refused { name, value, takes })?;
        }
        Ok(options)
    }
}

/// Whether the options that the image's other crates declare have values that they take. Their checks may allocate, so there is a heap.
///
/// # Errors
/// The first that has another one.
pub fn check_declared(line: &[u8]) -> Result<(), Wrong<'_>> {
    for (name, value) in named(text(line)?) {
        if let Some(spec) = options::find(name) {
            spec.check(value)?;
        }
    }
    Ok(())
}

fn text(line: &[u8]) -> Result<&str, Wrong<'_>> {
    core::str::from_utf8(line).map_err(|_| Wrong::NotText {
        given_in: "the command line",
    })
}

/// The virtio devices that the monitor names.
pub fn devices(line: &[u8]) -> impl Iterator<Item = MmioDevice> {
    let line = core::str::from_utf8(line).unwrap_or_default();
    virtio_mmio::devices(line).map(|device| MmioDevice {
        address: device.address,
        length: device.length,
        line: device.line,
    })
}

fn named(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let (own, _) = split_appended(line);
    options::named(own).take_while(|option| *option != ("--", ""))
}

/// The value of an option, whoever's it is. The last one counts.
pub fn value(line: &'static [u8], name: &str) -> Option<&'static str> {
    let line = core::str::from_utf8(line).ok()?;
    named(line)
        .filter(|(n, _)| *n == name)
        .last()
        .map(|(_, value)| value)
}

/// The application's arguments, decoded.
pub fn arguments(line: &'static [u8]) -> Vec<&'static str> {
    let Ok(line) = core::str::from_utf8(line) else {
        return Vec::new();
    };
    let (own, _) = split_appended(line);
    let words = own
        .split_ascii_whitespace()
        .skip_while(|word| *word != "--")
        .skip(1);
    words
        .map(|word| {
            if word == "%" {
                // An empty argument.
                ""
            } else if word.contains('%') {
                &*decode(word).leak()
            } else {
                word
            }
        })
        .collect()
}

/// Percent-decoding, and `%` alone is the empty argument; another percent sign that begins no code
/// stands for itself.
fn decode(word: &str) -> String {
    if word == "%" {
        return String::new();
    }
    let bytes = word.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let code = bytes
            .get(i + 1..i + 3)
            .and_then(|hex| core::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[i], code) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 3;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
