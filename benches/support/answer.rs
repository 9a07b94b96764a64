//! HTTP answers as the load sees them: where they end, and whether they are good.

use std::ops::Range;

/// A whole answer at the start of what has come.
pub struct Answer {
    /// The body, chunks with their sizes if it came in chunks. The next answer begins at its end.
    pub body: Range<usize>,
    /// The status is 200.
    pub is_good: bool,
}

/// The first answer, once it is whole. A chunked one is expected to hold no chunk of the bytes that end it.
///
/// # Panics
/// When its length is no number.
pub fn whole(input: &[u8]) -> Option<Answer> {
    let find = |from: usize, what: &[u8]| {
        let at = input[from..].windows(what.len()).position(|w| w == what)?;
        Some(from + at + what.len())
    };
    let start = find(0, b"\r\n\r\n")?;
    let length = input[..start]
        .split(|&byte| byte == b'\n')
        .find_map(|line| {
            let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
            let is_it = name.eq_ignore_ascii_case("content-length");
            is_it.then(|| value.trim().parse::<usize>().expect("a number"))
        });
    let end = match length {
        Some(length) => start + length,
        None => find(start, b"\r\n0\r\n\r\n")?,
    };
    (input.len() >= end).then(|| Answer {
        body: start..end,
        is_good: input.starts_with(b"HTTP/1.1 200"),
    })
}
