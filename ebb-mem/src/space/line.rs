//! Lines of memory, and in which of them two pages differ: by SSE2, or by AVX2 where its registers are free ([`wide`](super::wide)).

pub(super) use super::page::{BLOCK, LINES, Line, Page};
use super::wide::{self, Vectors};
use core::arch::asm;
use core::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_cvtsi128_si64, _mm_movemask_epi8, _mm_or_si128,
    _mm_set1_epi64x, _mm_setzero_si128, _mm_unpackhi_epi64, _mm_xor_si128,
};
use core::mem::MaybeUninit;

/// What a page that had no frame is compared with.
pub(super) static ZEROES: Page = Page([[0; 8]; LINES]);

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

/// Copies a page from one frame to another. A string instruction is what CPUs are best at for a whole page, and one instruction.
///
/// # Safety
/// Both are whole frames that may be read and written, and nobody else has `to`.
pub(super) unsafe fn copy_page(from: *const u8, to: *mut u8) {
    // SAFETY: the caller's, for as many words as a page has; the direction flag is clear in Rust code.
    unsafe {
        asm!(
            "rep movsq",
            inout("rcx") size_of::<Page>() / 8 => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

/// The same where many pages are copied, with the registers that were claimed for it.
///
/// # Safety
/// As for [`copy_page`].
pub(super) unsafe fn copy_page_by(from: *const u8, to: *mut u8, vectors: Vectors) {
    // SAFETY: the caller's; AVX2 by the word of whoever made `vectors`.
    unsafe {
        match vectors.avx2 {
            true => wide::copy_page(from, to),
            false => copy_page(from, to),
        }
    }
}

/// Copies a table without these bits of its entries; calls `f` with the lines of the copy in which some entry has all bits of `has` and
/// not all entries have the bit `unless`.
///
/// # Safety
/// `to` is a frame that nobody else has. Of `from` the CPU may note accesses meanwhile, and nothing else changes.
pub(super) unsafe fn copy_table(
    from: *const Page,
    to: *mut Page,
    without: u64,
    (has, unless): (u64, u64),
    mut f: impl FnMut(&Line),
) {
    let (from, to) = (from.cast::<Lanes>(), to.cast::<Lanes>());
    for line in 0..LINES {
        // SAFETY: within the frames, which are aligned; SSE2 is part of x86-64.
        let (any, all) = unsafe {
            let entries = from.add(line).read();
            let mask = _mm_set1_epi64x((!without).cast_signed());
            to.add(line)
                .write(entries.map(|pair| _mm_and_si128(pair, mask)));
            let [a, b, c, d] = entries;
            let any = _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d));
            let all = _mm_and_si128(_mm_and_si128(a, b), _mm_and_si128(c, d));
            (
                _mm_or_si128(any, _mm_unpackhi_epi64(any, any)),
                _mm_and_si128(all, _mm_unpackhi_epi64(all, all)),
            )
        };
        // SAFETY: SSE2 is part of x86-64.
        let (any, all) = unsafe { (_mm_cvtsi128_si64(any), _mm_cvtsi128_si64(all)) };
        if any.cast_unsigned() & has != 0 && all.cast_unsigned() & unless == 0 {
            // SAFETY: it was just written, and is the caller's alone.
            f(unsafe { &*to.add(line).cast::<Line>() });
        }
    }
}

/// The lines in which two tables differ in these bits of their entries, a bit for each. Most do not, so each is read whole in both,
/// without a call or a branch.
pub(super) fn unlike_entries(a: &Page, b: &Page, bits: u64, vectors: Vectors) -> u64 {
    if vectors.avx2 {
        // SAFETY: by the word of whoever made it.
        return unsafe { wide::unlike_entries(a, b, bits) };
    }
    // SAFETY: SSE2 is part of x86-64.
    let (mask, zero) = unsafe { (_mm_set1_epi64x(bits.cast_signed()), _mm_setzero_si128()) };
    let mut unlike = 0;
    // The first line is to be the lowest bit: the last one comes first.
    for (a, b) in a.lanes().iter().zip(b.lanes()).rev() {
        // SAFETY: as above.
        let equal = unsafe {
            let x = |n: usize| _mm_xor_si128(a[n], b[n]);
            let any = _mm_or_si128(_mm_or_si128(x(0), x(1)), _mm_or_si128(x(2), x(3)));
            _mm_cmpeq_epi8(_mm_and_si128(any, mask), zero)
        };
        unlike = unlike << 1 | u64::from(!all_ones(equal));
    }
    unlike
}

/// The entries in which two tables differ in these bits, of a line of them: a bit for each.
pub(super) fn unlike_words(a: &Page, b: &Page, line: usize, bits: u64, vectors: Vectors) -> u32 {
    if vectors.avx2 {
        // SAFETY: by the word of whoever made it.
        return unsafe { wide::unlike_words(a, b, line, bits) };
    }
    let words = a.0[line].iter().zip(&b.0[line]).enumerate();
    words.fold(0, |unlike, (index, (a, b))| {
        unlike | u32::from((a ^ b) & bits != 0) << index
    })
}

/// The numbers of the bits of a word, from the lowest on.
pub(super) fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let lowest = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (lowest < 64).then_some(lowest)
    })
}

