//! The code of an action: a JSON string that is passed on as it came, from a PUT to the init of an instance.
//!
//! Code may be 48 MB, and an event that looks at all of it would keep a core from everything else. So [`lift`] takes it out of
//! a document before the document is parsed, in slices with other events between them, and notes what has to be known about it: how
//! long it is, and whether it is an archive.

use crate::json::Json;
use crate::scan;
use alloc::{format, string::String, vec::Vec};

/// Bytes that are looked at in one event: some hundred microseconds, a few milliseconds when emulated.
const SLICE: usize = 64 << 10;
/// Shorter bodies are parsed as they are.
pub const SHORT: usize = 2 * SLICE;
/// What stands in a document for code that was lifted out of it.
const PLACEHOLDER: &str = "\"\\u0000lifted\"";

/// Code, and what has to be known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeText {
    /// The code as a JSON string.
    pub json: Json,
    /// Bytes of the code itself.
    pub length: usize,
    /// Whether it can only be meant as an archive in base64.
    pub binary: bool,
}

impl CodeText {
    /// Of a JSON string that is known to be well-formed; `None` for another value.
    pub fn of(json: &Json) -> Option<Self> {
        let inner = json.as_str().strip_prefix('"')?.strip_suffix('"')?;
        let mut content = Content::default();
        content.take(inner.as_bytes()).ok()?;
        Some(content.finish(json.clone()))
    }

    /// Of source text.
    pub fn source(text: &str) -> Self {
        Self {
            json: Json::text(text),
            length: text.len(),
            binary: false,
        }
    }

    /// Whether this JSON stands for lifted code.
    pub fn is_placeholder(json: &Json) -> bool {
        json.as_str() == PLACEHOLDER
    }
}

/// Follows the characters of a JSON string: how many bytes they are, and whether they are base64.
#[derive(Debug)]
struct Content {
    length: usize,
    escape: Escape,
    base64: Base64,
    escaped: bool,
}

#[derive(Clone, Copy, Debug)]
enum Escape {
    No,
    Begun,
    /// Digits to come, and the code so far.
    Unicode(u8, u32),
}

/// How far a text may still be base64 with blanks around it: as in the reference, a multiple of 4 characters of its
/// alphabet.
#[derive(Clone, Copy, Debug)]
enum Base64 {
    Before,
    Inside(usize),
    Padding(usize, usize),
    Behind(usize),
    Not,
}

/// In base64: 1 a character of the alphabet, 2 padding, 3 a blank, 0 none.
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        class[byte] = if b.is_ascii_alphanumeric() || b == b'+' || b == b'/' {
            1
        } else if b == b'=' {
            2
        } else if b.is_ascii_whitespace() {
            3
        } else {
            0
        };
        byte += 1;
    }
    class
};

impl Base64 {
    fn take(self, byte: u8) -> Self {
        match (self, CLASS[usize::from(byte)]) {
            (Self::Before, 3) => Self::Before,
            (Self::Before, 1) => Self::Inside(1),
            (Self::Inside(n), 1) => Self::Inside(n + 1),
            (Self::Inside(n), 2) => Self::Padding(n + 1, 1),
            (Self::Padding(n, 1), 2) => Self::Padding(n + 1, 2),
            (Self::Inside(n) | Self::Padding(n, _) | Self::Behind(n), 3) => Self::Behind(n),
            _ => Self::Not,
        }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self {
            length: 0,
            escape: Escape::No,
            base64: Base64::Before,
            escaped: false,
        }
    }
}

