//! The ciphers of protected connections, by ring: AES-256-GCM where the CPU has instructions for it, else ChaCha20-Poly1305. With the
//! ciphers that snow brings along, large answers took twice as long.
//!
//! What must hold: each is what Noise calls by its name to the bit, so that peers with another implementation understand it. Source: The
//! Noise Protocol Framework, revision 34, 12.3 and 12.4.

use alloc::boxed::Box;
use core::arch::x86_64::__cpuid;
use core::marker::PhantomData;

use ring::aead::{
    AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey,
};
use snow::{Error, params::CipherChoice, types::Cipher};

/// Bytes of a key.
const KEY: usize = 32;
/// Bytes of a tag, behind each ciphertext.
const TAG: usize = 16;

/// Those that this side speaks, the ones that it prefers first.
pub fn preferred() -> [CipherChoice; 2] {
    /// Bits of ECX of leaf 1 (Intel SDM volume 2, CPUID).
    const AES: u32 = 1 << 25;
    const CARRYLESS_MULTIPLICATION: u32 = 1 << 1;
    const HYPERVISOR: u32 = 1 << 31;
    let features = __cpuid(1).ecx;
    let has = |bits| features & bits == bits;
    // QEMU's emulator has the instructions, and is slow at them; it says "TCGTCGTCGTCG".
    let is_emulated = has(HYPERVISOR) && __cpuid(0x4000_0000).ebx == u32::from_le_bytes(*b"TCGT");
    if has(AES | CARRYLESS_MULTIPLICATION) && !is_emulated {
        [CipherChoice::AESGCM, CipherChoice::ChaChaPoly]
    } else {
        [CipherChoice::ChaChaPoly, CipherChoice::AESGCM]
    }
}

/// The cipher of that name, if it is one of them.
pub fn resolve(choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
    match choice {
        CipherChoice::AESGCM => Some(Box::<Keyed<AesGcm>>::default()),
        CipherChoice::ChaChaPoly => Some(Box::<Keyed<ChaChaPoly>>::default()),
        #[allow(unreachable_patterns, reason = "snow has more with other features")]
        _ => None,
    }
}

/// What tells the ciphers apart.
trait Suite {
    /// Noise's name.
    const NAME: &'static str;
    fn algorithm() -> &'static Algorithm;
    /// How the number of a message follows on 32 bits of zeroes.
    fn number(number: u64) -> [u8; 8];
}

struct AesGcm;

impl Suite for AesGcm {
    const NAME: &'static str = "AESGCM";
    fn algorithm() -> &'static Algorithm {
        &AES_256_GCM
    }
    fn number(number: u64) -> [u8; 8] {
        number.to_be_bytes()
    }
}

struct ChaChaPoly;

impl Suite for ChaChaPoly {
    const NAME: &'static str = "ChaChaPoly";
    fn algorithm() -> &'static Algorithm {
        &CHACHA20_POLY1305
    }
    fn number(number: u64) -> [u8; 8] {
        number.to_le_bytes()
    }
}

/// A cipher with one key. Whoever calls it sees to it that no nonce is used twice.
struct Keyed<S>(LessSafeKey, PhantomData<fn() -> S>);

impl<S: Suite> Keyed<S> {
    fn new(key: &[u8; KEY]) -> Self {
        let key = UnboundKey::new(S::algorithm(), key).expect("a key of its length");
        Self(LessSafeKey::new(key), PhantomData)
    }

    fn nonce(number: u64) -> Nonce {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&S::number(number));
        Nonce::assume_unique_for_key(bytes)
    }
}

impl<S: Suite> Default for Keyed<S> {
    fn default() -> Self {
        Self::new(&[0; KEY])
    }
}

impl<S: Suite> Cipher for Keyed<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn set(&mut self, key: &[u8; KEY]) {
        *self = Self::new(key);
    }

    fn encrypt(&self, number: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, rest) = out.split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let tag = self
            .0
            .seal_in_place_separate_tag(Self::nonce(number), Aad::from(authtext), text)
            .expect("less than 256 GiB");
        rest[..TAG].copy_from_slice(tag.as_ref());
        plaintext.len() + TAG
    }

    fn decrypt(
        &self,
        number: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let (text, tag) = ciphertext.split_last_chunk::<TAG>().ok_or(Error::Decrypt)?;
        let out = out.get_mut(..text.len()).ok_or(Error::Decrypt)?;
        out.copy_from_slice(text);
        self.0
            .open_in_place_separate_tag(
                Self::nonce(number),
                Aad::from(authtext),
                Tag::from(*tag),
                out,
                0..,
            )
            .map_err(|_| Error::Decrypt)?;
        Ok(text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes_gcm::{
        Aes256Gcm, KeyInit,
        aead::{Aead, Payload},
    };
    use alloc::{vec, vec::Vec};
    use snow::resolvers::{CryptoResolver, DefaultResolver};

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n * 7) as u8).collect()
    }

    #[test]
    fn each_opens_what_it_has_sealed_and_nothing_else() {
        for choice in preferred() {
            let mut cipher = resolve(&choice).expect("it is spoken here");
            for length in [0, 1, 15, 16, 17, 64, 1000, 65_000] {
                cipher.set(&[length as u8; KEY]);
                let text = text(length);
                let number = 1 << 40 | length as u64;
                let mut sealed = vec![0; length + TAG];
                let count = cipher.encrypt(number, b"more", &text, &mut sealed);
                assert_eq!(count, length + TAG);
                let mut back = vec![0; length];
                let opened = cipher.decrypt(number, b"more", &sealed, &mut back);
                assert_eq!(opened.ok(), Some(length));
                assert!(back == text);
                let mut refuses = |number, more: &[u8], sealed: &[u8]| {
                    cipher.decrypt(number, more, sealed, &mut back).is_err()
                };
                assert!(refuses(number + 1, b"more", &sealed));
                assert!(refuses(number, b"less", &sealed));
                sealed[length / 2] ^= 1;
                assert!(refuses(number, b"more", &sealed));
            }
            assert!(cipher.decrypt(0, b"", &[0; TAG - 1], &mut []).is_err());
        }
    }

    #[test]
    fn each_is_the_cipher_that_noise_names_to_the_bit() {
        let lengths = [0, 1, 15, 16, 17, 64, 1000, 65_000];
        let number = 1 << 40 | 7;
        let sealed = |cipher: &mut dyn Cipher, length: usize| {
            cipher.set(&[length as u8; KEY]);
            let mut sealed = vec![0; length + TAG];
            cipher.encrypt(number, b"more", &text(length), &mut sealed);
            sealed
        };
        let ours = |choice| resolve(&choice).expect("it is spoken here");
        let choice = CipherChoice::ChaChaPoly;
        let theirs = DefaultResolver.resolve_cipher(&choice);
        let (mut ours_is, mut theirs) = (ours(choice), theirs.expect("snow has it"));
        assert_eq!(ours_is.name(), theirs.name());
        for length in lengths {
            assert!(sealed(&mut *ours_is, length) == sealed(&mut *theirs, length));
        }
        let mut ours_is = ours(CipherChoice::AESGCM);
        assert_eq!(ours_is.name(), "AESGCM");
        for length in lengths {
            let theirs = Aes256Gcm::new(&[length as u8; KEY].into());
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&number.to_be_bytes());
            let (msg, aad) = (&*text(length), &b"more"[..]);
            let theirs = theirs.encrypt(&nonce.into(), Payload { msg, aad });
            assert!(sealed(&mut *ours_is, length) == theirs.expect("a short text"));
        }
    }
}
