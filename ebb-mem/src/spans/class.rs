//! Size classes.
//!
//! 8 bytes, multiples of 16 up to 128, then four per doubling (so at most a
//! fifth of a block is lost; the spacing of jemalloc and mimalloc).
//!
//! What must hold: a size that is a multiple of a power of two `a` gets a
//! class whose size is a multiple of `a` too. Between `2^k` and `2^(k+1)` the
//! classes are the multiples of `2^(k-2)`: for `a` up to that every class
//! will do, and any larger multiple of `a` is itself a class. So rounding a
//! size up to its alignment is all that aligned allocation needs.

/// The largest block of a small span.
pub(crate) const SMALL_MAX: usize = 8 << 10;

/// The largest block of a medium span; above it pages come from the buddy.
pub(crate) const MEDIUM_MAX: usize = 64 << 10;

/// How many classes there are.
pub(super) const CLASSES: usize = 45;

const LINEAR_MAX: usize = 128;
/// Classes up to `LINEAR_MAX`.
const LINEAR: usize = 9;

/// Sizes up to this are looked up in a table.
const TABLE_MAX: usize = 1024;

/// The size of each class in bytes.
pub(crate) static SIZES: [u32; CLASSES] = {
    let mut sizes = [0; CLASSES];
    sizes[0] = 8;
    let mut i = 1;
    while i < CLASSES {
        sizes[i] = if i < LINEAR {
            16 * i as u32
        } else {
            let doubling = (i - LINEAR) / 4;
            let step = (i - LINEAR) % 4 + 1;
            ((LINEAR_MAX + LINEAR_MAX / 4 * step) << doubling) as u32
        };
        i += 1;
    }
    sizes
};

/// Class by size in units of 8 bytes, rounded up.
static TABLE: [u8; TABLE_MAX / 8 + 1] = {
    let mut table = [0; TABLE_MAX / 8 + 1];
    let mut class = 0;
    let mut i = 0;
    while i < table.len() {
        if i * 8 > SIZES[class] as usize {
            class += 1;
        }
        table[i] = class as u8;
        i += 1;
    }
    table
};

/// The class of a size up to [`MEDIUM_MAX`].
#[inline(always)]
pub(crate) fn class_of(size: usize) -> usize {
    debug_assert!(size <= MEDIUM_MAX);
    if size <= TABLE_MAX {
        TABLE[(size + 7) >> 3] as usize
    } else {
        let last = size - 1;
        let log = last.ilog2() as usize;
        ((last >> (log - 2)) & 3) + 4 * (log - 7) + LINEAR
    }
}

/// The largest power of two that every block of the class is aligned to when
/// the first one is.
pub(super) fn natural_align(class: usize) -> usize {
    1 << SIZES[class].trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_gets_the_smallest_class_that_holds_it() {
        for size in 0..=MEDIUM_MAX {
            let class = class_of(size);
            assert!(SIZES[class] as usize >= size, "{size}");
            assert!(class == 0 || (SIZES[class - 1] as usize) < size, "{size}");
        }
        assert_eq!(SIZES[CLASSES - 1] as usize, MEDIUM_MAX);
    }

    #[test]
    fn rounding_up_to_the_alignment_gives_an_aligned_class() {
        for align in (0..=16).map(|p| 1usize << p) {
            for size in (align..=MEDIUM_MAX).step_by(align) {
                assert_eq!(
                    SIZES[class_of(size)] as usize % align,
                    0,
                    "{size} at {align}"
                );
            }
        }
    }

    #[test]
    fn at_most_a_fifth_of_a_large_block_is_lost() {
        for size in 129..=MEDIUM_MAX {
            let lost = SIZES[class_of(size)] as usize - size;
            assert!(lost * 5 <= SIZES[class_of(size)] as usize, "{size}");
        }
    }
}
