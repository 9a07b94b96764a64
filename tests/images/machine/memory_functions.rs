//! `memcpy` and its kin against the obvious.

use alloc::{vec, vec::Vec};
use core::hint::black_box;

unsafe extern "C" {
    fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8;
    fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8;
    fn memset(to: *mut u8, byte: i32, n: usize) -> *mut u8;
    fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32;
    fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32;
    fn strlen(s: *const u8) -> usize;
}

fn sizes() -> impl Iterator<Item = usize> {
    (0..200).chain([255, 256, 257, 1000, 2047, 2048, 2049, 4096, 5001])
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[ebb::test]
fn memcpy_copies_every_length_and_nothing_else() {
    for n in sizes() {
        for (from, to) in [(0, 0), (1, 0), (0, 3), (5, 9)] {
            let source = pattern(n + 16);
            let mut target = vec![0xee; n + 32];
            // SAFETY: both buffers are long enough.
            let result =
                unsafe { memcpy(target.as_mut_ptr().add(to), source.as_ptr().add(from), n) };
            assert_eq!(result, target.as_mut_ptr().wrapping_add(to));
            for (i, &byte) in target.iter().enumerate() {
                let expected = if (to..to + n).contains(&i) {
                    source[i - to + from]
                } else {
                    0xee
                };
                assert_eq!(byte, expected, "length {n}, {from} to {to}, at {i}");
            }
        }
    }
}

#[ebb::test]
fn memmove_copies_overlapping_bytes_in_both_directions() {
    for n in sizes() {
        for distance in [1usize, 2, 7, 15, 16, 31, 33, 63, 64, 65, 300] {
            for up in [false, true] {
                let original = pattern(n + distance);
                let mut bytes = original.clone();
                let (from, to) = if up { (0, distance) } else { (distance, 0) };
                // SAFETY: both ranges lie in the buffer.
                unsafe { memmove(bytes.as_mut_ptr().add(to), bytes.as_ptr().add(from), n) };
                for i in 0..n + distance {
                    let expected = if (to..to + n).contains(&i) {
                        original[i - to + from]
                    } else {
                        original[i]
                    };
                    assert_eq!(bytes[i], expected, "length {n}, {from} to {to}, at {i}");
                }
            }
        }
    }
}

#[ebb::test]
fn memset_fills_every_length_and_nothing_else() {
    for n in sizes() {
        for at in [0, 1, 8, 13] {
            let mut bytes = vec![0x11; n + 32];
            // SAFETY: the range lies in the buffer. Only the low byte of the value counts.
            unsafe { memset(bytes.as_mut_ptr().add(at), 0x7fa5, n) };
            for (i, &byte) in bytes.iter().enumerate() {
                assert_eq!(
                    byte,
                    if (at..at + n).contains(&i) {
                        0xa5
                    } else {
                        0x11
                    },
                    "length {n} from {at}, at {i}"
                );
            }
        }
    }
}

#[ebb::test]
fn memcmp_finds_the_first_difference_and_its_sign() {
    for n in sizes() {
        let a = pattern(n);
        let mut b = a.clone();
        // SAFETY: both buffers have the length.
        let order = unsafe { memcmp(a.as_ptr(), b.as_ptr(), n) };
        assert_eq!(order, 0, "length {n}");
        for at in [0, n / 3, n / 2, n.saturating_sub(1)]
            .into_iter()
            .filter(|&at| at < n)
        {
            b[at] = a[at].wrapping_add(1);
            // A later difference the other way must not count.
            let last = n - 1;
            if last > at {
                b[last] = a[last].wrapping_sub(1);
            }
            // SAFETY: as above.
            let (order, equal) = unsafe {
                (
                    memcmp(a.as_ptr(), b.as_ptr(), n),
                    bcmp(a.as_ptr(), b.as_ptr(), n),
                )
            };
            assert_eq!(
                order.signum(),
                i32::from(a[at]).cmp(&i32::from(b[at])) as i32,
                "length {n}, at {at}"
            );
            assert_ne!(equal, 0, "length {n}, at {at}");
            b.copy_from_slice(&a);
        }
    }
}

#[ebb::test]
fn strlen_counts_to_the_zero_from_any_alignment() {
    for n in 0..100 {
        for at in 0..17 {
            let mut bytes = [b'x'; 160];
            bytes[at + n] = 0;
            // SAFETY: the buffer holds the zero.
            assert_eq!(unsafe { strlen(black_box(bytes.as_ptr().add(at))) }, n);
        }
    }
}
