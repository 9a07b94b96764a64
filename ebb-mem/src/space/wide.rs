//! Comparing memory with AVX2: half the instructions of SSE2, which is what any code may use.
//!
//! What must hold: the upper halves of the vector registers belong to the program that ran last until somebody has claimed them.
//! So nothing here is called without a [`Vectors`] that says that this was done.

use super::page::{BLOCK, LINES, Line, Page};
use core::arch::x86_64::{
    __m256i, _mm256_and_si256, _mm256_castsi256_pd, _mm256_cmpeq_epi64, _mm256_loadu_si256,
    _mm256_movemask_pd, _mm256_or_si256, _mm256_set1_epi64x, _mm256_setzero_si256,
    _mm256_storeu_si256, _mm256_testz_si256, _mm256_xor_si256,
};
use core::mem::MaybeUninit;

/// Which vector registers may be used to compare memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vectors {
    pub(super) avx2: bool,
}

impl Vectors {
    /// Those of SSE2, which every 64-bit CPU has and compiled code uses anyway.
    pub const BASELINE: Self = Self { avx2: false };

    /// Those of AVX2.
    ///
    /// # Safety
    /// The CPU has AVX2 and it is switched on (XCR0), and the upper halves hold nothing that is needed as long as the value is used.
    #[must_use]
    pub const unsafe fn avx2() -> Self {
        Self { avx2: true }
    }
}

#[cfg(test)]
impl Vectors {
    /// What a process may use, which has the registers for itself.
    pub fn of_this_process() -> Self {
        // Said by the standard library only where the system has switched it on.
        Self {
            avx2: std::is_x86_feature_detected!("avx2"),
        }
    }
}

/// Half of line `line`.
#[inline]
#[target_feature(enable = "avx2")]
fn half(page: &Page, line: usize, half: usize) -> __m256i {
    let words = &page.0[line][half * 4..][..4];
    // SAFETY: four words.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

/// Not zero where two lines differ.
#[inline]
#[target_feature(enable = "avx2")]
fn difference(a: &Page, b: &Page, line: usize) -> __m256i {
    let of = |n| _mm256_xor_si256(half(a, line, n), half(b, line, n));
    _mm256_or_si256(of(0), of(1))
}

/// A bit for each line of which some bit of `mask` is set in what `of` says of it.
#[inline]
#[target_feature(enable = "avx2")]
fn lines_with(mask: __m256i, of: impl Fn(usize) -> __m256i) -> u64 {
    let block = |first: usize| {
        let [p, q, r, s] = [of(first), of(first + 1), of(first + 2), of(first + 3)];
        let any = _mm256_or_si256(_mm256_or_si256(p, q), _mm256_or_si256(r, s));
        if _mm256_testz_si256(any, mask) != 0 {
            return 0;
        }
        let is = |line| u64::from(_mm256_testz_si256(line, mask) == 0);
        is(p) | is(q) << 1 | is(r) << 2 | is(s) << 3
    };
    let mut bits = 0;
    // Written out, so that a block that does not differ, as most do not, is its loads and one branch.
    for first in (0..LINES).step_by(4 * BLOCK) {
        let at = |n: usize| block(first + n * BLOCK) << (n * BLOCK);
        bits |= (at(0) | at(1) | at(2) | at(3)) << first;
    }
    bits
}

/// See [`unlike_lines`](super::line::unlike_lines).
#[target_feature(enable = "avx2")]
pub(super) fn unlike_lines(a: &Page, b: &Page) -> u64 {
    lines_with(_mm256_set1_epi64x(-1), |line| difference(a, b, line))
}

/// See [`lines_in_use`](super::line::lines_in_use).
#[target_feature(enable = "avx2")]
pub(super) fn lines_in_use(page: &Page) -> u64 {
    lines_with(_mm256_set1_epi64x(-1), |line| {
        _mm256_or_si256(half(page, line, 0), half(page, line, 1))
    })
}

/// See [`unlike_entries`](super::line::unlike_entries).
#[target_feature(enable = "avx2")]
pub(super) fn unlike_entries(a: &Page, b: &Page, bits: u64) -> u64 {
    let mask = _mm256_set1_epi64x(bits.cast_signed());
    lines_with(mask, |line| difference(a, b, line))
}

/// See [`unlike_words`](super::line::unlike_words).
#[target_feature(enable = "avx2")]
pub(super) fn unlike_words(a: &Page, b: &Page, line: usize, bits: u64) -> u32 {
    let (mask, zero) = (
        _mm256_set1_epi64x(bits.cast_signed()),
        _mm256_setzero_si256(),
    );
    let same = |n| {
        let unlike = _mm256_xor_si256(half(a, line, n), half(b, line, n));
        let equal = _mm256_cmpeq_epi64(_mm256_and_si256(unlike, mask), zero);
        _mm256_movemask_pd(_mm256_castsi256_pd(equal)).cast_unsigned()
    };
    !(same(0) | same(1) << 4) & 0xff
}

/// See [`copy_page_by`](super::line::copy_page_by).
///
/// # Safety
/// Both are whole frames that may be read and written, and nobody else has `to`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn copy_page(from: *const u8, to: *mut u8) {
    let (from, to) = (from.cast::<__m256i>(), to.cast::<__m256i>());
    // Written out, so that it is loads and stores for the most part.
    for first in (0..size_of::<Page>() / size_of::<__m256i>()).step_by(8) {
        for n in first..first + 8 {
            // SAFETY: within the frames, by the caller's word.
            unsafe { _mm256_storeu_si256(to.add(n), _mm256_loadu_si256(from.add(n))) };
        }
    }
}

/// See [`copy_lines`](super::line::copy_lines).
#[target_feature(enable = "avx2")]
pub(super) fn copy_lines(page: &Page, mut bits: u64, to: &mut [MaybeUninit<Line>]) -> (usize, u64) {
    let mut copied = 0;
    while bits != 0
        && let Some(to) = to.get_mut(copied)
    {
        let line = bits.trailing_zeros() as usize;
        bits &= bits - 1;
        let (low, high) = (half(page, line, 0), half(page, line, 1));
        let to = to.as_mut_ptr().cast::<__m256i>();
        // SAFETY: the two halves of a line.
        unsafe {
            _mm256_storeu_si256(to, low);
            _mm256_storeu_si256(to.add(1), high);
        }
        copied += 1;
    }
    (copied, bits)
}
