//! Checks JSON (RFC 8259) and finds where its parts begin and end; builds nothing.
//!
//! A crate for this would have to stay free of std whatever else is built beside an image, and serde_json's features are
//! united with those of every tool in the workspace. What it has to do is little: one pass, no recursion, no allocation but
//! a byte for each level of nesting.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The deepest nesting.
const DEPTH: usize = 1 << 20;

/// What is wrong, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    at: usize,
    what: &'static str,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

/// Reads through a text.
#[derive(Clone, Copy, Debug)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Begins.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn fault<T>(&self, what: &'static str) -> Result<T, Fault> {
        Err(Fault { at: self.at, what })
    }

    /// Skips blanks, then says what comes.
    pub fn next(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    /// Takes this byte if it comes next.
    pub fn take(&mut self, byte: u8) -> bool {
        let there = self.next() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Takes this byte.
    ///
    /// # Errors
    /// Something else comes.
    pub fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Fault> {
        if self.take(byte) {
            Ok(())
        } else {
            self.fault(what)
        }
    }

    /// There is nothing more.
    ///
    /// # Errors
    /// There is.
    pub fn end(&mut self) -> Result<(), Fault> {
        match self.next() {
            None => Ok(()),
            Some(_) => self.fault("trailing characters"),
        }
    }

    /// Takes a string; gives it back with its quotes.
    ///
    /// # Errors
    /// None comes, or it is not well-formed.
    pub fn string(&mut self) -> Result<&'a str, Fault> {
        self.next();
        let first = self.at;
        if self.peek() != Some(b'"') {
            return self.fault("expected a string");
        }
        self.at += 1;
        loop {
            self.at += plain_bytes(&self.text.as_bytes()[self.at..]);
            match self.peek() {
                None => return self.fault("a string does not end"),
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                        Some(b'u') => {
                            for _ in 0..4 {
                                self.at += 1;
                                if !self.peek().is_some_and(|b| b.is_ascii_hexdigit()) {
                                    return self.fault("invalid escape");
                                }
                            }
                        }
                        _ => return self.fault("invalid escape"),
                    }
                }
                Some(0..=0x1f) => return self.fault("a control character in a string"),
                Some(_) => {}
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(&self.text[first..self.at])
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return self.fault("invalid number");
        }
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), Fault> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            self.fault("expected a value")
        }
    }

    /// Takes a value; gives back its text.
    ///
    /// # Errors
    /// None comes, or it is not well-formed.
    pub fn value(&mut self) -> Result<&'a str, Fault> {
        self.next();
        let first = self.at;
        // The closing bytes of what is open.
        let mut open: Vec<u8> = Vec::new();
        loop {
            // A value begins.
            match self.next() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                Some(b'[') => {
                    self.at += 1;
                    if !self.take(b']') {
                        open.push(b']');
                        if open.len() > DEPTH {
                            return self.fault("nested too deeply");
                        }
                        continue;
                    }
                }
                Some(b'{') => {
                    self.at += 1;
                    if !self.take(b'}') {
                        open.push(b'}');
                        if open.len() > DEPTH {
                            return self.fault("nested too deeply");
                        }
                        self.key()?;
                        continue;
                    }
                }
                _ => return self.fault("expected a value"),
            }
            // A value has ended; so may what it is in.
            loop {
                let Some(&close) = open.last() else {
                    return Ok(&self.text[first..self.at]);
                };
                if self.take(b',') {
                    if close == b'}' {
                        self.key()?;
                    }
                    break;
                }
                self.expect(close, "expected a comma or the end")?;
                open.pop();
            }
        }
    }

    /// Takes a member's name and the colon; gives the name back with its quotes.
    ///
    /// # Errors
    /// Something else comes.
    pub fn key(&mut self) -> Result<&'a str, Fault> {
        let key = self.string()?;
        self.expect(b':', "expected a colon")?;
        Ok(key)
    }
}

/// How many bytes from a place on stand for themselves in JSON: most do, so many are looked at at once.
pub(crate) fn plain_bytes(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks();
    let whole = chunks.iter().take_while(|chunk| are_plain(chunk));
    let at = whole.count() * MANY;
    at + plain_of_few(&bytes[at..])
}

/// Bytes that are looked at at once. The compiler makes vector instructions of the loop over them.
const MANY: usize = 32;

fn are_plain(bytes: &[u8; MANY]) -> bool {
    // Zero is what it is far from.
    let far = |b: u8| (b ^ b'"').min(b ^ b'\\').min(b.saturating_sub(0x1f));
    !bytes.iter().fold(false, |any, b| any | (far(*b) == 0))
}

