//! Dates as JavaScript's `Date` understands them: epoch milliseconds, ISO 8601, or as in mail. Without a zone they are UTC's.

use crate::json::{Json, Kind};
use alloc::string::String;
use jiff::civil::{Date, DateTime};
use jiff::fmt::rfc2822;
use jiff::tz::Offset;
use jiff::{Error, Timestamp};

/// The epoch milliseconds of a date; `None` for what is none, or before 1970.
pub fn milliseconds(date: &Json) -> Option<u64> {
    let ms = match date.kind() {
        Kind::Number => date.to_integer()?,
        Kind::Text => of_text(&date.to_text()?)?,
        _ => return None,
    };
    u64::try_from(ms).ok().filter(|_| in_range(ms))
}

fn in_range(ms: i64) -> bool {
    Timestamp::from_millisecond(ms).is_ok()
}

fn of_text(text: &str) -> Option<i64> {
    let text = text.trim();
    let utc = |civil: DateTime| Offset::UTC.to_timestamp(civil);
    let time: Result<Timestamp, Error> = text
        .parse()
        .or_else(|_| text.parse::<DateTime>().and_then(utc))
        .or_else(|_| text.parse::<Date>().and_then(|date| utc(date.into())))
        .or_else(|_| rfc2822::DateTimeParser::new().parse_timestamp(text));
    Some(time.ok()?.as_millisecond())
}

/// A time in ISO 8601.
pub fn text(ms: u64) -> String {
    let time = i64::try_from(ms).ok().map(Timestamp::from_millisecond);
    match time {
        Some(Ok(time)) => alloc::format!("{time}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_numbers_iso_8601_or_as_in_mail() {
        let ms = |json: &str| milliseconds(&Json::parse(json).unwrap());
        let noon = Some(1_577_277_000_000);
        for date in [
            "1577277000000",
            "\"2019-12-25T12:30:00.000Z\"",
            "\"2019-12-25T13:30:00+01:00\"",
            "\"2019-12-25T12:30\"",
            "\" 2019-12-25 12:30:00 \"",
            "\"Wed, 25 Dec 2019 12:30:00 GMT\"",
        ] {
            assert_eq!(ms(date), noon, "{date}");
        }
        assert_eq!(ms("\"2019-12-25\""), Some(1_577_232_000_000));
        for wrong in [
            "\"\"",
            "\"soon\"",
            "-1",
            "null",
            "{}",
            "true",
            "99999999999999999",
            "\"2019-02-30\"",
        ] {
            assert_eq!(ms(wrong), None, "{wrong}");
        }
        assert_eq!(text(1_577_277_000_000), "2019-12-25T12:30:00Z");
    }
}
