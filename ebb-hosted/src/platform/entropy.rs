//! Randomness: the kernel's.

use ebb_runtime::{platform::Entropy, provides};

use super::Linux;

#[provides(Entropy, default, instance = &Linux)]
impl Entropy for Linux {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(256) {
            // SAFETY: the chunk is valid for its length; requests up to 256 bytes are whole.
            let got = unsafe { libc::getrandom(chunk.as_mut_ptr().cast(), chunk.len(), 0) };
            assert_eq!(
                got,
                chunk.len() as isize,
                "getrandom gives up to 256 bytes at once"
            );
        }
    }
}