/// The same, eight bytes at once.
fn plain_of_few(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    // Whether none of eight bytes is below 0x20, nor is a byte below 1 where the special ones are zeros (Warren, Hacker's Delight, 6-1;
    // none of them has the highest bit, so one look at that does for all three).
    let is_plain = |word: u64| {
        let below = |word: u64, least: u64| word.wrapping_sub(ONES * least);
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        (below(word, 0x20) | is(b'"') | is(b'\\')) & !word & HIGH == 0
    };
    let (words, _) = bytes.as_chunks::<8>();
    let whole = words
        .iter()
        .take_while(|word| is_plain(u64::from_le_bytes(**word)));
    let at = whole.count() * 8;
    if at == words.len() * 8 {
        // The last ones, some of them for the second time.
        let last = match (bytes.last_chunk(), bytes.first_chunk(), bytes.last_chunk()) {
            (Some(last), _, _) => Some(u64::from_le_bytes(*last)),
            (None, Some(first), Some(last)) => {
                let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
                Some(u64::from(first) << 32 | u64::from(last))
            }
            _ => None,
        };
        if last.is_some_and(is_plain) {
            return bytes.len();
        }
    }
    let rest = &bytes[at..];
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    at + rest.iter().position(special).unwrap_or(rest.len())
}

/// What a string in quotes says; it has to be well-formed. Halves of surrogate pairs become U+FFFD.
pub fn unquote(quoted: &str) -> String {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or("");
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or("");
        out.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = unit(&mut rest);
                let low = match high {
                    0xd800..=0xdbff if rest.starts_with("\\u") => {
                        let mut behind = &rest[2..];
                        let low = unit(&mut behind);
                        if (0xdc00..=0xdfff).contains(&low) {
                            rest = behind;
                            low
                        } else {
                            0
                        }
                    }
                    _ => 0,
                };
                let code = if low == 0 {
                    high
                } else {
                    0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                };
                char::from_u32(code).unwrap_or('\u{fffd}')
            }
            other => char::from(other),
        });
    }
    out.push_str(rest);
    out
}

/// Takes four hexadecimal digits.
fn unit(rest: &mut &str) -> u32 {
    let digits = rest.get(..4).unwrap_or("");
    *rest = rest.get(4..).unwrap_or("");
    u32::from_str_radix(digits, 16).unwrap_or(0xfffd)
}

/// Checks a text that is one value; gives it back without the blanks around it.
///
/// # Errors
/// Says what is wrong and where.
pub fn check(text: &str) -> Result<&str, String> {
    let mut scanner = Scanner::new(text);
    let value = scanner.value().map_err(|fault| format!("{fault}"))?;
    scanner.end().map_err(|fault| format!("{fault}"))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a string is well-formed, byte by byte.
    fn is_string(bytes: &[u8]) -> bool {
        let Some(inner) = bytes
            .strip_prefix(b"\"")
            .and_then(|b| b.strip_suffix(b"\""))
        else {
            return false;
        };
        let mut rest = inner.iter();
        while let Some(byte) = rest.next() {
            let fine = match byte {
                b'"' | 0..=0x1f => false,
                b'\\' => match rest.next() {
                    Some(b'u') => (0..4).all(|_| rest.next().is_some_and(u8::is_ascii_hexdigit)),
                    Some(escape) => b"\"\\/bfnrt".contains(escape),
                    None => false,
                },
                _ => true,
            };
            if !fine {
                return false;
            }
        }
        true
    }

    #[test]
    fn a_string_ends_at_its_quote_wherever_in_it_something_is_special() {
        let special = [
            "\\\"", "\\\\", "\\u00e4", "\\u00g4", "\\x", "\u{1}", "\u{1f}", "\u{7f}", "\u{e4}",
            "\"", "",
        ];
        for special in special {
            for before in (0..18).chain(28..36).chain(60..70) {
                for after in [0, 1, 3, 7, 8, 9] {
                    let quoted =
                        format!("\"{}{special}{}\"", "x".repeat(before), "~".repeat(after));
                    let whole = is_string(quoted.as_bytes());
                    assert_eq!(check(&quoted).is_ok(), whole, "{quoted:?}");
                    assert_eq!(check(&format!("[{quoted} , {quoted}]")).is_ok(), whole);
                    let open = &quoted[..quoted.len() - 1];
                    assert_eq!(check(open).is_ok(), is_string(open.as_bytes()), "{open:?}");
                }
            }
        }
    }
}
