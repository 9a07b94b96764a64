//! Times as OpenWhisk's configuration writes them.

use std::time::Duration;

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
