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
