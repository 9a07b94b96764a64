//! How most responses begin: the line of a 200 and the `Date` header (RFC 9110, section 5.6.7), made once a second on each core.

use core::{
    cell::{Cell, RefCell},
    fmt::Write,
};

use alloc::{string::String, vec::Vec};
use ebb::{EbbRef, ebb};

/// The core's current date.
#[ebb(per_core)]
#[derive(Default)]
pub(super) struct Date {
    /// The second that `text` is for.
    second: Cell<u64>,
    /// [`OK`] and the header.
    text: RefCell<String>,
}

/// The line of a response that went well.
const OK: &str = "HTTP/1.1 200 OK\r\n";

impl Date {
    /// Appends the line of a 200, and the `Date` header with its line end.
    pub fn append_with_ok(into: &mut Vec<u8>) {
        Self::append_from(0, into);
    }

    /// Appends the `Date` header, with its line end.
    pub fn append(into: &mut Vec<u8>) {
        Self::append_from(OK.len(), into);
    }

    fn append_from(start: usize, into: &mut Vec<u8>) {
        let date = EbbRef::<Self>::get();
        let now = ebb::time::unix_time().as_secs();
        let mut text = date.text.borrow_mut();
        if date.second.replace(now) != now || text.is_empty() {
            text.clear();
            text.push_str(OK);
            text.push_str("date: ");
            format(now, &mut text);
            text.push_str("\r\n");
        }
        into.extend_from_slice(&text.as_bytes()[start..]);
    }
}

/// Year, month (from 1) and day of a day since 1970-01-01: Howard Hinnant's `civil_from_days`.
#[must_use]
pub fn civil(days: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01, so that leap days end their year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    (year, month + 1, day)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn format(seconds: u64, into: &mut String) {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (days, second) = (seconds / 86400, seconds % 86400);
    let (year, month, day) = civil(days);
    let _ = write!(
        into,
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize - 1],
        second / 3600,
        second / 60 % 60,
        second % 60,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
        ] {
            let mut text = String::new();
            format(seconds, &mut text);
            assert_eq!(text, expected);
        }
    }
}
