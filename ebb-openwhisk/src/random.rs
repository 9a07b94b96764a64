//! Ids: random numbers that do not repeat (xoshiro256**, Blackman and Vigna 2018). Nobody's secret depends on them.

use alloc::string::String;

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

    /// An id: 32 hexadecimal digits.
    pub fn id(&mut self) -> String {
        let mut digits = [0; 32];
        let (words, _) = digits.as_chunks_mut::<8>();
        for pair in words.chunks_exact_mut(2) {
            let word = self.next();
            for (part, digits) in [(word >> 32) as u32, word as u32].into_iter().zip(pair) {
                *digits = hexadecimal(part);
            }
        }
        str::from_utf8(&digits).unwrap_or_default().into()
    }

    /// Another generator, whose numbers are others.
    pub fn split(&mut self) -> Self {
        Self(core::array::from_fn(|_| self.next() | 1))
    }
}

/// A number's hexadecimal digits. Ids are made with each call: all digits at once take less than one after the other.
fn hexadecimal(number: u32) -> [u8; 8] {
    const ONES: u64 = u64::MAX / 255;
    let mut digits = u64::from(number);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, ONES * 0x0f),
    ] {
        digits = (digits | digits << shift) & mask;
    }
    // A digit above 9 gets its fifth bit with 6 more, and is a letter.
    let letters = (digits + ONES * 6) >> 4 & ONES;
    (digits + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'9' - 1)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::hexadecimal;
    use alloc::format;

    #[test]
    fn digits_are_those_that_the_formatting_machinery_writes() {
        let numbers = (0..32).flat_map(|bit| {
            [
                1_u32 << bit,
                u32::MAX >> bit,
                0x9abc_def0_u32.rotate_left(bit),
            ]
        });
        for number in numbers.chain(0..0x1_0000).chain([0x0123_4567, 0x89ab_cdef]) {
            assert_eq!(hexadecimal(number), *format!("{number:08x}").as_bytes());
        }
    }
}
