//! What is random in a simulation: numbers from a seed, and how much goes wrong.

const MS: u64 = 1_000_000;

/// Numbers from a seed (SplitMix64, Steele, Lea and Flood 2014). For tests, not for keys.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
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
}
