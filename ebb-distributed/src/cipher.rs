//! The cipher of protected connections: ChaCha20-Poly1305 by ring. With the one that snow brings along, large answers took twice as long.
//!
//! What must hold: it is what Noise calls `ChaChaPoly` to the bit, so that peers with another implementation understand it. Source: The
//! Noise Protocol Framework, revision 34, 12.3.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};
use snow::{Error, types::Cipher};

/// Bytes of a key.
const KEY: usize = 32;
/// Bytes of a tag, behind each ciphertext.
const TAG: usize = 16;

/// The cipher with one key. Whoever calls it sees to it that no nonce is used twice.
pub struct ChaChaPoly(LessSafeKey);

impl Default for ChaChaPoly {
    fn default() -> Self {
        Self(keyed(&[0; KEY]))
    }
}

fn keyed(key: &[u8; KEY]) -> LessSafeKey {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("a key of its length");
    LessSafeKey::new(key)
}

/// 32 bits of zeroes, then the number, little endian.
fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; KEY]) {
        self.0 = keyed(key);
    }

    fn encrypt(&self, number: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, rest) = out.split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce(number), Aad::from(authtext), text)
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
                nonce(number),
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
    use alloc::vec;
    use snow::params::CipherChoice;
    use snow::resolvers::{CryptoResolver, DefaultResolver};

    #[test]
    fn it_is_the_cipher_that_noise_names_to_the_bit() {
        let mut theirs = DefaultResolver
            .resolve_cipher(&CipherChoice::ChaChaPoly)
            .expect("snow has it");
        let mut ours = ChaChaPoly::default();
        for length in [0, 1, 15, 16, 17, 64, 1000, 65_000] {
            let key = [length as u8; KEY];
            theirs.set(&key);
            ours.set(&key);
            let text: vec::Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
            let number = 1 << 40 | length as u64;
            let (mut a, mut b) = (vec![0; length + TAG], vec![0; length + TAG]);
            assert_eq!(ours.encrypt(number, b"more", &text, &mut a), length + TAG);
            theirs.encrypt(number, b"more", &text, &mut b);
            assert!(a == b, "{length} bytes");
            let mut back = vec![0; length];
            let opened = ours.decrypt(number, b"more", &a, &mut back);
            assert_eq!(opened.ok(), Some(length));
            assert!(back == text);
            a[length / 2] ^= 1;
            assert!(ours.decrypt(number, b"more", &a, &mut back).is_err());
            assert!(ours.decrypt(number + 1, b"more", &b, &mut back).is_err());
            assert!(ours.decrypt(number, b"less", &b, &mut back).is_err());
        }
        assert!(ours.decrypt(0, b"", &[0; TAG - 1], &mut []).is_err());
    }
}
