//! The ciphers of protected connections, by ring: AES-256-GCM where the CPU has instructions for it, else ChaCha20-Poly1305. With the
//! ciphers that snow brings along, large answers took twice as long.
//!
//! What must hold: each is what Noise calls by its name to the bit, so that peers with another implementation understand it. Source: The
//! Noise Protocol Framework, revision 34, 12.3 and 12.4.

use alloc::{boxed::Box, vec::Vec};
use core::arch::x86_64::__cpuid;

use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};
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

/// The cipher of a handshake, if it is one of them.
pub fn resolve(choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
    let suite = Suite::of(choice)?;
    Some(Box::new(Keyed(suite, suite.key(&[0; KEY]))))
}

/// What tells the ciphers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    AesGcm,
    ChaChaPoly,
}

impl Suite {
    pub fn of(choice: &CipherChoice) -> Option<Self> {
        match choice {
            CipherChoice::AESGCM => Some(Self::AesGcm),
            CipherChoice::ChaChaPoly => Some(Self::ChaChaPoly),
            #[allow(unreachable_patterns, reason = "snow has more with other features")]
            _ => None,
        }
    }

    /// Noise's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "AESGCM",
            Self::ChaChaPoly => "ChaChaPoly",
        }
    }

    fn key(self, key: &[u8; KEY]) -> LessSafeKey {
        let algorithm = match self {
            Self::AesGcm => &AES_256_GCM,
            Self::ChaChaPoly => &CHACHA20_POLY1305,
        };
        LessSafeKey::new(UnboundKey::new(algorithm, key).expect("a key of its length"))
    }

    /// The number of a message behind 32 bits of zeroes.
    fn nonce(self, number: u64) -> Nonce {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&match self {
            Self::AesGcm => number.to_be_bytes(),
            Self::ChaChaPoly => number.to_le_bytes(),
        });
        Nonce::assume_unique_for_key(bytes)
    }
}

/// One direction of an open channel: its messages are numbered, and opened in the order in which they were sealed.
pub struct Direction {
    suite: Suite,
    key: [u8; KEY],
    /// Of the next message.
    number: u64,
    /// Made from the key when it is needed: it is 17 times as long.
    expanded: Option<Box<LessSafeKey>>,
}

impl Direction {
    pub fn new(suite: Suite, key: [u8; KEY]) -> Self {
        Self {
            suite,
            key,
            number: 0,
            expanded: None,
        }
    }

    /// Gives back what the next message can make again.
    pub fn rest(&mut self) {
        self.expanded = None;
    }

    /// The nonce of the next message; none is left before a number would come again, nor is the last one, which Noise keeps to itself.
    fn nonce(&self) -> Option<Nonce> {
        (self.number < u64::MAX).then(|| self.suite.nonce(self.number))
    }

    fn expanded(&mut self) -> &LessSafeKey {
        let (suite, key) = (self.suite, &self.key);
        self.expanded
            .get_or_insert_with(|| Box::new(suite.key(key)))
    }

    /// Makes `message[from..]` a sealed one, in place, with its tag behind.
    pub fn seal(&mut self, message: &mut Vec<u8>, from: usize) -> Option<()> {
        let nonce = self.nonce()?;
        let key = self.expanded();
        let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut message[from..]);
        message.extend_from_slice(tag.ok()?.as_ref());
        self.number += 1;
        Some(())
    }

    /// Opens a sealed message in place; how many bytes of plaintext it begins with.
    pub fn open(&mut self, message: &mut [u8]) -> Option<usize> {
        let nonce = self.nonce()?;
        let opened = self.expanded().open_in_place(nonce, Aad::empty(), message);
        let length = opened.ok()?.len();
        self.number += 1;
        Some(length)
    }
}

/// A cipher with one key, for snow, which sees to it that no nonce is used twice.
struct Keyed(Suite, LessSafeKey);

impl Cipher for Keyed {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn set(&mut self, key: &[u8; KEY]) {
        self.1 = self.0.key(key);
    }

    fn encrypt(&self, number: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, rest) = out.split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let (nonce, aad) = (self.0.nonce(number), Aad::from(authtext));
        let tag = self.1.seal_in_place_separate_tag(nonce, aad, text);
        rest[..TAG].copy_from_slice(tag.expect("less than 256 GiB").as_ref());
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
        let (nonce, aad) = (self.0.nonce(number), Aad::from(authtext));
        self.1
            .open_in_place_separate_tag(nonce, aad, Tag::from(*tag), out, 0..)
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
    use alloc::vec;
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

    #[test]
    fn a_direction_opens_its_messages_once_and_in_order_also_after_a_rest() {
        for suite in [Suite::AesGcm, Suite::ChaChaPoly] {
            let (mut seals, mut opens) = [(); 2].map(|()| Direction::new(suite, [3; KEY])).into();
            let mut message = |from: &[u8]| {
                let mut bytes = from.to_vec();
                seals.seal(&mut bytes, 2).map(|()| bytes)
            };
            let [one, two, three] = [b"..1", b"..2", b"..3"].map(|m| message(m).expect("sealed"));
            let mut open = |bytes: &[u8], rests: bool| {
                let mut bytes = bytes[2..].to_vec();
                rests.then(|| opens.rest());
                let length = opens.open(&mut bytes)?;
                Some(bytes[..length].to_vec())
            };
            assert_eq!(open(&two, false), None, "not its turn");
            assert_eq!(open(&one, false).as_deref(), Some(&b"1"[..]));
            assert_eq!(open(&one, false), None, "a second time");
            assert_eq!(open(&two, true).as_deref(), Some(&b"2"[..]));
            assert_eq!(open(&three[..TAG], false), None, "cut off");
            assert_eq!(open(&three, true).as_deref(), Some(&b"3"[..]));
        }
    }

    #[test]
    fn a_direction_ends_before_a_number_comes_again() {
        let mut direction = Direction::new(Suite::AesGcm, [0; KEY]);
        direction.number = u64::MAX - 1;
        assert!(direction.seal(&mut Vec::new(), 0).is_some());
        assert!(direction.seal(&mut Vec::new(), 0).is_none());
        assert!(direction.open(&mut [0; TAG]).is_none());
    }

    #[test]
    fn a_direction_is_noises_transport_to_the_bit() {
        let text = text(5000);
        for choice in preferred() {
            let suite = Suite::of(&choice).expect("it is spoken here");
            let mut noise = resolve(&choice).expect("it is spoken here");
            noise.set(&[9; KEY]);
            let mut direction = Direction::new(suite, [9; KEY]);
            for number in 0..3 {
                let mut right = vec![0; text.len() + TAG];
                noise.encrypt(number, &[], &text, &mut right);
                let mut message = text.clone();
                direction.seal(&mut message, 0).expect("a number is left");
                assert!(message == right, "{suite:?}, {number}");
            }
        }
    }
}
