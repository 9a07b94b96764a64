//! Keys and other random bytes.

use alloc::format;
use alloc::string::String;

use ebb::EbbRef;
use ebb::platform::Entropy;

/// Random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    EbbRef::<dyn Entropy>::get().fill(&mut bytes);
    bytes
}

/// A random key.
pub(crate) fn random_key() -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let uuid = hex(&random::<16>());
    let parts = [
        &uuid[..8],
        &uuid[8..12],
        &uuid[12..16],
        &uuid[16..20],
        &uuid[20..],
    ];
    format!("{}:{}", parts.join("-"), hex(&random::<32>()))
}
