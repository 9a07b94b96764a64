//! The one place that names a library of ciphers: ring.
//!
//! What must hold: nothing here keeps a state from which random numbers are drawn; each comes from the platform when it is needed, so
//! copies of a machine's snapshot never draw the same. Another library takes ring's place by giving these functions; a program may
//! also hand its own [`CryptoProvider`] to [`ServerSettings`](crate::ServerSettings) and [`ClientSettings`](crate::ClientSettings),
//! and then ring makes tickets and self-signed certificates only.

use alloc::{sync::Arc, vec::Vec};

use ebb::{EbbRef, platform::Entropy};
use ring::{
    aead, hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use rustls::crypto::CryptoProvider;

/// The provider of ciphers unless a program brings its own: AES-GCM and ChaCha20-Poly1305, X25519, P-256 and P-384, certificates with
/// ECDSA, Ed25519 and RSA.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Random bytes, fit for keys.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    EbbRef::<dyn Entropy>::get().fill(&mut bytes);
    bytes
}

/// Bytes of [`seal`]'s tag.
pub const TAG: usize = 16;

/// A cipher that is used for one message only: its key is made of a long-lived one and a salt.
fn once(key: &[u8; 32], salt: &[u8]) -> aead::LessSafeKey {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), salt);
    let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, tag.as_ref());
    aead::LessSafeKey::new(key.expect("SHA-256 gives as much as ChaCha20 takes"))
}

fn nonce() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; 12])
}

/// Encrypts `message[from..]` and appends the tag. The salt never comes twice with a key.
pub fn seal(key: &[u8; 32], salt: &[u8; 32], message: &mut Vec<u8>, from: usize) -> Option<()> {
    let key = once(key, salt);
    let empty = aead::Aad::empty();
    let tag = key
        .seal_in_place_separate_tag(nonce(), empty, &mut message[from..])
        .ok()?;
    message.extend_from_slice(tag.as_ref());
    Some(())
}

/// Decrypts what [`seal`] made. `None` for anything else.
pub fn open(key: &[u8; 32], salt: &[u8; 32], mut sealed: Vec<u8>) -> Option<Vec<u8>> {
    let key = once(key, salt);
    let length = key
        .open_in_place(nonce(), aead::Aad::empty(), &mut sealed)
        .ok()?
        .len();
    sealed.truncate(length);
    Some(sealed)
}

/// A key for ECDSA on P-256, which every client knows.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    /// PKCS #8.
    document: Vec<u8>,
}

impl SigningKey {
    /// A new one. `None` when the platform has no random numbers.
    pub fn generate() -> Option<Self> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).ok()?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).ok()?;
        let document = document.as_ref().to_vec();
        Some(Self { pair, document })
    }

    /// As PKCS #8.
    pub fn document(&self) -> &[u8] {
        &self.document
    }

    /// The public half: an uncompressed point.
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// A signature as ASN.1.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signature = self.pair.sign(&SystemRandom::new(), message).ok()?;
        Some(signature.as_ref().to_vec())
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.document.fill(0);
    }
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    hash
}
