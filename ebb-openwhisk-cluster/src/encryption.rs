//! Encrypted parameters (`common/scala/.../core/entity/ParameterEncryption.scala`): members of an argument that the controller has
//! stored and sends encrypted, with AES in Galois/counter mode.
//!
//! The text is the base64 of: the length of the nonce (`u32`, big endian), the nonce, the ciphertext with its tag of 128 bits. What
//! is encrypted is the value as JSON. The schemes are called `aes-128` and `aes-256`; the keys are base64 in
//! `whisk.parameter-storage.aes-128` and `aes-256`.

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ebb_openwhisk::json::{Json, Object};

/// Bytes of a nonce.
const NONCE: usize = 12;

/// The keys that this invoker has.
#[derive(Default)]
pub struct Keys {
    aes_128: Option<Aes128Gcm>,
    aes_256: Option<Aes256Gcm>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Which there are, and nothing of what they are.
        f.debug_struct("Keys")
            .field("aes_128", &self.aes_128.is_some())
            .field("aes_256", &self.aes_256.is_some())
            .finish()
    }
}

impl Keys {
    /// The keys of a configuration, in base64; an empty text is none.
    ///
    /// # Errors
    /// Which key is none, and of how many bytes it has to be.
    pub fn new(aes_128: &str, aes_256: &str) -> Result<Self, String> {
        Ok(Self {
            aes_128: key(aes_128, 16, "aes-128", |k| {
                Aes128Gcm::new_from_slice(k).ok()
            })?,
            aes_256: key(aes_256, 32, "aes-256", |k| {
                Aes256Gcm::new_from_slice(k).ok()
            })?,
        })
    }

    /// The argument with the locked members in plain text.
    ///
    /// # Errors
    /// Which member cannot be read, and why.
    pub fn unlock(
        &self,
        mut content: Object,
        locked: &[(String, String)],
    ) -> Result<Object, String> {
        for (name, scheme) in locked {
            // As in `unlockArguments`: only strings can be encrypted values.
            let Some(text) = content.get(name).and_then(Json::to_text) else {
                continue;
            };
            let wrong = |why: &str| {
                format!(
                    "The parameter '{name}' is encrypted with {scheme}, and this invoker {why}."
                )
            };
            let plain = match (scheme.as_str(), &self.aes_128, &self.aes_256) {
                ("noop", ..) => continue,
                ("aes-128", Some(cipher), _) => open(cipher, &text),
                ("aes-256", _, Some(cipher)) => open(cipher, &text),
                _ => return Err(wrong("has no key for that")),
            };
            let plain = plain.ok_or_else(|| wrong("cannot decrypt it with its key"))?;
            content.set(name, plain);
        }
        Ok(content)
    }
}

fn key<C>(
    text: &str,
    length: usize,
    scheme: &str,
    make: impl Fn(&[u8]) -> Option<C>,
) -> Result<Option<C>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let bytes = STANDARD.decode(text).ok();
    let cipher = bytes.filter(|bytes| bytes.len() == length);
    cipher
        .and_then(|bytes| make(&bytes))
        .map(Some)
        .ok_or_else(|| {
            format!("the key of {scheme} (parameter storage) is not the base64 of {length} bytes")
        })
}

fn open(cipher: &impl Aead<NonceSize = aes_gcm::aead::consts::U12>, text: &str) -> Option<Json> {
    let bytes = STANDARD.decode(text).ok()?;
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    if u32::from_be_bytes(*length) as usize != NONCE {
        return None;
    }
    let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
    let plain = cipher.decrypt(&Nonce::from(*nonce), sealed).ok()?;
    Json::parse_bytes(&plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_128: [u8; 16] = [7; 16];
    const KEY_256: [u8; 32] = [9; 32];

    fn keys() -> Keys {
        let text = |key: &[u8]| STANDARD.encode(key);
        Keys::new(&text(&KEY_128), &text(&KEY_256)).expect("keys")
    }

    /// As `AesEncryption.encrypt` does it.
    fn sealed(cipher: &impl Aead<NonceSize = aes_gcm::aead::consts::U12>, json: &str) -> Json {
        let nonce = [3; NONCE];
        let sealed = cipher
            .encrypt(&Nonce::from(nonce), json.as_bytes())
            .expect("encrypted");
        let mut bytes = 12_u32.to_be_bytes().to_vec();
        bytes.extend(nonce);
        bytes.extend(sealed);
        Json::text(&STANDARD.encode(bytes))
    }

    fn content(value: Json) -> Object {
        let mut content = Object::new();
        content.set("secret", value);
        content.set("plain", Json::number(1));
        content
    }

    fn locked(scheme: &str) -> Vec<(String, String)> {
        vec![("secret".into(), scheme.into())]
    }

    #[test]
    fn values_of_any_type_are_decrypted_with_the_key_of_their_scheme() {
        let aes_128 = Aes128Gcm::new_from_slice(&KEY_128).expect("a key");
        let aes_256 = Aes256Gcm::new_from_slice(&KEY_256).expect("a key");
        for json in [r#""text""#, r#"{"a":[1,2]}"#, "17"] {
            for (scheme, value) in [
                ("aes-128", sealed(&aes_128, json)),
                ("aes-256", sealed(&aes_256, json)),
            ] {
                let opened = keys().unlock(content(value), &locked(scheme));
                let opened = opened.expect("opened");
                assert_eq!(opened.get("secret").map(Json::as_str), Some(json));
                assert_eq!(opened.get("plain").map(Json::as_str), Some("1"));
            }
        }
    }

    #[test]
    fn what_cannot_be_decrypted_is_refused_and_named() {
        let other = Aes128Gcm::new_from_slice(&[8; 16]).expect("a key");
        for (value, scheme, told) in [
            (sealed(&other, "1"), "aes-128", "cannot decrypt it"),
            (Json::text("no base64!"), "aes-128", "cannot decrypt it"),
            (Json::text("AAAA"), "aes-256", "cannot decrypt it"),
            (Json::text("x"), "aes-512", "has no key"),
        ] {
            let refused = keys().unlock(content(value), &locked(scheme));
            let refused = refused.expect_err(told);
            assert!(
                refused.contains("'secret'") && refused.contains(told),
                "{refused}"
            );
        }
        let without = Keys::default().unlock(content(Json::text("x")), &locked("aes-128"));
        assert!(without.is_err_and(|why| why.contains("has no key")));
    }

    #[test]
    fn what_is_not_encrypted_stays_as_it_is() {
        let given = content(Json::number(5));
        for scheme in ["aes-128", "noop"] {
            assert_eq!(
                keys().unlock(given.clone(), &locked(scheme)),
                Ok(given.clone())
            );
        }
        assert_eq!(keys().unlock(given.clone(), &[]), Ok(given));
    }

    #[test]
    fn a_key_of_another_length_is_refused_at_the_start() {
        let told = Keys::new("AAAA", "").expect_err("too short");
        assert!(
            told.contains("aes-128") && told.contains("16 bytes"),
            "{told}"
        );
        assert!(Keys::new("", "%").is_err());
        assert_eq!(
            format!("{:?}", keys()),
            "Keys { aes_128: true, aes_256: true }"
        );
    }
}