impl Content {
    /// Takes a piece of what stands between the quotes.
    fn take(&mut self, piece: &[u8]) -> Result<(), &'static str> {
        let mut rest = piece;
        while let Some((&byte, behind)) = rest.split_first() {
            if matches!((self.escape, self.base64), (Escape::No, Base64::Not)) {
                // Source text, nearly all of it: what matters to neither is only counted.
                let plain = scan::plain_bytes(rest);
                if plain > 0 {
                    self.length += plain;
                    rest = &rest[plain..];
                    continue;
                }
            }
            rest = behind;
            match self.escape {
                Escape::No => match byte {
                    b'\\' => {
                        self.escape = Escape::Begun;
                        self.escaped = true;
                    }
                    0..=0x1f => return Err("a control character in a string"),
                    _ => {
                        self.length += 1;
                        if !matches!(self.base64, Base64::Not) {
                            self.base64 = self.base64.take(byte);
                        }
                    }
                },
                Escape::Begun => {
                    self.escape = Escape::No;
                    let meant = match byte {
                        b'"' | b'\\' | b'/' => byte,
                        b'b' => 8,
                        b'f' => 12,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'u' => {
                            self.escape = Escape::Unicode(4, 0);
                            continue;
                        }
                        _ => return Err("invalid escape"),
                    };
                    self.length += 1;
                    self.base64 = self.base64.take(meant);
                }
                Escape::Unicode(left, code) => {
                    let digit = char::from(byte).to_digit(16).ok_or("invalid escape")?;
                    let code = code << 4 | digit;
                    if left > 1 {
                        self.escape = Escape::Unicode(left - 1, code);
                        continue;
                    }
                    self.escape = Escape::No;
                    // The halves of a pair are two bytes each; a half alone becomes U+FFFD, which is close enough.
                    self.length += match code {
                        0..=0x7f => 1,
                        0x80..=0x7ff | 0xd800..=0xdfff => 2,
                        _ => 3,
                    };
                    self.base64 = match u8::try_from(code) {
                        Ok(byte) if byte.is_ascii() => self.base64.take(byte),
                        _ => Base64::Not,
                    };
                }
            }
        }
        Ok(())
    }

    fn finish(self, json: Json) -> CodeText {
        let binary = match self.base64 {
            Base64::Inside(n) | Base64::Padding(n, _) | Base64::Behind(n) => n.is_multiple_of(4),
            Base64::Before | Base64::Not => false,
        };
        // An archive is kept bare: neither blanks around it nor an escaped slash.
        let bare = || {
            json.as_str()
                .as_bytes()
                .get(1)
                .copied()
                .map(|b| CLASS[usize::from(b)])
                == Some(1)
        };
        let json =
            if binary && (self.escaped || matches!(self.base64, Base64::Behind(_)) || !bare()) {
                Json::text(scan::unquote(json.as_str()).trim())
            } else {
                json
            };
        CodeText {
            json,
            length: self.length,
            binary,
        }
    }
}

/// Follows the tokens of a document as far as it takes to find `exec.code`.
#[derive(Default)]
struct Finder {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Where the last string began, and where it ended.
    string: (usize, usize),
    /// The last token was a colon.
    is_value: bool,
    /// The member that is being read is `exec`, and in it `code`.
    in_exec: bool,
    in_code: bool,
    found: Option<(usize, usize)>,
}

impl Finder {
    /// Takes the byte at `at`.
    fn take(&mut self, body: &[u8], at: usize, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    self.string.1 = at + 1;
                    if self.is_value && self.depth == 2 && self.in_exec && self.in_code {
                        self.found = Some(self.string);
                    }
                    self.is_value = false;
                }
                _ => {}
            }
            return;
        }
        let key =
            |finder: &Self, name: &[u8]| body.get(finder.string.0..finder.string.1) == Some(name);
        match byte {
            b'"' => {
                self.in_string = true;
                self.string.0 = at;
            }
            b'{' | b'[' => {
                self.depth += 1;
                self.is_value = false;
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b':' => {
                match self.depth {
                    1 => self.in_exec = key(self, b"\"exec\""),
                    2 => self.in_code = key(self, b"\"code\""),
                    _ => {}
                }
                self.is_value = true;
            }
            _ => {}
        }
    }
}

