//! The names of the `EBB_*` variables: what `--help` says of each, and what was meant by one that nothing reads.

use std::ffi::OsStr;

/// One line of `--help`.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The form of its value.
    pub value: &'static str,
    /// What it does and what happens without it.
    pub help: &'static str,
}

const fn var(name: &'static str, value: &'static str, help: &'static str) -> Variable {
    Variable { name, value, help }
}

/// Every variable the runner knows.
pub const VARIABLES: &[Variable] = &[
    var(
        "EBB_CORES",
        "N",
        "cores, 1 to 64 (default: the host's, at most 8)",
    ),
    var(
        "EBB_MEMORY",
        "SIZE",
        "memory, with suffix M or G (default: 512M, and what the boot archive takes)",
    ),
    var(
        "EBB_FORWARD",
        "HOST:GUEST[,...]",
        "forward a TCP port of 127.0.0.1 to the image; udp:HOST:GUEST for UDP, \
         ADDRESS:HOST:GUEST to listen elsewhere; HOST 0 picks a free port and says which",
    ),
    var(
        "EBB_NET",
        "KIND[;...]",
        "user (default) | none | tap:INTERFACE[,queues=N][,mac=MAC][,vhost]; several network cards are separated by `;`",
    ),
    var(
        "EBB_CHANNEL",
        "NAME=unix:PATH[;...]",
        "a channel of the image (virtio-serial) by its name: QEMU listens on the Unix socket, and one program at a time connects",
    ),
    var(
        "EBB_VSOCK",
        "unix:PATH|CID",
        "a socket device: programs of the host connect to PATH and write `CONNECT PORT` for a port of the image, and listen at PATH_PORT \
         (by vhost-device-vsock); or a context identifier in the host's kernel",
    ),
    var(
        "EBB_DISK",
        "FILE[,...]",
        "a disk: a file or block device, made (sparse) if it is not there; ,size=4G ,format=raw|qcow2 \
         ,cache=writeback|none|writethrough|directsync|unsafe ,readonly; several are separated by `;`",
    ),
    var(
        "EBB_MACHINE",
        "q35|pc|microvm",
        "the board: q35 (default), pc (the one before PCI Express), microvm (neither PCI nor ACPI: \
         devices at addresses of their own, one queue for each)",
    ),
    var(
        "EBB_RNG",
        "1|0",
        "a virtio entropy device, from which the image seeds its random numbers beside what the CPU has (default: 1)",
    ),
    var(
        "EBB_RDRAND",
        "1|0",
        "whether the CPU has RDRAND and RDSEED, by which programs draw random numbers unseen (default: 1, or what the image says)",
    ),
    var(
        "EBB_ACCEL",
        "kvm|tcg",
        "accelerator (default: KVM if the CPU has vmx or svm and /dev/kvm opens, else TCG)",
    ),
    var(
        "EBB_TIMEOUT",
        "SECONDS",
        "end an image that runs longer, with status 124 and a report of where its cores are",
    ),
    var(
        "EBB_GDB",
        "1|PORT",
        "wait for gdb before the first instruction (port 1234 or PORT)",
    ),
    var(
        "EBB_OPTIONS",
        "'NAME=VALUE ...'",
        "options for the image's kernel, such as timeline=full",
    ),
    var(
        "EBB_ARCHIVE",
        "FILE",
        "boot archive handed to the image, instead of the one that its manifest describes",
    ),
    var(
        "EBB_FILES",
        "PATH[:...]",
        "further files and directories for the boot archive, under their own paths",
    ),
    var(
        "EBB_NODE",
        "PROGRAM",
        "the Node.js to pack (default: node in PATH)",
    ),
    var(
        "EBB_PYTHON",
        "PROGRAM",
        "the Python to pack, where an image takes one (default: /usr/bin/python3, if it is there)",
    ),
    var(
        "EBB_CONSOLE",
        "line|raw",
        "line (default): the terminal stays as it is; raw: every key goes to the image, Ctrl-] ends it",
    ),
    var(
        "EBB_REPORT",
        "FILE",
        "write the image's report lines (boot ..., exit ...) there",
    ),
    var(
        "EBB_TRACE",
        "FILE",
        "trace events from the first on, and write the time line there at the end (for ui.perfetto.dev)",
    ),
    var(
        "EBB_CORE",
        "FILE",
        "write a core file there, for gdb, when the image stops by a fault or EBB_TIMEOUT; see cargo ebb debug --core",
    ),
    var("EBB_QUIET", "1", "say nothing unless something goes wrong"),
    var(
        "EBB_QEMU",
        "PROGRAM",
        "the QEMU to use (default: qemu-system-x86_64 in PATH)",
    ),
    var(
        "EBB_QEMU_ARGS",
        "'ARG ...'",
        "further QEMU arguments, split as a shell would",
    ),
    var(
        "EBB_FIRMWARE",
        "qboot|seabios",
        "firmware (default: qboot, which is faster, if the image says that it assigns PCI addresses itself)",
    ),
    var(
        "EBB_NO_INSTALL",
        "1",
        "do not install QEMU when it is missing",
    ),
];

