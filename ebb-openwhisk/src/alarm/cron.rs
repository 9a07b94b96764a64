//! Cron patterns: five fields (minute, hour, day of the month, month, day of the week), or six with the second in front.
//!
//! A field is `*`, `?`, a number, a range `a-b`, any of these with a step `/n`, or several with commas; months and days of the
//! week have names as well, and 7 is Sunday too. `@hourly`, `@daily` (`@midnight`), `@weekly`, `@monthly` and `@yearly`
//! (`@annually`) stand for patterns. Where both days are restricted, either will do.
//!
//! What must hold: a time that a pattern gives is later than the one that was asked about, and the earliest that there is. Where
//! clocks are set forward, what falls into the hour that there is not comes that much later; where they are set back,
//! patterns for every hour go through both hours, and others through the first.

use alloc::{string::String, vec::Vec};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    /// A bit for each.
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// Sunday is bit 0.
    weekdays: u64,
    every_hour: bool,
    every_day: bool,
    every_weekday: bool,
    has_seconds: bool,
}

/// So far a time is looked for: between two 29ths of February can be eight years.
const DAYS: u32 = 8 * 366 + 1;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

fn spelled_out(name: &str) -> Option<&'static str> {
    Some(match name {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => return None,
    })
}

impl Cron {
    /// Reads a pattern; `None` for what is none, or for times that never come.
    pub fn parse(pattern: &str) -> Option<Self> {
        let pattern = pattern.trim().to_ascii_lowercase();
        let pattern = spelled_out(&pattern).map_or(pattern, String::from);
        let fields: Vec<&str> = pattern.split_ascii_whitespace().collect();
        let has_seconds = fields.len() == 6;
        let (seconds, rest) = match fields.as_slice() {
            [seconds, rest @ ..] if has_seconds => (*seconds, rest),
            rest => ("0", rest),
        };
        let [minutes, hours, days, months, weekdays] = *rest else {
            return None;
        };
        let weekday_bits = bits(weekdays, 0, 7, &WEEKDAYS)?;
        let cron = Self {
            seconds: bits(seconds, 0, 59, &[])?,
            minutes: bits(minutes, 0, 59, &[])?,
            hours: bits(hours, 0, 23, &[])?,
            days: bits(days, 1, 31, &[])?,
            months: bits(months, 1, 12, &MONTHS)?,
            weekdays: (weekday_bits | weekday_bits >> 7) & 0x7f,
            every_hour: hours.starts_with(['*', '?']),
            every_day: days.starts_with(['*', '?']),
            every_weekday: weekdays.starts_with(['*', '?']),
            has_seconds,
        };
        cron.next_civil(DateTime::constant(2000, 1, 1, 0, 0, 0, 0))?;
        Some(cron)
    }

    /// Whether it has a field for seconds.
    pub fn has_seconds(&self) -> bool {
        self.has_seconds
    }

    /// The first time after that one, in epoch milliseconds.
    pub fn after(&self, then_ms: i64, zone: &TimeZone) -> Option<i64> {
        // Whole seconds come; a fraction of one is behind the whole one.
        let then = Timestamp::from_second(then_ms.div_euclid(1000)).ok()?;
        let mut civil = zone.to_datetime(then);
        let found = loop {
            civil = self.next_civil(civil)?;
            let times = zone.to_ambiguous_timestamp(civil);
            let first = times.compatible().ok()?;
            if first > then {
                break first;
            }
            // It is in the hour that comes twice, and the first time is over.
            let second = times.later().ok()?;
            if self.every_hour && second > then {
                break second;
            }
        };
        let repeated = self.every_hour.then(|| self.in_repeated(then, found, zone));
        let found = repeated.flatten().unwrap_or(found);
        Some(found.as_second() * 1000)
    }

    /// A time between the two in an hour that comes for the second time.
    fn in_repeated(&self, then: Timestamp, end: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let change = zone.following(then).next()?;
        let at = change.timestamp();
        let was = zone.to_offset(then);
        if at >= end || change.offset() >= was {
            return None;
        }
        let begin = change.offset().to_datetime(at);
        let before = begin.checked_sub(SignedDuration::from_secs(1)).ok()?;
        let civil = self.next_civil(before)?;
        let found = change.offset().to_timestamp(civil).ok()?;
        (found < end).then_some(found)
    }

