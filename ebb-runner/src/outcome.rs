//! From the way it ended to an exit status, and to advice where something went wrong.

use std::{fmt::Write as _, os::unix::process::ExitStatusExt, path::Path, time::Duration};

use nix::sys::signal::Signal;

use crate::{
    failure::{CRASHED, Failure, TIMED_OUT, UNUSABLE},
    image,
    monitor::Core,
    supervise::{Cause, Ended},
};

/// The exit status of the runner when the image ended as it should.
///
/// # Errors
/// With what happened and what to do.
pub fn judge(ended: &Ended, image: &Path, timeout: Option<Duration>) -> Result<u8, Failure> {
    let cores = || describe_cores(&ended.cores, |address| image::symbolize(image, address));
    match (&ended.cause, ended.exit) {
        (Some(Cause::Signal(signal)), _) => Err(Failure::new(
            128 + *signal as u8,
            format!("ended by {signal}"),
        )),
        (Some(Cause::Escape), _) => {
            Err(Failure::new(128 + Signal::SIGINT as u8, "ended by Ctrl-]"))
        }
        (Some(Cause::ConsoleClosed), _) => Err(Failure::new(
            128 + Signal::SIGPIPE as u8,
            "ended: nobody reads its console",
        )),
        (Some(Cause::TimeLimit), _) => Err(Failure::new(
            TIMED_OUT,
            format!(
                "still running after {} s (EBB_TIMEOUT){}\nRun it with EBB_GDB=1 to look inside.",
                timeout.unwrap_or_default().as_secs_f64(),
                cores()
            ),
        )),
        (_, Some(status)) => Ok(status),
        (Some(Cause::Stopped(reason)), None) => Err(Failure::new(
            CRASHED,
            format!("{}{}\n{ADVICE}", stopped(reason), cores()),
        )),
        (Some(Cause::Stayed) | None, None) => Err(died(ended)),
    }
}

const ADVICE: &str =
    "Look closer with EBB_GDB=1, or log interrupts with EBB_QEMU_ARGS='-d int,cpu_reset -D FILE'.";

/// QMP's reason in words.
fn stopped(reason: &str) -> String {
    match reason {
        "guest-reset" => "the machine reset itself without an exit status: a triple fault (a fault that the image could not handle) or a reboot".into(),
        "guest-shutdown" => "the machine powered off without an exit status".into(),
        "guest-panic" => "the machine panicked without an exit status".into(),
        // It had stopped before the runner listened, so there was no event with a reason.
        "unknown" => "the machine stopped without an exit status as soon as it ran: a triple fault (a fault that the image could not handle) or a reboot".into(),
        "internal-error" => "QEMU or KVM cannot run the machine any further (internal error): an instruction or a state of the CPU that they do not support; what QEMU says of it is above. EBB_ACCEL=tcg does without KVM".into(),
        "io-error" => "QEMU stopped the machine because of an error of a file or disk of the host".into(),
        "guest-panicked" => "the machine said that it panicked, and stopped".into(),
        other => format!("the machine stopped without an exit status ({other})"),
    }
}

/// QEMU ended by itself and the image had not said a status.
fn died(ended: &Ended) -> Failure {
    if let Some(signal) = ended.qemu.signal() {
        let why = if signal == Signal::SIGKILL as i32 {
            " (by the kernel if memory ran out: see `dmesg`; use a smaller EBB_MEMORY)"
        } else {
            ""
        };
        return Failure::new(
            UNUSABLE,
            format!("QEMU was killed by signal {signal}{why}."),
        );
    }
    let status = ended.qemu.code().unwrap_or_default();
    // The exit device makes QEMU end with an odd status.
    if ended.started && ended.messages.is_empty() && status & 1 == 1 {
        return Failure::new(
            CRASHED,
            format!(
                "the image ended the machine without a report of its exit status (QEMU's is {status}).\n{ADVICE}"
            ),
        );
    }
    let what = if ended.started {
        "QEMU ended"
    } else {
        "QEMU did not start"
    };
    let hint = ended
        .messages
        .iter()
        .find_map(|m| hint(m))
        .map(|h| format!("\nHint: {h}."))
        .unwrap_or_default();
    let said = if ended.messages.is_empty() {
        " and said nothing"
    } else {
        "; its messages are above"
    };
    Failure::new(UNUSABLE, format!("{what} (status {status}){said}.{hint}"))
}

