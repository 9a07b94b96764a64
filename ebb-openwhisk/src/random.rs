//! Ids: random numbers that do not repeat (xoshiro256**, Blackman and Vigna 2018). Nobody's secret depends on them.

/// The generator.
#[derive(Debug)]
pub struct Random([u64; 4]);

impl Random {
    /// Begins with entropy.
    pub fn new(seed: [u8; 32]) -> Self {
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(seed.chunks_exact(8)) {
            *word = bytes
                .iter()
                .fold(0, |word, &byte| word << 8 | u64::from(byte));
        }
        // All zeros is the one state that it never leaves.
        if state == [0; 4] {
            state[0] = 1;
        }
        Self(state)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }
}
