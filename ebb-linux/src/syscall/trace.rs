//! Printing system calls as strace does.

use super::{Call, Outcome, Stop, TABLE};
use alloc::string::String;
use core::fmt::Write;

/// Bytes of a string that are shown.
const SHOWN: usize = 80;

fn arguments(call: &Call<'_>) -> String {
    let entry = usize::try_from(call.number)
        .ok()
        .and_then(|n| TABLE.get(n))
        .copied()
        .flatten();
    let mut out = String::new();
    let Some(entry) = entry else {
        let _ = write!(out, "syscall_{}(", call.number);
        return out;
    };
    let _ = write!(out, "{}(", entry.name);
    for (i, (kind, value)) in entry.arguments.chars().zip(call.args).enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        let _ = match kind {
            'd' => write!(out, "{}", value as i32),
            'f' if value as i32 == -100 => write!(out, "AT_FDCWD"),
            'f' => write!(out, "{}", value as i32),
            'o' => write!(out, "{value:#o}"),
            'p' if value == 0 => write!(out, "NULL"),
            's' => match call.space().get_string(value, 4096) {
                Ok(Some(s)) => {
                    let s = &s[..s.len().min(SHOWN)];
                    write!(out, "\"{}\"", s.escape_ascii())
                }
                _ => write!(out, "{value:#x}"),
            },
            _ => write!(out, "{value:#x}"),
        };
    }
    out.push(')');
    out
}

/// A call that begins: shown only if it does not return.
pub fn begin(call: &Call<'_>) {
    if matches!(call.number, 15 | 60 | 231) {
        ebb_runtime::println!(
            "[{} {}] {}",
            call.uc.options.name,
            call.tid,
            arguments(call)
        );
    }
}

/// A call that ended.
pub fn end(call: &Call<'_>, outcome: Outcome) {
    let mut out = arguments(call);
    let _ = match outcome {
        Ok(value) if value < 0x1_0000 => write!(out, " = {value}"),
        Ok(value) => write!(out, " = {value:#x}"),
        Err(Stop::Error(errno)) => write!(out, " = -1 {} ({})", errno.name(), errno.text()),
        Err(Stop::Yield) => write!(out, " = 0"),
        Err(_) => return,
    };
    let now = crate::now() / 1000;
    ebb_runtime::println!(
        "{}.{:06} [{} {}] {}",
        now / 1_000_000,
        now % 1_000_000,
        call.uc.options.name,
        call.tid,
        out
    );
}