/// Takes the code out of the document of an action. Other documents, and what is no document, stay as they are: whoever
/// parses them has the say.
///
/// # Errors
/// What is wrong with the text.
pub async fn lift(body: &mut Vec<u8>) -> Result<Option<CodeText>, String> {
    if body.len() <= SHORT {
        return Ok(None);
    }
    let mut checked = 0;
    while checked < body.len() {
        let slice = &body[checked..body.len().min(checked + SLICE)];
        let last = checked + slice.len() == body.len();
        checked += match core::str::from_utf8(slice) {
            Ok(_) => slice.len(),
            // A character that the slice cuts in two.
            Err(error) if error.error_len().is_none() && !last => error.valid_up_to(),
            Err(error) => {
                return Err(format!(
                    "invalid UTF-8 at byte {}",
                    checked + error.valid_up_to()
                ));
            }
        };
        ebb_runtime::yield_now().await;
    }
    let mut finder = Finder::default();
    let mut at = 0;
    while at < body.len() {
        let end = body.len().min(at + SLICE);
        while at < end {
            if finder.in_string && !finder.escaped {
                // Nearly all of it is code: on to what matters.
                let rest = &body[at..end];
                at += rest
                    .iter()
                    .position(|b| matches!(b, b'"' | b'\\'))
                    .unwrap_or(rest.len());
                if at == end {
                    break;
                }
            }
            finder.take(body, at, body[at]);
            at += 1;
        }
        ebb_runtime::yield_now().await;
    }
    let Some((first, end)) = finder.found.filter(|(first, end)| end - first > SHORT) else {
        return Ok(None);
    };
    let mut content = Content::default();
    for slice in body[first + 1..end - 1].chunks(SLICE) {
        content.take(slice)?;
        ebb_runtime::yield_now().await;
    }
    let text = core::str::from_utf8(&body[first..end]).map_err(|error| format!("{error}"))?;
    let code = content.finish(Json::known(text));
    let rest = body.split_off(end);
    body.truncate(first);
    body.extend_from_slice(PLACEHOLDER.as_bytes());
    body.extend_from_slice(&rest);
    body.shrink_to_fit();
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    fn binary(text: &str) -> bool {
        CodeText::of(&Json::text(text)).expect("a string").binary
    }

    #[test]
    fn binary_is_told_by_the_text_alone() {
        for (text, expected) in [
            ("", false),
            ("   ", false),
            ("main", true),
            ("mainx", false),
            ("UEsDBA==", true),
            (" UEsDBA==\n", true),
            ("UEsD=A==", false),
            ("====", false),
            ("fn()", false),
            ("UEsD BA==", false),
        ] {
            assert_eq!(binary(text), expected, "{text:?}");
        }
        let escaped = Json::parse("\"\\n UEsD\\/A=\\u003d \"").expect("a string");
        let code = CodeText::of(&escaped).expect("a string");
        assert_eq!((code.binary, code.json.as_str()), (true, "\"UEsD/A==\""));
    }

    #[test]
    fn length_is_that_of_the_text() {
        let source =
            "async function main({ name }) {\n  return `ä€😀 \\ \"${name}\"`;\n}\n".repeat(9);
        for text in ["", "abc", "ä€😀", "\n\t\"\\\u{1}\u{7f}", &source] {
            let json = Json::text(text);
            assert_eq!(
                CodeText::of(&json).expect("a string").length,
                text.len(),
                "{text:?}"
            );
        }
        let escaped = Json::parse("\"\\u00e4\\u20ac\\ud83d\\ude00\"").expect("a string");
        assert_eq!(
            CodeText::of(&escaped).expect("a string").length,
            "ä€😀".len()
        );
    }

    fn lifted(document: &str) -> (String, Result<Option<CodeText>, String>) {
        let mut body = document.as_bytes().to_vec();
        let result = {
            let mut future = pin!(lift(&mut body));
            loop {
                if let Poll::Ready(result) = future
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                {
                    break result;
                }
            }
        };
        (String::from_utf8(body).expect("text"), result)
    }

    #[test]
    fn only_long_code_at_its_place_is_lifted() {
        let long = "x;ä".repeat(SHORT);
        let (rest, code) = lifted(&format!(
            "{{ \"exec\" : {{\"kind\":\"a\",\"code\" : \"{long}\",\"main\":\"m\"}}, \"limits\":{{}}}}"
        ));
        assert_eq!(
            rest,
            format!(
                "{{ \"exec\" : {{\"kind\":\"a\",\"code\" : {PLACEHOLDER},\"main\":\"m\"}}, \"limits\":{{}}}}"
            )
        );
        let code = code.expect("well-formed").expect("lifted");
        assert_eq!(
            (code.json.as_str(), code.length, code.binary),
            (&*format!("\"{long}\""), long.len(), false)
        );
        for elsewhere in [
            format!("{{\"code\":\"{long}\"}}"),
            format!("{{\"exec\":{{\"main\":\"{long}\"}}}}"),
            format!("{{\"exec\":[\"code\",\"{long}\"]}}"),
            format!("{{\"a\":{{\"exec\":{{\"code\":\"{long}\"}}}}}}"),
            format!("{{\"a\":\"\\\"exec\\\":{{\\\"code\\\":\",\"b\":\"{long}\"}}"),
            long.clone(),
        ] {
            let (rest, code) = lifted(&elsewhere);
            assert_eq!(
                (rest == elsewhere, code),
                (true, Ok(None)),
                "{}",
                &elsewhere[..40]
            );
        }
        assert!(
            lifted(&format!("{{\"exec\":{{\"code\":\"{long}\\x\"}}}}"))
                .1
                .is_err()
        );
        assert!(
            lifted(&format!("{{\"exec\":{{\"code\":\"{long}\n\"}}}}"))
                .1
                .is_err()
        );
    }
}