/// The lines in which two pages differ, a bit for each.
pub(super) fn unlike_lines(a: &Page, b: &Page, vectors: Vectors) -> u64 {
    if vectors.avx2 {
        // SAFETY: by the word of whoever made it.
        return unsafe { wide::unlike_lines(a, b) };
    }
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

/// The lines of a page that are not all zeroes, a bit for each.
pub(super) fn lines_in_use(page: &Page, vectors: Vectors) -> u64 {
    if vectors.avx2 {
        // SAFETY: by the word of whoever made it.
        return unsafe { wide::lines_in_use(page) };
    }
    unlike_lines(page, &ZEROES, vectors)
}

/// Copies the lines of these bits, in order, as far as there is room; says how many, and the bits of the rest.
pub(super) fn copy_lines(
    page: &Page,
    mut bits: u64,
    to: &mut [MaybeUninit<Line>],
    vectors: Vectors,
) -> (usize, u64) {
    if vectors.avx2 {
        // SAFETY: by the word of whoever made it.
        return unsafe { wide::copy_lines(page, bits, to) };
    }
    let mut copied = 0;
    for (to, line) in to.iter_mut().zip(ones(bits)) {
        to.write(page.0[line]);
        bits &= bits.wrapping_sub(1);
        copied += 1;
    }
    (copied, bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_differ_in_the_lines_that_were_changed() {
        for vectors in [Vectors::BASELINE, Vectors::of_this_process()] {
            pages_differ(vectors);
        }
    }

    fn pages_differ(vectors: Vectors) {
        let a = Page([[1; 8]; LINES]);
        for bits in [0, 1, 1 << 63, 0b1011 << 20, u64::MAX] {
            for word in 0..8 {
                let mut b = Page(a.0);
                for line in (0..LINES).filter(|line| bits >> line & 1 != 0) {
                    b.0[line][word] ^= 1 << (line % 64);
                }
                assert_eq!(unlike_lines(&a, &b, vectors), bits);
                assert_eq!(unlike_lines(&b, &a, vectors), bits);
                assert_eq!(unlike_entries(&a, &b, u64::MAX, vectors), bits);
                for line in 0..LINES {
                    let bit = bits & 1 << line;
                    assert_eq!(unlike_entries(&a, &b, 1 << line, vectors), bit);
                    let words = unlike_words(&a, &b, line, 1 << line, vectors);
                    assert_eq!(words, u32::from(bit != 0) << word);
                }
                let mut zeroes = Page([[0; 8]; LINES]);
                assert_eq!(lines_in_use(&zeroes, vectors), 0);
                let kept = [[0; 8]; LINES];
                for room in [LINES, 3, 0] {
                    let mut places = kept.map(MaybeUninit::new);
                    let (copied, left) = copy_lines(&b, bits, &mut places[..room], vectors);
                    assert_eq!(copied, room.min(bits.count_ones() as usize));
                    assert!(ones(left).eq(ones(bits).skip(copied)));
                    // SAFETY: all are initialised.
                    let places = places.map(|place| unsafe { place.assume_init() });
                    assert!(
                        ones(bits)
                            .zip(&places[..copied])
                            .all(|(n, line)| *line == b.0[n])
                    );
                    assert!(places[copied..].iter().all(|line| *line == [0; 8]));
                }
                ones(bits).for_each(|line| zeroes.0[line][word] = 1 << line);
                assert_eq!(lines_in_use(&zeroes, vectors), bits);
                assert!(ones(bits).eq((0..LINES).filter(|line| bits >> line & 1 != 0)));
            }
        }
    }
}
