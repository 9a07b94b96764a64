//! What is written to files of `/proc/PID`.

use crate::object::{
    env::Setting,
    errno::{Errno, Result},
};

/// What a write asks for.
pub(crate) type Parse = fn(&[u8]) -> Result<Setting>;

pub(crate) fn comm(bytes: &[u8]) -> Result<Setting> {
    let mut name = [0; 16];
    let used = bytes.len().min(15);
    name[..used].copy_from_slice(&bytes[..used]);
    Ok(Setting::Comm(name))
}

/// A number as Linux' `kstrtol` with base 0 takes it: one line end may follow.
fn number(bytes: &[u8]) -> Result<i64> {
    let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.strip_prefix("0x") {
        Some(digits) => (16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        None => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return Err(Errno::EINVAL);
    }
    let value = i64::from_str_radix(digits, radix).map_err(|_| Errno::EINVAL)?;
    Ok(if negative { -value } else { value })
}

pub(crate) fn oom_score_adj(bytes: &[u8]) -> Result<Setting> {
    match number(bytes)? {
        n @ -1000..=1000 => Ok(Setting::OomScoreAdj(n as i16)),
        _ => Err(Errno::EINVAL),
    }
}

pub(crate) fn timerslack_ns(bytes: &[u8]) -> Result<Setting> {
    match number(bytes)? {
        0 => Ok(Setting::TimerSlackNs(50_000)),
        n => Ok(Setting::TimerSlackNs(
            u64::try_from(n).map_err(|_| Errno::EINVAL)?,
        )),
    }
}

pub(crate) fn coredump_filter(bytes: &[u8]) -> Result<Setting> {
    let n = u32::try_from(number(bytes)?).map_err(|_| Errno::EINVAL)?;
    Ok(Setting::CoreFilter(n & 0x1ff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_linux_reads_them() {
        assert_eq!(oom_score_adj(b"-1000\n"), Ok(Setting::OomScoreAdj(-1000)));
        assert_eq!(oom_score_adj(b"1001"), Err(Errno::EINVAL));
        assert_eq!(oom_score_adj(b""), Err(Errno::EINVAL));
        assert_eq!(coredump_filter(b"0x31"), Ok(Setting::CoreFilter(0x31)));
        assert_eq!(coredump_filter(b"010"), Ok(Setting::CoreFilter(8)));
        assert_eq!(timerslack_ns(b"--1"), Err(Errno::EINVAL));
        assert_eq!(
            comm(b"a name that is too long"),
            Ok(Setting::Comm(*b"a name that is \0"))
        );
    }
}
