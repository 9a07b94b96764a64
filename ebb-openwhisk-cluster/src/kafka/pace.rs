//! Gathering what would go one by one.
//!
//! A commit, and a request with acknowledgements, each wake half a dozen threads, here and in the broker. With many calls under way, each
//! call would pay for its own; so then they go once in a while, with all that have come in it.
//!
//! What must hold:
//! - With few calls under way, or when the last one went longer than a while ago, nothing waits.
//! - The while is short beside what a call takes.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ebb::time::Instant;

use crate::counts::Counts;

/// Calls under way from which on things are gathered.
const MANY: i64 = 8;
/// The while is such a part of what a call takes,
const PART: u64 = 4;
/// but no longer than this.
const LONGEST_US: u64 = 2000;

/// When something went last.
#[derive(Default)]
pub(super) struct Pace(Cell<Option<Instant>>);

impl Pace {
    /// Until when to wait: `None` if this may go now, and so it does.
    pub(super) fn wait(&self, counts: &Counts) -> Option<Instant> {
        self.wait_at(Instant::now(), counts)
    }

    fn wait_at(&self, now: Instant, counts: &Counts) -> Option<Instant> {
        let while_us = match counts.running() {
            MANY.. => (counts.recent_us.load(Ordering::Relaxed) / PART).min(LONGEST_US),
            _ => 0,
        };
        let next = self
            .0
            .get()
            .map(|last| last + Duration::from_micros(while_us));
        let next = next.filter(|next| *next > now);
        if next.is_none() {
            self.0.set(Some(now));
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_many_calls_under_way_one_goes_in_a_while_and_with_few_all_go() {
        let (counts, pace, began) = (Counts::default(), Pace::default(), Instant::now());
        let at = |us: u64| began + Duration::from_micros(us);
        counts.has_taken(4000);
        counts.running.store(MANY - 1, Ordering::Relaxed);
        assert_eq!(pace.wait_at(at(0), &counts), None);
        assert_eq!(pace.wait_at(at(1), &counts), None);
        counts.running.store(MANY, Ordering::Relaxed);
        assert_eq!(pace.wait_at(at(2), &counts), Some(at(1001)));
        assert_eq!(pace.wait_at(at(1000), &counts), Some(at(1001)));
        assert_eq!(pace.wait_at(at(1001), &counts), None);
        assert_eq!(pace.wait_at(at(1001), &counts), Some(at(2001)));
    }

    #[test]
    fn the_while_follows_what_calls_take_up_to_its_longest() {
        let (counts, pace, began) = (Counts::default(), Pace::default(), Instant::now());
        counts.running.store(MANY, Ordering::Relaxed);
        assert_eq!(pace.wait_at(began, &counts), None);
        assert_eq!(pace.wait_at(began, &counts), None, "no call has ended");
        counts.has_taken(60_000_000);
        let longest = began + Duration::from_micros(LONGEST_US);
        assert_eq!(pace.wait_at(began, &counts), Some(longest));
        for _ in 0..200 {
            counts.has_taken(400);
        }
        let short = pace.wait_at(began, &counts).expect("it waits");
        assert!(short <= began + Duration::from_micros(110), "{short:?}");
    }
}
