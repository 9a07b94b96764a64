//! A machine without QEMU, or without Node, or without what the tests run: what to install, and on Debian and its relatives
//! the installation.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd::Uid;

use crate::failure::{Failure, NOT_FOUND};
use crate::tell::tell;

/// Something that can be installed.
pub struct Package {
    /// The program that is missing.
    program: &'static str,
    /// What people call it.
    name: &'static str,
    /// Debian's package; its recommended packages (a GUI, a compiler) are left out.
    debian: &'static str,
    /// The variable that names the program.
    variable: &'static str,
    /// The command for each family of distributions.
    commands: &'static [(&'static str, &'static str)],
    /// For all others.
    otherwise: &'static str,
}

impl Package {
    /// QEMU for x86-64.
    pub const QEMU: Self = Self {
        program: "qemu-system-x86_64",
        name: "QEMU",
        debian: "qemu-system-x86",
        variable: "EBB_QEMU",
        commands: &[
            (
                "debian",
                "sudo apt-get install --no-install-recommends qemu-system-x86",
            ),
            ("fedora", "sudo dnf install qemu-system-x86-core"),
            (
                "rhel",
                "sudo dnf install qemu-kvm, then EBB_QEMU=/usr/libexec/qemu-kvm EBB_ACCEL=kvm",
            ),
            ("arch", "sudo pacman -S qemu-system-x86"),
            ("alpine", "sudo apk add qemu-system-x86_64"),
            ("suse", "sudo zypper install qemu-x86"),
            (
                "gentoo",
                "sudo env QEMU_SOFTMMU_TARGETS=x86_64 emerge app-emulation/qemu",
            ),
            ("void", "sudo xbps-install qemu-system-amd64"),
            ("nixos", "nix-shell -p qemu"),
            ("guix", "guix install qemu"),
        ],
        otherwise: "your distribution's package of QEMU for x86_64 (https://www.qemu.org/download)",
    };

    /// Node.js.
    pub const NODE: Self = Self {
        program: "node",
        name: "Node.js",
        debian: "nodejs",
        variable: "EBB_NODE",
        commands: &[
            (
                "debian",
                "sudo apt-get install --no-install-recommends nodejs",
            ),
            ("fedora", "sudo dnf install nodejs"),
            ("rhel", "sudo dnf install nodejs"),
            ("arch", "sudo pacman -S nodejs"),
            ("alpine", "sudo apk add nodejs"),
            ("suse", "sudo zypper install nodejs"),
            ("gentoo", "sudo emerge net-libs/nodejs"),
            ("void", "sudo xbps-install nodejs"),
        ],
        otherwise: "Node.js 18 to 26 for Linux (https://nodejs.org/download)",
    };
}

/// Programs that tests run, and Debian's packages of them. A path stands for what is no program.
const TOOLS: &[(&str, &[&str])] = &[
    ("busybox", &["busybox-static"]),
    ("cc", &["gcc", "libc6-dev"]),
    ("curl", &["curl", "ca-certificates"]),
    ("etcd", &["etcd-server"]),
    ("/usr/include/event2", &["libevent-dev"]),
    ("gdb", &["gdb"]),
    (
        "grub-mkimage",
        &["grub-common", "grub-pc-bin", "grub-efi-amd64-bin"],
    ),
    ("/usr/lib/grub/i386-pc", &["grub-pc-bin"]),
    ("/usr/lib/grub/x86_64-efi", &["grub-efi-amd64-bin"]),
    ("ip", &["iproute2"]),
    ("kcat", &["kcat"]),
    ("mformat", &["mtools"]),
    ("/usr/share/ovmf/OVMF.fd", &["ovmf"]),
    ("lsof", &["lsof"]),
    ("/usr/sbin/haproxy", &["haproxy"]),
    ("make", &["make"]),
    ("memccapable", &["libmemcached-tools"]),
    ("/usr/sbin/mkfs.ext4", &["e2fsprogs"]),
    ("/usr/sbin/mosquitto", &["mosquitto"]),
    ("mosquitto_sub", &["mosquitto-clients"]),
    ("nginx", &["nginx-light"]),
    ("openssl", &["openssl"]),
    ("nm", &["binutils"]),
    ("node", &["nodejs"]),
    ("npm", &["npm"]),
    ("perl", &["perl"]),
    ("pip3", &["python3-pip"]),
    ("ps", &["procps"]),
    ("/usr/bin/python3", &["python3"]),
    ("/usr/lib/postgresql", &["postgresql"]),
    (
        "/usr/lib/python3/dist-packages/pymemcache",
        &["python3-pymemcache"],
    ),
    ("qemu-img", &["qemu-utils"]),
    ("qemu-system-x86_64", &["qemu-system-x86"]),
    ("redis-benchmark", &["redis-tools"]),
    ("redis-server", &["redis-server"]),
    ("script", &["bsdutils"]),
    ("sqlite3", &["sqlite3"]),
    ("ssh", &["openssh-client"]),
    ("ssh-keygen", &["openssh-client"]),
    ("/usr/sbin/sshd", &["openssh-server"]),
    ("tclsh", &["tcl"]),
    ("tmux", &["tmux"]),
    ("wrk", &["wrk"]),
    ("xorriso", &["xorriso"]),
];

