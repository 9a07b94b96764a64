//! Amounts of memory and times in the words of OpenWhisk's configuration and messages: `1024 MB`, `2G`, `1 m`; `5 minutes`.
//!
//! `ByteSize` (common/scala/.../entity/Size.scala) reads `B`, `K`, `KB`, `M`, `MB`, `G`, `GB` in either case, and writes a number,
//! a blank and the unit.

use std::time::Duration;

/// Bytes, from a text.
///
/// # Errors
/// A text that says what is allowed.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit.trim().to_ascii_uppercase().as_str() {
        "B" | "" => Some(1),
        "K" | "KB" => Some(1 << 10),
        "M" | "MB" => Some(1 << 20),
        "G" | "GB" => Some(1 << 30),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(factor);
    bytes
        .and_then(|(number, factor)| number.checked_mul(factor))
        .ok_or_else(|| {
            format!("'{text}' is no amount of memory; write a number and a unit, as 512M or 2 GB")
        })
}

/// As `ByteSize` writes it, in whole megabytes.
pub fn megabytes_text(bytes: u64) -> String {
    format!("{} MB", bytes >> 20)
}

/// `5 minutes`, `30 seconds`, `300s`, `50 milliseconds`: a time above 0.
///
/// # Errors
/// An example.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor_ms = match unit.trim() {
        "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => Some(1),
        "s" | "second" | "seconds" => Some(1000),
        "m" | "min" | "minute" | "minutes" => Some(60_000),
        "h" | "hour" | "hours" => Some(3_600_000),
        _ => None,
    };
    let time = number.parse::<u64>().ok().zip(factor_ms);
    time.and_then(|(number, factor)| number.checked_mul(factor))
        .filter(|&milliseconds| milliseconds > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("'{text}' is no time; write as 5 minutes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_in_all_units_that_the_configuration_has() {
        for (text, bytes) in [
            ("1024 MB", 1 << 30),
            ("2G", 2 << 30),
            ("1 m", 1 << 20),
            ("6068 B", 6068),
            ("16 k", 16 << 10),
            ("12", 12),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        assert_eq!(megabytes_text(2 << 30), "2048 MB");
    }

    #[test]
    fn what_is_no_amount_is_refused_with_an_example() {
        for text in [
            "",
            "MB",
            "1 TB",
            "-1 MB",
            "99999999999999999999 GB",
            "9999999999999 GB",
        ] {
            let told = parse_bytes(text).expect_err("no amount");
            assert!(told.contains("512M"), "{told}");
        }
    }
}
