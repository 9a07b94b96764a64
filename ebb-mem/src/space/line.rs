//! Lines of memory, and in which of them two pages differ.

use core::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi64x,
    _mm_setzero_si128, _mm_xor_si128,
};

/// What is compared and kept: 64 bytes.
pub(super) type Line = [u64; 8];
/// Of a page.
pub(super) const LINES: usize = 64;
/// Lines that are compared at once: most pages that a program writes to differ in a few.
const BLOCK: usize = 4;

/// The content of a page.
#[repr(C, align(16))]
pub(super) struct Page(pub(super) [Line; LINES]);

/// A line as the CPU compares it.
type Lanes = [__m128i; 4];

/// All ones where the lanes of two lines are equal.
#[inline]
fn equal_lanes(a: &Lanes, b: &Lanes) -> __m128i {
    // SAFETY: SSE2 is part of x86-64.
    unsafe {
        let same = |n: usize| _mm_cmpeq_epi8(a[n], b[n]);
        _mm_and_si128(
            _mm_and_si128(same(0), same(1)),
            _mm_and_si128(same(2), same(3)),
        )
    }
}

#[inline]
fn all_ones(lanes: __m128i) -> bool {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { _mm_movemask_epi8(lanes) == 0xffff }
}

impl Page {
    fn lanes(&self) -> &[Lanes; LINES] {
        // SAFETY: as large, and a page is aligned to 16; every pattern of bits is a value of both.
        unsafe { &*(&raw const *self).cast() }
    }
}

/// Calls `f` with the numbers of the first `count` lines in which two pages differ, in these bits of their words, as long as it goes on. Most do not, so each
/// is read whole in both, without a call or a branch.
#[inline]
pub(super) fn for_each_unlike(
    a: &Page,
    b: &Page,
    count: usize,
    bits: u64,
    mut f: impl FnMut(usize) -> Option<()>,
) -> Option<()> {
    // SAFETY: SSE2 is part of x86-64.
    let (mask, zero) = unsafe { (_mm_set1_epi64x(bits.cast_signed()), _mm_setzero_si128()) };
    for (line, (a, b)) in a.lanes().iter().zip(b.lanes()).take(count).enumerate() {
        // SAFETY: as above.
        let equal = unsafe {
            let x = |n: usize| _mm_xor_si128(a[n], b[n]);
            let any = _mm_or_si128(_mm_or_si128(x(0), x(1)), _mm_or_si128(x(2), x(3)));
            _mm_cmpeq_epi8(_mm_and_si128(any, mask), zero)
        };
        if !all_ones(equal) {
            f(line)?;
        }
    }
    Some(())
}

/// The lines in which two pages differ, a bit for each.
pub(super) fn unlike_lines(a: &Page, b: &Page) -> u64 {
    let (ours, theirs) = (
        a.lanes().as_chunks::<BLOCK>().0,
        b.lanes().as_chunks::<BLOCK>().0,
    );
    let mut bits = 0;
    for (block, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let [p, q, r, s] = [0, 1, 2, 3].map(|n| equal_lanes(&a[n], &b[n]));
        // SAFETY: SSE2 is part of x86-64.
        if all_ones(unsafe { _mm_and_si128(_mm_and_si128(p, q), _mm_and_si128(r, s)) }) {
            continue;
        }
        for (n, lanes) in [p, q, r, s].into_iter().enumerate() {
            bits |= u64::from(!all_ones(lanes)) << (block * BLOCK + n);
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_differ_in_the_lines_that_were_changed() {
        let a = Page([[1; 8]; LINES]);
        for bits in [0, 1, 1 << 63, 0b1011 << 20, u64::MAX] {
            for word in 0..8 {
                let mut b = Page(a.0);
                for line in (0..LINES).filter(|line| bits >> line & 1 != 0) {
                    b.0[line][word] ^= 1 << (line % 64);
                }
                assert_eq!(unlike_lines(&a, &b), bits);
                assert_eq!(unlike_lines(&b, &a), bits);
                for line in 0..LINES {
                    let differing = |mask| {
                        let mut found = 0u64;
                        for_each_unlike(&a, &b, LINES, mask, |line| {
                            found |= 1 << line;
                            Some(())
                        });
                        found
                    };
                    assert_eq!(differing(1 << line), bits & 1 << line);
                    assert_eq!(differing(u64::MAX), bits);
                }
            }
        }
    }
}