/// Installs what is missing of these programs, all at once, or says which packages have to be installed.
///
/// # Errors
/// With the packages, when they were not installed, and the names that no package is known for.
pub fn install_tools<'a>(
    names: impl Iterator<Item = &'a str>,
    refused: bool,
) -> Result<(), Failure> {
    let is_missing = |name: &str| {
        let path = Path::new(name);
        if path.is_absolute() {
            !path.exists()
        } else {
            in_path(path).is_none()
        }
    };
    let (mut missing, mut packages, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for name in names.filter(|name| is_missing(name)) {
        match TOOLS.iter().find(|(tool, _)| *tool == name) {
            Some((_, debian)) => {
                missing.push(name.rsplit('/').next().unwrap_or(name));
                packages.extend_from_slice(debian);
            }
            None => unknown.push(name),
        }
    }
    if !unknown.is_empty() {
        let unknown = unknown.join(", ");
        return Err(Failure::new(
            NOT_FOUND,
            format!("not found in PATH, and of no known package: {unknown}"),
        ));
    }
    if packages.is_empty() {
        return Ok(());
    }
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let missing = missing.join(", ");
    let failed = |why: &str| {
        let text = format!(
            "missing{why}: {missing}. On Debian: sudo apt-get install {}",
            packages.join(" ")
        );
        Failure::new(NOT_FOUND, text)
    };
    if !is_debian(&os_release) {
        return Err(failed(""));
    }
    if refused {
        return Err(failed(", and EBB_NO_INSTALL forbids to install it"));
    }
    let apt =
        apt().ok_or_else(|| failed(", and installing it needs root or sudo without a password"))?;
    tell!(
        "ebb-runner: missing: {missing}; installing {} with {} (EBB_NO_INSTALL=1 refuses)",
        packages.join(" "),
        apt.join(" ")
    );
    if install_with(&apt, &packages) {
        Ok(())
    } else {
        Err(failed(", and installing it failed (see above)"))
    }
}

/// Installs Debian packages.
fn install_with(apt: &[&str], packages: &[&str]) -> bool {
    let options = [
        "install",
        "-y",
        "-q",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=300",
    ];
    let words = [&options, packages].concat();
    // The package lists may be old or absent.
    run(apt, &words) || (run(apt, &["update", "-q"]) && run(apt, &words))
}

/// Finds a program in PATH.
pub fn in_path(name: &Path) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .map(|dir| dir.join(name))
        .find(|p| is_program(p))
}

/// A path as it is, seen from a folder, or a name found in PATH.
///
/// # Errors
/// When no such program is there.
pub fn find_program(name: &Path, base: &Path) -> Result<PathBuf, Failure> {
    let shown = name.display();
    let missing = |why: String| Failure::new(NOT_FOUND, format!("the program {shown} {why}"));
    let found = if name.components().count() > 1 {
        base.join(name)
    } else {
        in_path(name).ok_or_else(|| {
            missing(format!(
                "is in no folder of PATH; a file of this folder is ./{shown}"
            ))
        })?
    };
    if !found.is_file() {
        let why = if found.is_dir() {
            "is a folder"
        } else {
            "is not there"
        };
        return Err(missing(why.into()));
    }
    std::path::absolute(&found).map_err(|e| Failure::unusable(format!("{}: {e}", found.display())))
}

