//! How long a core that has nothing to do looks for work before its thread sleeps. To be woken costs several microseconds, on a virtual
//! machine tens of them; to look costs a CPU that others could have used.
//!
//! What must hold: a core that waits for long, or for somebody who needs its CPU, stops looking. Of such waits only a share that
//! goes towards nothing begins with a look.

use std::cell::Cell;

/// The longest rest, in waits, as a power of two.
const LONGEST_REST: u32 = 12;

/// See the module.
pub(crate) struct Patience {
    /// For how long it looks at most; 0 is never.
    most_ns: Cell<u64>,
    /// The last wait was short, so the next one may be.
    expects: Cell<bool>,
    /// Looks in a row after which somebody came only when the core slept: it was on this CPU.
    hindered: Cell<u32>,
    /// Waits that begin without a look.
    rest: Cell<u32>,
}

impl Patience {
    /// A core's that looks for at most `most_ns`.
    pub const fn new(most_ns: u64) -> Self {
        Self {
            most_ns: Cell::new(most_ns),
            expects: Cell::new(false),
            hindered: Cell::new(0),
            rest: Cell::new(0),
        }
    }

    /// Looks for at most `most_ns` from now on.
    pub fn set_most_ns(&self, most_ns: u64) {
        self.most_ns.set(most_ns);
    }

    /// Whether waits are to be told at all.
    pub fn is_on(&self) -> bool {
        self.most_ns.get() > 0
    }

    /// For how long the wait that begins now looks.
    pub fn look_ns(&self) -> u64 {
        if !self.expects.get() {
            return 0;
        }
        match self.rest.get() {
            0 => self.most_ns.get(),
            rest => {
                self.rest.set(rest - 1);
                0
            }
        }
    }

    /// The look ended the wait.
    pub fn found(&self) {
        self.hindered.set(self.hindered.get().saturating_sub(1));
    }

    /// The core slept for `slept_ns`, with or without a look before.
    pub fn slept(&self, has_looked: bool, slept_ns: u64) {
        let is_short = slept_ns < self.most_ns.get();
        self.expects.set(is_short);
        if has_looked && is_short {
            let times = (self.hindered.get() + 1).min(LONGEST_REST);
            self.hindered.set(times);
            self.rest.set(1 << times);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits, each answered after `ns`, or later if the core was in the way; gives how many began with a look.
    fn looks(patience: &Patience, waits: u32, ns: u64, is_in_the_way: bool) -> u32 {
        let mut looks = 0;
        for _ in 0..waits {
            let look_ns = patience.look_ns();
            looks += u32::from(look_ns > 0);
            if look_ns > ns && !is_in_the_way {
                patience.found();
            } else {
                patience.slept(look_ns > 0, ns);
            }
        }
        looks
    }

    #[test]
    fn short_waits_begin_with_a_look_and_long_ones_do_not() {
        let patience = Patience::new(20_000);
        assert_eq!(looks(&patience, 1000, 5_000, false), 999);
        assert_eq!(looks(&patience, 1000, 1_000_000, false), 1);
        assert_eq!(looks(&patience, 1000, 5_000, false), 999);
    }

    #[test]
    fn a_core_that_is_in_the_way_of_those_it_waits_for_gives_its_looks_up() {
        let patience = Patience::new(20_000);
        assert!(looks(&patience, 100_000, 5_000, true) < 40);
        // It tries again now and then, and has its looks back when they are of use.
        assert!(looks(&patience, 100_000, 5_000, false) > 90_000);
    }

    #[test]
    fn none_is_taken_where_none_is_wanted() {
        assert_eq!(looks(&Patience::new(0), 1000, 0, false), 0);
    }
}
