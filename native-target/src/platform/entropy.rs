//! Randomness: RDRAND, or timing noise where the CPU has none.

use super::Native;
use crate::clock;
use core::arch::x86_64::{__cpuid, _rdrand64_step};
use core::sync::atomic::{AtomicU64, Ordering};
use ebb_runtime::{platform::Entropy, provides};
use spin::Once;

#[provides(Entropy, default, instance = &Native)]
impl Entropy for Native {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = random().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

fn random() -> u64 {
    static HAS_RDRAND: Once<bool> = Once::new();
    let has = *HAS_RDRAND.call_once(|| {
        let has = __cpuid(1).ecx & 1 << 30 != 0;
        if !has {
            crate::inform!("ebb: this CPU has no RDRAND; random numbers come from timing and are not fit for keys");
        }
        has
    });
    if has {
        let mut word = 0;
        // Ten tries: Intel's "Digital Random Number Generator Software Implementation Guide", 5.2.1.
        for _ in 0..10 {
            // SAFETY: the CPU has the instruction.
            if unsafe { rdrand(&mut word) } {
                return word;
            }
        }
    }
    jitter()
}

#[target_feature(enable = "rdrand")]
fn rdrand(word: &mut u64) -> bool {
    _rdrand64_step(word) == 1
}

/// Timing noise, mixed (SplitMix64's finalizer). A stopgap, see the message above.
fn jitter() -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);
    let mut x = STATE.load(Ordering::Relaxed);
    for _ in 0..64 {
        x = x.rotate_left(7) ^ clock::tsc();
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
    }
    STATE.store(x, Ordering::Relaxed);
    x
}
