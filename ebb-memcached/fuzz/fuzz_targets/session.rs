//! A client's bytes in both protocols: they mean the same however they are cut, and memory stays within its limits. The
//! first byte says how they are cut.
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

use ebb_hosted as _;
use ebb_memcached::{Limits, Store};

use common::{Client, Here};

fn answers<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, bool) {
    let limits = Limits {
        memory: 1 << 20,
        ..Limits::default()
    };
    let store = Store::new(limits, 1);
    let mut client = Client::new(&store);
    for piece in pieces {
        client.send(piece);
        assert!(client.session_bytes() <= 4 << 20);
    }
    Here::boundary();
    // How many bytes have been read so far depends on the cuts, in either protocol.
    let counts = client.answers.windows(5).any(|w| w == b"bytes");
    let answers = if counts { Vec::new() } else { client.answers };
    (answers, client.closed)
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((cut, data)) = data.split_first() else {
        return;
    };
    let whole = answers([data].into_iter());
    assert_eq!(answers(data.chunks(usize::from(*cut).max(1))), whole);
});
