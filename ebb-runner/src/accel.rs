//! KVM or TCG.
//!
//! `/dev/kvm` may open on a machine whose CPU has no virtualization of its own and then run
//! kernel code by emulation, far slower than TCG; so KVM is picked only when the CPU shows it.

use std::{fs, path::Path};

use crate::{config::Accel, failure::Failure};

/// What was picked and, for the user, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The accelerator.
    pub accel: Accel,
    /// The reason, to stand in brackets.
    pub why: String,
}

/// Picks for this machine.
///
/// # Errors
/// When the user asks for KVM and `/dev/kvm` cannot be used.
pub fn pick(wanted: Option<Accel>) -> Result<Choice, Failure> {
    let opened = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map(drop)
        .map_err(|error| error.to_string());
    decide(
        wanted,
        cpu_virtualizes(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        opened,
        Path::new("/dev/kvm").exists(),
    )
}

fn decide(
    wanted: Option<Accel>,
    cpu: Option<&str>,
    opened: Result<(), String>,
    exists: bool,
) -> Result<Choice, Failure> {
    let choice = |accel, why: &str| {
        Ok(Choice {
            accel,
            why: why.into(),
        })
    };
    match (wanted, cpu, opened) {
        (Some(Accel::Tcg), _, _) => choice(Accel::Tcg, "EBB_ACCEL"),
        (Some(Accel::Kvm), _, Ok(())) => choice(Accel::Kvm, "EBB_ACCEL"),
        (Some(Accel::Kvm), _, Err(error)) => Err(Failure::unusable(format!(
            "EBB_ACCEL is kvm, but /dev/kvm cannot be opened: {error}.\n{}",
            if exists {
                "Become a member of its group (`sudo usermod -aG kvm $USER`, then log in again), or use EBB_ACCEL=tcg."
            } else {
                "Load the module (`sudo modprobe kvm_intel` or `kvm_amd`), or use EBB_ACCEL=tcg."
            }
        ))),
        (None, Some(flag), Ok(())) => choice(Accel::Kvm, &format!("the CPU shows {flag}")),
        (None, Some(_), Err(error)) => choice(Accel::Tcg, &format!("/dev/kvm: {error}")),
        (None, None, _) => choice(Accel::Tcg, "the CPU shows neither vmx nor svm"),
    }
}

/// The virtualization flag of `/proc/cpuinfo`, if any.
fn cpu_virtualizes(cpuinfo: &str) -> Option<&'static str> {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"))?;
    ["vmx", "svm"]
        .into_iter()
        .find(|wanted| flags.split_ascii_whitespace().any(|flag| flag == *wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_is_picked_only_if_the_cpu_shows_it_and_the_device_opens() {
        let pick = |cpu, opened| decide(None, cpu, opened, true).unwrap();
        assert_eq!(pick(Some("vmx"), Ok(())).accel, Accel::Kvm);
        assert_eq!(
            pick(None, Ok(())),
            Choice {
                accel: Accel::Tcg,
                why: "the CPU shows neither vmx nor svm".into()
            }
        );
        let denied = pick(Some("svm"), Err("Permission denied".into()));
        assert_eq!(
            (denied.accel, denied.why.as_str()),
            (Accel::Tcg, "/dev/kvm: Permission denied")
        );
    }

    #[test]
    fn the_users_choice_wins_and_an_impossible_one_is_an_error() {
        assert_eq!(
            decide(Some(Accel::Kvm), None, Ok(()), true).unwrap().accel,
            Accel::Kvm
        );
        assert_eq!(
            decide(Some(Accel::Tcg), Some("vmx"), Ok(()), true)
                .unwrap()
                .accel,
            Accel::Tcg
        );
        let error = decide(Some(Accel::Kvm), None, Err("denied".into()), true).unwrap_err();
        assert!(
            error.message.contains("usermod") && error.message.contains("denied"),
            "{error}"
        );
        assert!(
            decide(Some(Accel::Kvm), None, Err("none".into()), false)
                .unwrap_err()
                .message
                .contains("modprobe")
        );
    }

    #[test]
    fn flags_are_compared_as_whole_words() {
        assert_eq!(
            cpu_virtualizes("processor: 0\nflags\t\t: fpu vmx sse\n"),
            Some("vmx")
        );
        assert_eq!(cpu_virtualizes("flags : fpu svm\n"), Some("svm"));
        assert_eq!(
            cpu_virtualizes("flags : fpu svm_lock vmxx\nvmx flags : x\n"),
            None
        );
        assert_eq!(cpu_virtualizes(""), None);
    }
}
