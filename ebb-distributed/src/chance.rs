//! What is random in a simulation: numbers from a seed, and how much goes wrong.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

const MS: u64 = 1_000_000;

/// Numbers from a seed. For tests, not for keys.
#[derive(Clone, Debug)]
pub struct Chance(SplitMix64);

impl Chance {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::seed_from_u64(seed))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Less than `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// True so many times in a thousand.
    pub fn in_thousand(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }
}

/// What goes wrong, and how often.
#[derive(Clone, Debug)]
pub struct Faults {
    /// A fault of a machine or of the network (not a lost segment) about this often; 0 for never.
    pub every_ns: u64,
    /// Segments in a thousand that are lost, and come again after a time-out.
    pub lost_in_thousand: u64,
    /// A segment takes at least this long.
    pub delay_ns: u64,
    /// And at most so much longer.
    pub jitter_ns: u64,
    /// Clocks go wrong by at most so much.
    pub drift_ppm: u64,
}

impl Faults {
    /// A network of 100 microseconds in which nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self {
            every_ns: 0,
            lost_in_thousand: 0,
            delay_ns: 100_000,
            jitter_ns: 0,
            drift_ppm: 0,
        }
    }

    /// Everything at once.
    #[must_use]
    pub fn wild() -> Self {
        Self {
            every_ns: 20 * MS,
            lost_in_thousand: 20,
            delay_ns: 100_000,
            jitter_ns: 3 * MS,
            drift_ppm: 200,
        }
    }

    /// How long a segment travels, with the times that it is lost and sent again.
    #[must_use]
    pub fn travel_ns(&self, chance: &mut Chance) -> u64 {
        let mut travel_ns = self.delay_ns;
        if self.jitter_ns > 0 {
            travel_ns += chance.below(self.jitter_ns);
        }
        let mut again_ns = 200 * MS;
        while chance.in_thousand(self.lost_in_thousand) {
            travel_ns += again_ns;
            again_ns *= 2;
        }
        travel_ns
    }
}