/// Variables of other parts of ebb, which the runner leaves alone.
const FOREIGN: &[&str] = &[
    "EBB_PLATFORM",
    // Processes'; a core of an image halts at once.
    "EBB_IDLE_POLL",
    // The tests'.
    "EBB_BOOTS",
    "EBB_CLONES",
    "EBB_CYCLES",
    "EBB_CYCLES_SECONDS",
    "EBB_LONG",
    "EBB_SKIP",
    "EBB_SOAK",
];

/// A warning for each `EBB_*` variable among `names` that neither the runner nor the image reads, with the likely meaning.
pub fn unknown_variables<'a>(
    names: impl Iterator<Item = &'a OsStr>,
    of_image: &[String],
) -> Vec<String> {
    let known = || {
        VARIABLES
            .iter()
            .map(|v| v.name)
            .chain(FOREIGN.iter().copied())
            .chain(of_image.iter().map(String::as_str))
    };
    let mut warnings: Vec<String> = names
        .filter_map(OsStr::to_str)
        .filter(|name| name.starts_with("EBB_") && !known().any(|k| k == *name))
        .map(|name| {
            let hint = meant(name, known())
                .map(|k| format!("; did you mean {k}?"))
                .unwrap_or_default();
            format!("nothing reads the variable {name}{hint}")
        })
        .collect();
    warnings.sort();
    warnings
}

/// Which of the names that there are was meant: the only one that begins so, or one that is two edits away at most.
fn meant<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let mut longer = known.clone().filter(|k| k.starts_with(name));
    if let (Some(only), None) = (longer.next(), longer.next()) {
        return Some(only);
    }
    let near = known.map(|k| (distance(name, k), k)).min()?;
    (near.0 <= 2).then_some(near.1)
}

/// Edits (insert, delete, replace, exchange of neighbours) between two short ASCII names.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 2..i] == [b[j - 1], b[j - 2]] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_pointed_out() {
        let names = [
            "EBB_CORED",
            "EBB_CORES",
            "EBB_PLATFORM",
            "HOME",
            "EBB_XYZZY",
            "EBB_COERS",
            "EBB_MEM",
            "EBB_QEMUARGS",
        ]
        .map(OsStr::new);
        assert_eq!(
            unknown_variables(names.into_iter(), &["EBB_AUTH".into()]),
            [
                "nothing reads the variable EBB_COERS; did you mean EBB_CORES?",
                "nothing reads the variable EBB_CORED; did you mean EBB_CORE?",
                "nothing reads the variable EBB_MEM; did you mean EBB_MEMORY?",
                "nothing reads the variable EBB_QEMUARGS; did you mean EBB_QEMU_ARGS?",
                "nothing reads the variable EBB_XYZZY",
            ]
        );
    }

    #[test]
    fn the_distance_of_names_counts_edits() {
        for (a, b, d) in [
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("abc", "ab", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("coers", "cores", 1),
        ] {
            assert_eq!(distance(a, b), d);
        }
    }
}
