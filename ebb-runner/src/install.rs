//! A machine without QEMU: what to install, and on Debian and its relatives the installation.

use std::{fs, process::Command, process::Stdio};

use nix::unistd::Uid;

use crate::failure::{Failure, NOT_FOUND};

/// Debian's package; its recommended packages (a GUI) are left out.
const DEBIAN_PACKAGE: &str = "qemu-system-x86";

/// Installs QEMU, or says what the user has to install.
///
/// # Errors
/// With the command for this distribution, when nothing was installed.
pub fn install(refused: bool) -> Result<(), Failure> {
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let advice = advice(&os_release);
    let missing = |why: &str| {
        Failure::new(
            NOT_FOUND,
            format!(
                "qemu-system-x86_64 was not found in PATH{why}. Install it: {advice}\n\
                 or set EBB_QEMU to the program."
            ),
        )
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
    eprintln!(
        "ebb-runner: QEMU is missing; installing {DEBIAN_PACKAGE} with {} (EBB_NO_INSTALL=1 refuses)",
        apt.join(" ")
    );
    let try_install = || {
        run(
            &apt,
            &[
                "install",
                "-y",
                "-q",
                "--no-install-recommends",
                "-o",
                "DPkg::Lock::Timeout=300",
                DEBIAN_PACKAGE,
            ],
        )
    };
    // The package lists may be old or absent.
    if try_install() || (run(&apt, &["update", "-q"]) && try_install()) {
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

fn run(program: &[&str], arguments: &[&str]) -> bool {
    // Standard output belongs to the image.
    Command::new(program[0])
        .args(&program[1..])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
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

/// The command that installs QEMU here.
fn advice(os_release: &str) -> &'static str {
    for family in families(os_release) {
        return match family.as_str() {
            "debian" | "ubuntu" => "sudo apt-get install --no-install-recommends qemu-system-x86",
            "fedora" => "sudo dnf install qemu-system-x86-core",
            "rhel" | "centos" => {
                "sudo dnf install qemu-kvm, then EBB_QEMU=/usr/libexec/qemu-kvm EBB_ACCEL=kvm"
            }
            "arch" => "sudo pacman -S qemu-system-x86",
            "alpine" => "sudo apk add qemu-system-x86_64",
            "opensuse" | "suse" | "opensuse-leap" | "opensuse-tumbleweed" => {
                "sudo zypper install qemu-x86"
            }
            "gentoo" => "sudo env QEMU_SOFTMMU_TARGETS=x86_64 emerge app-emulation/qemu",
            "void" => "sudo xbps-install qemu-system-amd64",
            "nixos" => "nix-shell -p qemu",
            "guix" => "guix install qemu",
            _ => continue,
        };
    }
    "your distribution's package of QEMU for x86_64 (https://www.qemu.org/download)"
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
                advice(os_release).contains(word),
                "{os_release}: {}",
                advice(os_release)
            );
        }
    }

    #[test]
    fn only_debian_and_its_relatives_are_installed_on() {
        assert!(is_debian("ID=debian") && is_debian("ID=pop\nID_LIKE=\"ubuntu debian\""));
        assert!(!is_debian("ID=fedora") && !is_debian("VARIANT_ID=debian") && !is_debian(""));
    }
}
