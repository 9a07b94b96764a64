//! What the fuzz targets drive (`fuzz/fuzz_targets`): the parsers of messages.

/// Reads `data` as the messages that come from outside: HTTP heads of both kinds, a DNS answer.
pub fn messages(data: &[u8]) {
    crate::http::fuzz(data);
    crate::dns::fuzz(data);
}

#[cfg(test)]
mod tests {
    /// Messages of all kinds with a few bytes changed.
    #[test]
    fn spoilt_messages_do_not_panic() {
        let dns = *b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x01a\x02bc\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x07";
        let messages: [&[u8]; 4] = [
            b"POST /a%20b?c=d HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\nconnection: close, te\r\nexpect: 100-continue\r\n\r\n",
            b"GET http://x/y HTTP/1.0\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
            &dns,
        ];
        let mut seed = 77u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as usize
        };
        for n in 0..40_000 {
            let mut message = messages[n % messages.len()].to_vec();
            for _ in 0..random() % 4 {
                let at = random() % message.len();
                match random() % 4 {
                    0 => message.truncate(at + 1),
                    1 => message.insert(at, random() as u8),
                    2 => message[at] = [b'\r', b'\n', b':', b',', 0, 0xff][random() % 6],
                    _ => message[at] ^= 1 << (random() % 8),
                }
            }
            super::messages(&message);
        }
    }
}