    /// The first time after that one on a clock that is never set.
    fn next_civil(&self, then: DateTime) -> Option<DateTime> {
        let mut date = then.date();
        let time = then.time();
        let mut from = (time.hour(), time.minute(), time.second() + 1);
        for _ in 0..DAYS {
            if self.has_day(date)
                && let Some((hour, minute, second)) = self.time_from(from)
            {
                return Some(date.at(hour, minute, second, 0));
            }
            date = date.tomorrow().ok()?;
            from = (0, 0, 0);
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        has(self.months, date.month())
            && match (self.every_day, self.every_weekday) {
                (false, false) => day || weekday,
                _ => day && weekday,
            }
    }

    /// The first time of a day that is not before that one, whose second may be 60.
    fn time_from(&self, (hour, minute, second): (i8, i8, i8)) -> Option<(i8, i8, i8)> {
        let first = |bits| next(bits, 0);
        if has(self.hours, hour) {
            if has(self.minutes, minute)
                && let Some(second) = next(self.seconds, second)
            {
                return Some((hour, minute, second));
            }
            if let Some(minute) = next(self.minutes, minute + 1) {
                return Some((hour, minute, first(self.seconds)?));
            }
        }
        let hour = next(self.hours, hour + 1)?;
        Some((hour, first(self.minutes)?, first(self.seconds)?))
    }
}

fn has(bits: u64, number: i8) -> bool {
    bits >> number & 1 == 1
}

/// The first number that is in the set and not below that one.
fn next(bits: u64, from: i8) -> Option<i8> {
    let rest = bits & u64::MAX.checked_shl(u32::try_from(from).ok()?)?;
    (rest != 0).then(|| rest.trailing_zeros() as i8)
}

/// The set that a field stands for.
fn bits(field: &str, least: u32, most: u32, names: &[&str]) -> Option<u64> {
    let number = |text: &str| {
        let named = names.iter().position(|name| *name == text);
        let number = match named {
            Some(at) => least + at as u32,
            None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
            None => return None,
        };
        (least..=most).contains(&number).then_some(number)
    };
    let mut all = 0;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse().ok().filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range {
            "*" | "?" => (least, most),
            _ => match range.split_once('-') {
                Some((from, to)) => (number(from)?, number(to)?),
                None => {
                    let from = number(range)?;
                    (from, if step.is_some() { most } else { from })
                }
            },
        };
        if from > to {
            return None;
        }
        let numbers = (from..=to).step_by(step.unwrap_or(1));
        all |= numbers.fold(0, |all, number| all | 1 << number);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    /// The next times after one, all as text.
    fn times(pattern: &str, zone: &str, then: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(pattern).expect("a pattern");
        let zone = TimeZone::get(zone).expect("a zone");
        let mut at = then.parse::<Timestamp>().expect("a time").as_millisecond();
        let mut all = Vec::new();
        for _ in 0..count {
            let next = cron.after(at, &zone).expect("it comes again");
            assert!(next > at, "{pattern}: {next} is not after {at}");
            at = next;
            let time = Timestamp::from_millisecond(at).expect("in range");
            all.push(zone.to_datetime(time).to_string() + &zone.to_offset(time).to_string());
        }
        all
    }

    #[test]
    fn patterns_give_the_times_that_crontab_gives() {
        let monday = "2024-01-01T00:00:00Z";
        for (pattern, expected) in [
            ("* * * * *", "2024-01-01T00:01:00 2024-01-01T00:02:00"),
            ("*/30 * * * * *", "2024-01-01T00:00:30 2024-01-01T00:01:00"),
            ("0 */2 * * *", "2024-01-01T02:00:00 2024-01-01T04:00:00"),
            ("0 9 8 * *", "2024-01-08T09:00:00 2024-02-08T09:00:00"),
            ("5,10-12 4 * * *", "2024-01-01T04:05:00 2024-01-01T04:10:00"),
            ("0 0 29 2 *", "2024-02-29T00:00:00 2028-02-29T00:00:00"),
            (
                "0 12 * * MON-FRI",
                "2024-01-01T12:00:00 2024-01-02T12:00:00",
            ),
            ("0 0 * * 7", "2024-01-07T00:00:00 2024-01-14T00:00:00"),
            (
                "0 0 31 jan,mar *",
                "2024-01-31T00:00:00 2024-03-31T00:00:00",
            ),
            // The 13th, or a Friday.
            ("0 0 13 * 5", "2024-01-05T00:00:00 2024-01-12T00:00:00"),
            ("0 0 */10 * *", "2024-01-11T00:00:00 2024-01-21T00:00:00"),
            ("10/20 * * * *", "2024-01-01T00:10:00 2024-01-01T00:30:00"),
            (
                "59 59 23 31 12 ?",
                "2024-12-31T23:59:59 2025-12-31T23:59:59",
            ),
            ("@hourly", "2024-01-01T01:00:00 2024-01-01T02:00:00"),
            ("@weekly", "2024-01-07T00:00:00 2024-01-14T00:00:00"),
            ("@YEARLY", "2025-01-01T00:00:00 2026-01-01T00:00:00"),
        ] {
            let found = times(pattern, "UTC", monday, 2);
            let expected: Vec<String> =
                expected.split(' ').map(|t| t.to_string() + "+00").collect();
            assert_eq!(found, expected, "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_or_never_comes_is_refused() {
        for wrong in [
            "",
            "*",
            "* * * *",
            "* * * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * 0 *",
            "* * * * 8",
            "*/0 * * * *",
            "5-1 * * * *",
            "-1 * * * *",
            "a * * * *",
            "1, * * * *",
            "* * * foo *",
            "1-2-3 * * * *",
            "*/x * * * *",
            "+1 * * * *",
            "@reboot",
            "0 0 30 2 *",
            "0 0 31 4,6 *",
            "*/99999999999999999999 * * * *",
        ] {
            assert_eq!(Cron::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_hour_that_there_is_not_comes_later() {
        // Berlin, 31 March 2024: 2:00 is 3:00.
        let before = "2024-03-31T00:15:00Z";
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", before, 2),
            ["2024-03-31T03:30:00+02", "2024-04-01T02:30:00+02"]
        );
        assert_eq!(
            times("*/30 * * * *", "Europe/Berlin", before, 3),
            [
                "2024-03-31T01:30:00+01",
                "2024-03-31T03:00:00+02",
                "2024-03-31T03:30:00+02"
            ]
        );
    }

    #[test]
    fn an_hour_that_comes_twice_counts_twice_for_every_hour_only() {
        // Berlin, 27 October 2024: 3:00 is 2:00 again.
        let before = "2024-10-26T23:45:00Z";
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", before, 2),
            ["2024-10-27T02:30:00+02", "2024-10-28T02:30:00+01"]
        );
        assert_eq!(
            times("*/30 * * * *", "Europe/Berlin", before, 5),
            [
                "2024-10-27T02:00:00+02",
                "2024-10-27T02:30:00+02",
                "2024-10-27T02:00:00+01",
                "2024-10-27T02:30:00+01",
                "2024-10-27T03:00:00+01"
            ]
        );
    }

    #[test]
    fn zones_at_both_ends_of_the_day_have_their_own_days() {
        let then = "2024-06-30T10:30:00Z";
        let daily = |zone| times("0 0 1 * *", zone, then, 1).remove(0);
        assert_eq!(daily("Pacific/Kiritimati"), "2024-08-01T00:00:00+14");
        assert_eq!(daily("Pacific/Pago_Pago"), "2024-07-01T00:00:00-11");
        assert_eq!(daily("Asia/Kolkata"), "2024-07-01T00:00:00+05:30");
    }

    #[test]
    fn each_time_that_a_pattern_gives_is_the_next_that_it_allows() {
        use proptest::prelude::*;
        let field = |most: u32| {
            prop_oneof![
                Just("*".to_string()),
                (0..=most).prop_map(|n| n.to_string()),
                (1..=most).prop_map(|n| alloc::format!("*/{n}")),
                (0..=most, 0..=most).prop_map(|(a, b)| alloc::format!("{}-{}", a.min(b), a.max(b))),
            ]
        };
        let run = (field(59), field(23), field(6), 0..2_000_000_000i64);
        proptest!(ProptestConfig::with_cases(200), |((minute, hour, weekday, then) in run)| {
            let cron = Cron::parse(&alloc::format!("{minute} {hour} * * {weekday}")).unwrap();
            let found = cron.after(then * 1000, &TimeZone::UTC).unwrap() / 1000;
            let is_allowed = |second: i64| {
                let at = TimeZone::UTC.to_datetime(Timestamp::from_second(second).unwrap());
                has(cron.minutes, at.minute()) && has(cron.hours, at.hour()) && cron.has_day(at.date())
            };
            prop_assert!(found > then && found % 60 == 0 && is_allowed(found));
            let mut between = then - then.rem_euclid(60) + 60;
            while between < found {
                prop_assert!(!is_allowed(between), "{between} was left out");
                between += 60;
            }
        });
    }
}
