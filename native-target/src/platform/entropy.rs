//! Randomness: RDRAND and the seed of a virtio entropy device, mixed; timing noise where there is neither.
//!
//! What must hold: neither source can make what the other gives any worse, and nobody waits for the device again once it has not
//! answered in time.

use super::Native;
use crate::clock;
use core::arch::x86_64::{__cpuid, _rdrand64_step};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use ebb_runtime::{platform::Entropy, provides};
use ebb_virtio::entropy::{Seed, seed};
use sha2::{Digest, Sha256};
use spin::Once;

/// How long the first use waits for the entropy device where the CPU has no RDRAND.
const PATIENCE_NS: u64 = 100_000_000;

#[provides(Entropy, default, instance = &Native)]
impl Entropy for Native {
    fn fill(&self, bytes: &mut [u8]) {
        static WAITED: AtomicBool = AtomicBool::new(false);
        let has_rdrand = has_rdrand();
        let patient = !has_rdrand && !WAITED.swap(true, Ordering::Relaxed);
        let seed = seed(if patient { PATIENCE_NS } else { 0 });
        if let (false, Some(seed)) = (has_rdrand, &seed) {
            return bytes.chunks_mut(32).for_each(|chunk| {
                chunk.copy_from_slice(&derived(seed)[..chunk.len()]);
            });
        }
        if patient {
            crate::inform!(
                "ebb: this CPU has no RDRAND and the machine no virtio-rng that answers; random numbers come from timing and are not fit for keys"
            );
        }
        for chunk in bytes.chunks_mut(8) {
            let mut word = random(has_rdrand);
            if let Some(seed) = &seed {
                word ^= mixed(seed);
            }
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
    }
}

fn has_rdrand() -> bool {
    static HAS: Once<bool> = Once::new();
    *HAS.call_once(|| __cpuid(1).ecx & 1 << 30 != 0)
}

fn random(has_rdrand: bool) -> u64 {
    if has_rdrand {
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

static DRAWN: AtomicU64 = AtomicU64::new(0);

/// What nobody can tell without the seed: its SHA-256 with a number that never comes again.
fn derived(seed: &Seed) -> [u8; 32] {
    let number = DRAWN.fetch_add(1, Ordering::Relaxed);
    let mut hash = Sha256::new();
    hash.update(seed);
    hash.update(number.to_le_bytes());
    hash.update(clock::tsc().to_le_bytes());
    hash.finalize().into()
}

/// Something of the seed that differs each time, for what is unpredictable already.
fn mixed(seed: &Seed) -> u64 {
    let number = DRAWN.fetch_add(1, Ordering::Relaxed);
    let at = (number % 4) as usize * 8;
    let mut word = [0; 8];
    word.copy_from_slice(&seed[at..at + 8]);
    let mut x = u64::from_le_bytes(word).wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
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