/// Whether it is a file that can be executed.
pub fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Installs a package, or says what the user has to install.
///
/// # Errors
/// With the command for this distribution, when nothing was installed.
pub fn install(package: &Package, refused: bool) -> Result<(), Failure> {
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let missing = |why: &str| {
        let Package {
            program, variable, ..
        } = package;
        let advice = package.advice(&os_release);
        let text = format!(
            "{program} was not found in PATH{why}. Install it: {advice}\nor set {variable} to the program."
        );
        Failure::new(NOT_FOUND, text)
    };
    if !is_debian(&os_release) {
        return Err(missing(""));
    }
    if refused {
        return Err(missing(", and EBB_NO_INSTALL forbids to install it"));
    }
    let Some(apt) = apt() else {
        return Err(missing(
            ", and installing it needs root or sudo without a password",
        ));
    };
    let Package { name, debian, .. } = package;
    tell!(
        "ebb-runner: {name} is missing; installing {debian} with {} (EBB_NO_INSTALL=1 refuses)",
        apt.join(" ")
    );
    if install_with(&apt, &[debian]) {
        Ok(())
    } else {
        Err(missing(", and installing it failed (see above)"))
    }
}

/// `apt-get`, through `sudo` where that works without a question.
fn apt() -> Option<Vec<&'static str>> {
    if Uid::effective().is_root() {
        return Some(vec!["apt-get"]);
    }
    run(&["sudo"], &["-n", "true"]).then(|| vec!["sudo", "-n", "apt-get"])
}

/// Has Cargo install a program of its registry.
pub fn cargo_install(program: &str) -> bool {
    let mut cargo = Command::new("cargo");
    // Where no configuration of a project is found.
    cargo
        .current_dir("/")
        .args(["install", "--locked", program]);
    succeeds(&mut cargo)
}

fn run(program: &[&str], arguments: &[&str]) -> bool {
    succeeds(
        Command::new(program[0])
            .args(&program[1..])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

fn succeeds(command: &mut Command) -> bool {
    // Standard output belongs to the image.
    command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .is_ok_and(|status| status.success())
}

/// The names of this distribution and those it descends from.
fn families(os_release: &str) -> Vec<String> {
    let value = |key: &str| {
        let line = os_release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default()
            .trim_matches(['"', '\''])
            .to_ascii_lowercase()
    };
    format!("{} {}", value("ID"), value("ID_LIKE"))
        .split_whitespace()
        .map(str::to_string)
        .collect()
}

fn is_debian(os_release: &str) -> bool {
    families(os_release)
        .iter()
        .any(|f| f == "debian" || f == "ubuntu")
}

impl Package {
    /// The command that installs it here.
    fn advice(&self, os_release: &str) -> &'static str {
        let command = |family: &String| {
            // A family by another name.
            let family = match family.as_str() {
                "ubuntu" => "debian",
                "centos" => "rhel",
                other if other.starts_with("opensuse") => "suse",
                other => other,
            };
            self.commands
                .iter()
                .find(|(name, _)| *name == family)
                .map(|(_, command)| *command)
        };
        families(os_release)
            .iter()
            .find_map(command)
            .unwrap_or(self.otherwise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_fits_the_distribution_or_its_parent() {
        for (os_release, word) in [
            ("ID=debian\n", "apt-get"),
            (
                "NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n",
                "apt-get",
            ),
            ("ID=fedora", "dnf"),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "qemu-kvm"),
            ("ID=arch", "pacman"),
            ("ID='manjaro'\nID_LIKE=arch", "pacman"),
            ("ID=alpine", "apk"),
            (
                "ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"",
                "zypper",
            ),
            ("ID=gentoo", "emerge"),
            ("ID=void", "xbps"),
            ("ID=nixos", "nix-shell"),
            ("", "qemu.org"),
            ("ID=plan9", "qemu.org"),
        ] {
            assert!(
                Package::QEMU.advice(os_release).contains(word),
                "{os_release}: {}",
                Package::QEMU.advice(os_release)
            );
        }
    }

    #[test]
    fn only_debian_and_its_relatives_are_installed_on() {
        assert!(is_debian("ID=debian") && is_debian("ID=pop\nID_LIKE=\"ubuntu debian\""));
        assert!(!is_debian("ID=fedora") && !is_debian("VARIANT_ID=debian") && !is_debian(""));
    }
}
