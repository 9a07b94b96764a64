//! A certificate that vouches for itself, for a server that was given none: X.509 version 3 (RFC 5280) in DER, with a key on P-256.
//!
//! rcgen, which makes such certificates elsewhere, needs `std`. The shape is fixed, so writing it takes no library: every element is a
//! tag, a length and its content.

use alloc::{format, string::String, vec::Vec};
use core::{net::IpAddr, time::Duration};

use ebb_net::http::civil;

use crate::{
    Error,
    primitives::{SigningKey, random, sha256},
};

/// How long it is valid.
const DAYS: u64 = 365;

/// Object identifiers, encoded: ecPublicKey, prime256v1, ecdsa-with-SHA256, commonName; the extensions subjectAltName, basicConstraints,
/// keyUsage, extKeyUsage, and serverAuth.
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ALT_NAMES: &[u8] = &[0x55, 29, 17];
const CONSTRAINTS: &[u8] = &[0x55, 29, 19];
const KEY_USAGE: &[u8] = &[0x55, 29, 15];
const EXTENDED_USAGE: &[u8] = &[0x55, 29, 37];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT: u8 = 0x06;
const UTF8: u8 = 0x0c;
const TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const TRUE: &[u8] = &[0x01, 1, 0xff];

/// An element with its tag and length.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    if length < 128 {
        out.push(length as u8);
    } else {
        let digits = length.to_be_bytes();
        let from = digits.iter().position(|d| *d != 0).unwrap_or(0);
        out.push(0x80 | (digits.len() - from) as u8);
        out.extend_from_slice(&digits[from..]);
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

fn time(unix: u64) -> Vec<u8> {
    let (year, month, day) = civil(unix / 86_400);
    let (hour, minute, second) = (unix / 3600 % 24, unix / 60 % 60, unix % 60);
    // Until 2049 the other form, with two digits of the year (RFC 5280, section 4.1.2.5).
    let (tag, text) = match year {
        1950..2050 => (0x17, format!("{:02}", year % 100)),
        _ => (TIME, format!("{year:04}")),
    };
    let text = format!("{text}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    element(tag, &[text.as_bytes()])
}

fn extension(name: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { TRUE } else { &[] };
    let value = element(OCTET_STRING, &[value]);
    element(SEQUENCE, &[&element(OBJECT, &[name]), critical, &value])
}

/// The names of a server; what reads as an IP address is one.
fn alt_names(names: &[&str]) -> Vec<u8> {
    let names: Vec<Vec<u8>> = names
        .iter()
        .map(|name| match name.parse() {
            Ok(IpAddr::V4(ip)) => element(0x87, &[&ip.octets()]),
            Ok(IpAddr::V6(ip)) => element(0x87, &[&ip.octets()]),
            Err(_) => element(0x82, &[name.as_bytes()]),
        })
        .collect();
    let parts: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    element(SEQUENCE, &parts)
}

fn extensions(names: &[&str]) -> Vec<u8> {
    let parts = [
        extension(ALT_NAMES, false, &alt_names(names)),
        // A client that trusts this certificate trusts nothing that it signs.
        extension(CONSTRAINTS, true, &element(SEQUENCE, &[])),
        extension(KEY_USAGE, true, &[BIT_STRING, 2, 7, 0x80]),
        extension(
            EXTENDED_USAGE,
            false,
            &element(SEQUENCE, &[&element(OBJECT, &[SERVER_AUTH])]),
        ),
    ];
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    element(0xa3, &[&element(SEQUENCE, &parts)])
}

/// A certificate for names or IP addresses, and its key.
pub struct SelfSigned {
    /// The certificate and its key as PEM, one behind the other: what [`Identity::from_pem`](crate::Identity::from_pem) reads. Secret.
    pub pem: String,
    /// The certificate alone, as PEM: what clients are told to trust.
    pub certificate: String,
    /// SHA-256 of the certificate's DER.
    pub fingerprint: [u8; 32],
}

/// Makes one, valid for a year from a day before `now`, the time since 1970.
///
/// # Errors
/// [`Error::Identity`] when a name is none, or there are no random numbers.
pub fn self_signed(names: &[&str], now: Duration) -> Result<SelfSigned, Error> {
    let wrong = |what: String| Error::Identity(what);
    let is_name =
        |name: &&str| (1..=253).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    if let Some(name) = names.iter().find(|name| !is_name(name)) {
        return Err(wrong(format!("`{name}` is no name of a server")));
    }
    let common = names
        .first()
        .ok_or_else(|| wrong("a certificate needs a name".into()))?;
    // The field is for at most 64 characters.
    let common = &common.as_bytes()[..common.len().min(64)];
    let no_random = || wrong("there are no random numbers for a key".into());
    let key = SigningKey::generate().ok_or_else(no_random)?;
    let algorithm = element(SEQUENCE, &[&element(OBJECT, &[ECDSA_SHA256])]);
    // Positive, and without a zero in front.
    let mut serial: [u8; 16] = random();
    serial[0] = serial[0] & 0x3f | 0x40;
    let attribute = [element(OBJECT, &[COMMON_NAME]), element(UTF8, &[common])];
    let attribute = element(SEQUENCE, &[&attribute[0], &attribute[1]]);
    let name = element(SEQUENCE, &[&element(SET, &[&attribute])]);
    let begin = now.as_secs().saturating_sub(86_400);
    let validity = element(
        SEQUENCE,
        &[&time(begin), &time(begin + (DAYS + 1) * 86_400)],
    );
    let curve = element(
        SEQUENCE,
        &[
            &element(OBJECT, &[EC_PUBLIC_KEY]),
            &element(OBJECT, &[P256]),
        ],
    );
    let public = element(
        SEQUENCE,
        &[&curve, &element(BIT_STRING, &[&[0], key.public()])],
    );
    let version = element(0xa0, &[&[INTEGER, 1, 2]]);
    let body = element(
        SEQUENCE,
        &[
            &version,
            &element(INTEGER, &[&serial]),
            &algorithm,
            &name,
            &validity,
            &name,
            &public,
            &extensions(names),
        ],
    );
    let signature = key.sign(&body).ok_or_else(no_random)?;
    let signature = element(BIT_STRING, &[&[0], &signature]);
    let der = element(SEQUENCE, &[&body, &algorithm, &signature]);
    let certificate = pem("CERTIFICATE", &der);
    Ok(SelfSigned {
        pem: certificate.clone() + &pem("PRIVATE KEY", key.document()),
        certificate,
        fingerprint: sha256(&der),
    })
}

/// DER as text (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        text += &base64(line);
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// Base 64 (RFC 4648).
pub fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