/// What to do about a message of QEMU's.
fn hint(message: &str) -> Option<&'static str> {
    [
        ("host forwarding rule", "a port of EBB_FORWARD was taken in the meantime; choose another"),
        ("cannot set up guest memory", "the host has too little memory; use a smaller EBB_MEMORY"),
        ("Cannot allocate memory", "the host has too little memory; use a smaller EBB_MEMORY"),
        ("/dev/net/tun", "a tap device needs CAP_NET_ADMIN, or a device made for you: ip tuntap add NAME mode tap user $USER"),
        ("network script", "the tap device of EBB_NET does not exist: ip tuntap add NAME mode tap"),
        ("multiqueue", "make the tap device with `multi_queue`, or leave out queues="),
        ("could not configure", "the tap device of EBB_NET is in use or was made with other flags (multi_queue)"),
        ("kvm", "KVM failed; EBB_ACCEL=tcg does without it"),
        ("initrd", "the file of EBB_ARCHIVE cannot be read or does not fit into EBB_MEMORY"),
        ("invalid option", "EBB_QEMU_ARGS has an argument that this QEMU does not know"),
        ("PVH", "the image is not bootable: build it again"),
        ("qboot.rom", "this QEMU came without qboot; use EBB_FIRMWARE=seabios"),
    ]
    .into_iter()
    .find_map(|(word, hint)| message.contains(word).then_some(hint))
}

/// One line per core.
fn describe_cores(cores: &[Core], symbol: impl Fn(u64) -> Option<String>) -> String {
    let mut text = String::new();
    for core in cores {
        let at = symbol(core.instruction).unwrap_or_else(|| "(no symbol)".into());
        let how = if core.halted { "halted" } else { "running" };
        let _ = write!(
            text,
            "\n  core {}: {how} at {:#018x} {at}, stack {:#018x}, last fault address {:#x}",
            core.index, core.instruction, core.stack, core.fault
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::ExitStatus;

    fn ended(exit: Option<u8>, cause: Option<Cause>, raw: i32, messages: &[&str]) -> Ended {
        let messages = messages.iter().map(ToString::to_string).collect();
        Ended {
            exit,
            cause,
            cores: vec![],
            qemu: ExitStatus::from_raw(raw),
            started: true,
            messages,
        }
    }

    fn failure(ended: &Ended) -> Failure {
        judge(ended, Path::new("/none"), Some(Duration::from_secs(5))).unwrap_err()
    }

    #[test]
    fn the_images_status_is_the_runners() {
        for status in [0, 1, 7, 255] {
            let judged = judge(
                &ended(Some(status), None, 1 << 8, &[]),
                Path::new("/none"),
                None,
            );
            assert_eq!(judged, Ok(status));
        }
        assert_eq!(
            judge(
                &ended(Some(3), Some(Cause::Stayed), 0, &[]),
                Path::new("/none"),
                None
            ),
            Ok(3)
        );
    }

    #[test]
    fn each_way_to_end_without_a_status_has_its_own_words() {
        let stopped =
            |reason: &str| failure(&ended(None, Some(Cause::Stopped(reason.into())), 0, &[]));
        let cases = [
            (stopped("guest-reset"), CRASHED, "triple fault"),
            (stopped("guest-shutdown"), CRASHED, "powered off"),
            (stopped("internal-error"), CRASHED, "EBB_ACCEL=tcg"),
            (stopped("x"), CRASHED, "(x)"),
            (failure(&ended(None, None, 9, &[])), UNUSABLE, "signal 9"),
            (failure(&ended(None, None, 11, &[])), UNUSABLE, "signal 11"),
            (
                failure(&ended(None, None, 1 << 8, &[])),
                CRASHED,
                "without a report",
            ),
            (
                failure(&ended(None, None, 1 << 8, &["bad kvm thing"])),
                UNUSABLE,
                "EBB_ACCEL=tcg",
            ),
            (
                failure(&ended(None, None, 0, &[])),
                UNUSABLE,
                "said nothing",
            ),
            (
                failure(&ended(Some(0), Some(Cause::TimeLimit), 0, &[])),
                TIMED_OUT,
                "after 5 s",
            ),
            (
                failure(&ended(Some(0), Some(Cause::Signal(Signal::SIGINT)), 0, &[])),
                130,
                "SIGINT",
            ),
            (
                failure(&ended(None, Some(Cause::Signal(Signal::SIGTERM)), 0, &[])),
                143,
                "SIGTERM",
            ),
            (
                failure(&ended(None, Some(Cause::Escape), 0, &[])),
                130,
                "Ctrl-]",
            ),
            (
                failure(&ended(None, Some(Cause::ConsoleClosed), 0, &[])),
                141,
                "console",
            ),
        ];
        for (failure, status, word) in cases {
            assert_eq!(failure.status, status, "{failure}");
            assert!(failure.message.contains(word), "{failure}");
        }
    }

    #[test]
    fn cores_are_told_by_function() {
        let core = Core {
            index: 1,
            instruction: 0xffff_ffff_8020_0010,
            stack: 0x1000,
            fault: 0xbad,
            halted: true,
        };
        let text = describe_cores(&[core], |_| Some("main+0x10".into()));
        assert_eq!(
            text,
            "\n  core 1: halted at 0xffffffff80200010 main+0x10, stack 0x0000000000001000, last fault address 0xbad"
        );
    }
}
