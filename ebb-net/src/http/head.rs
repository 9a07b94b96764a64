//! Message heads. httparse takes the bytes apart; the rules about framing are here.
//!
//! What decides how the connection goes on is noted in one pass over the headers, so that a server that looks at no header
//! does not pay for a search.

use alloc::{string::String, vec::Vec};
use core::{fmt, ops::Range, str};

use bitflags::bitflags;

use super::{Error, room::append};

/// The most headers that a head may have, whatever the limits say.
const MOST_HEADERS: usize = 100;

/// How a message's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    Chunked,
    /// With the connection (responses only).
    ToEnd,
}

/// What the headers say about the connection and the body.
#[derive(Clone, Copy, Debug, Default)]
struct Notes {
    flags: Flags,
    /// Lines of `Host`.
    hosts: u8,
    length: Option<u64>,
}

bitflags! {
    #[derive(Clone, Copy, Debug, Default)]
    struct Flags: u8 {
        const CLOSE = 1;
        const KEEP_ALIVE = 2;
        /// `Expect: 100-continue`
        const EXPECTS = 4;
        const CHUNKED = 8;
        const HOST_IS_WRONG = 16;
        const LENGTH_IS_WRONG = 32;
        /// Another transfer coding, or more than one.
        const CODING_IS_WRONG = 64;
    }
}

/// A message's first line and headers: a copy of the bytes, and where things are in it. Kept by the
/// connection and filled again for the next message.
#[derive(Default)]
pub struct Head {
    bytes: Vec<u8>,
    /// Method (requests) or reason (responses).
    first: String,
    target: String,
    /// Where the target's path is.
    path: Range<usize>,
    status: u16,
    minor: u8,
    headers: Vec<(Range<usize>, Range<usize>)>,
    notes: Notes,
}

impl Head {
    /// The request's method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.first
    }

    /// The request's target, as sent: path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The target's path, and the query behind its `?`; empty without one.
    pub(super) fn target_parts(&self) -> (&str, &str) {
        let path = self.target.get(self.path.clone()).unwrap_or("");
        let path = if path.is_empty() { "/" } else { path };
        let query = self.target.get(self.path.end + 1..).unwrap_or("");
        (path, query)
    }

    /// The response's status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// True for HTTP/1.1, false for 1.0.
    #[must_use]
    pub fn is_1_1(&self) -> bool {
        self.minor == 1
    }

    /// The first header of that name, in whatever case. `None` when there is none, or its value is
    /// not UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.values(name)
            .next()
            .and_then(|v| str::from_utf8(v).ok())
    }

    /// All headers as text; `None` when one of the values is not UTF-8.
    pub fn text_headers(&self) -> Option<impl Iterator<Item = (&str, &str)>> {
        // One look at all of it takes less than one at each.
        let text = str::from_utf8(&self.bytes).ok()?;
        let part = |range: &Range<usize>| text.get(range.clone()).unwrap_or("");
        let parts = self.headers.iter();
        Some(parts.map(move |(name, value)| (part(name), part(value))))
    }

    /// All headers: names as sent, values as bytes.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        // httparse lets only ASCII through in names.
        self.raw()
            .map(|(name, value)| (str::from_utf8(name).unwrap_or(""), value))
    }

    fn raw(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers
            .iter()
            .map(|(name, value)| (&self.bytes[name.clone()], &self.bytes[value.clone()]))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.raw()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, v)| v)
    }

    /// Whether the client waits for `100 Continue`.
    pub(super) fn expects(&self) -> bool {
        self.notes.flags.contains(Flags::EXPECTS)
    }

    /// Whether the peer wants the connection to stay (RFC 9112, section 9.3).
    pub(super) fn keeps_alive(&self) -> bool {
        let flags = self.notes.flags;
        !flags.contains(Flags::CLOSE) && (self.is_1_1() || flags.contains(Flags::KEEP_ALIVE))
    }

    /// Takes a request's head from the front of `input`. `None` when it is not complete; else how
    /// many bytes it has.
    pub(super) fn parse_request(
        &mut self,
        input: &[u8],
        most: usize,
        most_headers: usize,
    ) -> Result<Option<usize>, Error> {
        let mut headers = [const { core::mem::MaybeUninit::uninit() }; MOST_HEADERS];
        let most_headers = most_headers.min(MOST_HEADERS);
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(input, &mut headers[..most_headers]);
        let Some(length) = complete(parsed, input.len(), most)? else {
            return Ok(None);
        };
        set(&mut self.first, request.method);
        set(&mut self.target, request.path);
        self.path = path_of(&self.target);
        self.minor = request.version.unwrap_or(0);
        self.keep(&input[..length], request.headers)?;
        Ok(Some(length))
    }

    /// As [`parse_request`](Self::parse_request), for a response.
    pub(super) fn parse_response(
        &mut self,
        input: &[u8],
        most: usize,
    ) -> Result<Option<usize>, Error> {
        let mut headers = [const { core::mem::MaybeUninit::uninit() }; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            input,
            &mut headers,
        );
        let Some(length) = complete(parsed, input.len(), most)? else {
            return Ok(None);
        };
        set(&mut self.first, response.reason);
        self.target.clear();
        self.status = response.code.unwrap_or(0);
        self.minor = response.version.unwrap_or(0);
        self.keep(&input[..length], response.headers)?;
        Ok(Some(length))
    }

    fn keep(&mut self, input: &[u8], headers: &[httparse::Header<'_>]) -> Result<(), Error> {
        let base = input.as_ptr().addr();
        self.bytes.clear();
        if !append(&mut self.bytes, input, input.len()) {
            return Err(Error::NoMemory);
        }
        self.headers.clear();
        let mut notes = Notes::default();
        self.headers.extend(headers.iter().map(|header| {
            let (name, value) = (header.name.as_bytes(), header.value);
            notes.take(name, value);
            (range(base, name), range(base, value))
        }));
        self.notes = notes;
        Ok(())
    }

    /// A request names one host: in HTTP/1.1 it must, and never more (RFC 9112, section 3.2). A server on the way that took
    /// another of them would have asked something else.
    pub(super) fn check_host(&self) -> Result<(), Error> {
        match self.notes.hosts {
            0 if self.is_1_1() => Err(Error::Malformed("no Host")),
            0 | 1 if !self.notes.flags.contains(Flags::HOST_IS_WRONG) => Ok(()),
            0 | 1 => Err(Error::Malformed("Host")),
            _ => Err(Error::Malformed("more than one Host")),
        }
    }

    /// How a request's body ends (RFC 9112, section 6.3). What could be read in two ways is an error:
    /// another server on the way may have read it in the other one.
    pub(super) fn request_framing(&self) -> Result<Framing, Error> {
        match (self.notes.framing()?, self.notes.length) {
            (true, Some(_)) => Err(Error::Malformed(
                "both Content-Length and Transfer-Encoding",
            )),
            (true, None) if !self.is_1_1() => {
                Err(Error::Malformed("Transfer-Encoding in HTTP/1.0"))
            }
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }

    /// How a response's body ends, given the request's method.
    pub(super) fn response_framing(&self, method: &str) -> Result<Framing, Error> {
        if method == "HEAD" || matches!(self.status, 100..=199 | 204 | 304) {
            return Ok(Framing::Length(0));
        }
        if self.notes.framing()? {
            return Ok(Framing::Chunked);
        }
        Ok(self.notes.length.map_or(Framing::ToEnd, Framing::Length))
    }
}

impl Notes {
    /// Notes a header if it is one that matters here: most are told apart by their length.
    #[inline]
    fn take(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            4 if is(name, b"host") => {
                self.hosts = self.hosts.saturating_add(1);
                self.note(Flags::HOST_IS_WRONG, !is_host(value));
            }
            6 if is(name, b"expect") => {
                self.note(Flags::EXPECTS, has_token(value, "100-continue"));
            }
            10 if is(name, b"connection") => {
                self.note(Flags::CLOSE, has_token(value, "close"));
                self.note(Flags::KEEP_ALIVE, has_token(value, "keep-alive"));
            }
            14 if is(name, b"content-length") => match length(value) {
                Some(length) if self.length.is_none_or(|before| before == length) => {
                    self.length = Some(length);
                }
                _ => self.flags |= Flags::LENGTH_IS_WRONG,
            },
            17 if is(name, b"transfer-encoding") => {
                let known = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                let again = self.flags.contains(Flags::CHUNKED);
                self.note(Flags::CODING_IS_WRONG, again || !known);
                self.flags |= Flags::CHUNKED;
            }
            _ => {}
        }
    }

    fn note(&mut self, flag: Flags, is_so: bool) {
        if is_so {
            self.flags |= flag;
        }
    }

    /// Whether the body is chunked.
    fn framing(&self) -> Result<bool, Error> {
        if self.flags.contains(Flags::CODING_IS_WRONG) {
            return Err(Error::TransferCoding);
        }
        if self.flags.contains(Flags::LENGTH_IS_WRONG) {
            return Err(Error::Malformed("Content-Length is not one number"));
        }
        Ok(self.flags.contains(Flags::CHUNKED))
    }
}

/// Whether a header's name begins so, in whatever case. `wanted` has lower-case letters and hyphens, and a name has no byte
/// that is other than these in its sixth bit only.
#[inline]
fn is<const N: usize>(name: &[u8], wanted: &[u8; N]) -> bool {
    name.first_chunk::<N>().is_some_and(|name| {
        let differs = |differs, (a, b): (&u8, &u8)| differs | (a ^ b) & !0x20;
        name.iter().zip(wanted).fold(0, differs) == 0
    })
}

/// The characters of a registered name, an address or a port (RFC 3986, 3.2.2).
const OF_HOSTS: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        allowed[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+,;=:[]%";
    let mut at = 0;
    while at < others.len() {
        allowed[others[at] as usize] = true;
        at += 1;
    }
    allowed
};

/// Whether a `Host` may be one, or is empty. httparse has taken the spaces around it.
fn is_host(value: &[u8]) -> bool {
    // To its end: that is less to do than to ask at each byte.
    value
        .iter()
        .fold(true, |is, &byte| is & OF_HOSTS[usize::from(byte)])
}

/// Whether a comma-separated value has that element.
fn has_token(value: &[u8], token: &str) -> bool {
    value
        .split(|&b| b == b',')
        .any(|t| t.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn length(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(value).ok()?.parse().ok()
}

/// Where in a request's target the path is: in front of the query, and behind the authority of the absolute form, which proxies send.
fn path_of(target: &str) -> Range<usize> {
    let mut from = 0;
    if !target.starts_with('/')
        && let Some((scheme, rest)) = target.split_once("://")
    {
        let authority = scheme.len() + 3;
        from = rest
            .find(['/', '?'])
            .map_or(target.len(), |at| authority + at);
    }
    let rest = target.as_bytes().get(from..).unwrap_or_default();
    let end = rest.iter().position(|&byte| byte == b'?');
    from..end.map_or(target.len(), |at| from + at)
}

/// Keeps the allocation.
fn set(to: &mut String, text: Option<&str>) {
    to.clear();
    to.push_str(text.unwrap_or(""));
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self
            .bytes
            .iter()
            .position(|&b| b == b'\r')
            .unwrap_or(self.bytes.len());
        write!(
            f,
            "Head({})",
            alloc::string::String::from_utf8_lossy(&self.bytes[..end])
        )
    }
}

/// Where a part of the input lies in it.
fn range(base: usize, part: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr().addr() - base;
    start..start + part.len()
}

fn complete(
    parsed: httparse::Result<usize>,
    available: usize,
    most: usize,
) -> Result<Option<usize>, Error> {
    match parsed {
        Ok(httparse::Status::Complete(length)) if length > most => Err(Error::HeadTooLarge),
        Ok(httparse::Status::Complete(length)) => Ok(Some(length)),
        Ok(httparse::Status::Partial) if available >= most => Err(Error::HeadTooLarge),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(Error::HeadTooLarge),
        Err(httparse::Error::Version) => Err(Error::Version),
        Err(httparse::Error::HeaderName) => Err(Error::Malformed("a header's name")),
        Err(httparse::Error::HeaderValue) => Err(Error::Malformed("a header's value")),
        Err(httparse::Error::NewLine) => Err(Error::Malformed("a line's end")),
        Err(httparse::Error::Status) => Err(Error::Malformed("the status")),
        Err(httparse::Error::Token) => Err(Error::Malformed("the first line")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(headers: &str) -> Result<Framing, Error> {
        let mut head = Head::default();
        let input = alloc::format!("POST / HTTP/1.1\r\n{headers}\r\n");
        head.parse_request(input.as_bytes(), 1000, 10)?
            .expect("complete");
        head.request_framing()
    }

    #[test]
    fn a_body_ends_where_the_headers_say_and_nowhere_else() {
        assert_eq!(framing(""), Ok(Framing::Length(0)));
        assert_eq!(framing("Content-Length: 5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(
            framing("content-length: 5\r\nContent-Length: 5\r\n"),
            Ok(Framing::Length(5))
        );
        assert_eq!(
            framing("Transfer-Encoding: Chunked\r\n"),
            Ok(Framing::Chunked)
        );
    }

    #[test]
    fn framing_that_could_be_read_in_two_ways_is_an_error() {
        for headers in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert!(
                matches!(framing(headers), Err(Error::Malformed(_))),
                "{headers}"
            );
        }
        for headers in [
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        ] {
            assert_eq!(framing(headers), Err(Error::TransferCoding), "{headers}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let host = |version: &str, headers: &str| {
            let mut head = Head::default();
            let input = alloc::format!("GET / HTTP/{version}\r\n{headers}\r\n");
            head.parse_request(input.as_bytes(), 1000, 10)?
                .expect("complete");
            head.check_host()
        };
        for (version, headers) in [
            ("1.1", "Host: a.example:80\r\n"),
            ("1.1", "host:\r\n"),
            ("1.1", "Host: \t a.example \t\r\n"),
            ("1.1", "Host: \t \r\n"),
            ("1.1", "HOST: [::1]:8080\r\n"),
            ("1.0", ""),
            ("1.0", "Host: a\r\n"),
        ] {
            assert_eq!(host(version, headers), Ok(()), "{version} {headers}");
        }
        for (version, headers) in [
            ("1.1", ""),
            ("1.1", "Hosts: a\r\n"),
            ("1.1", "Host: a\r\nHost: a\r\n"),
            ("1.0", "Host: a\r\nhost: b\r\n"),
            ("1.1", "Host: a b\r\n"),
            ("1.1", "Host: a/b\r\n"),
            ("1.1", "Host: user@a\r\n"),
            ("1.1", "Host: a\u{7f}\r\n"),
            ("1.1", "Host: \u{e4}\r\n"),
        ] {
            let error = host(version, headers);
            assert!(
                matches!(error, Err(Error::Malformed(_))),
                "{version} {headers}"
            );
        }
    }

    #[test]
    fn heads_beyond_the_limits_are_refused_before_they_are_complete() {
        let mut head = Head::default();
        let long = alloc::format!("GET /{} HTTP/1.1\r\n", "a".repeat(200));
        assert_eq!(
            head.parse_request(long.as_bytes(), 100, 10),
            Err(Error::HeadTooLarge)
        );
        let many = alloc::format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(11));
        assert_eq!(
            head.parse_request(many.as_bytes(), 1000, 10),
            Err(Error::HeadTooLarge)
        );
        assert_eq!(
            head.parse_request(b"GET / HTTP/1.1\r\na: b\r\n", 1000, 10),
            Ok(None)
        );
    }

    #[test]
    fn a_target_is_a_path_and_a_query_in_either_form() {
        for (target, parts) in [
            ("/", ("/", "")),
            ("/a/b?c=d?e", ("/a/b", "c=d?e")),
            ("/?", ("/", "")),
            ("/a?u=http://h/b", ("/a", "u=http://h/b")),
            ("http://h", ("/", "")),
            ("http://h/", ("/", "")),
            ("http://h:80/a?b", ("/a", "b")),
            ("http://h?a=/b", ("/", "a=/b")),
            ("*", ("*", "")),
        ] {
            let mut head = Head::default();
            let text = alloc::format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n");
            let parsed = head.parse_request(text.as_bytes(), 1000, 10);
            assert_eq!(parsed, Ok(Some(text.len())));
            assert_eq!(head.target_parts(), parts, "{target}");
        }
    }

    #[test]
    fn headers_are_text_when_all_of_them_are() {
        let mut head = Head::default();
        let mut all = |value: &[u8]| {
            let text = [b"GET / HTTP/1.1\r\nHost: h\r\nA:  ", value, b" \r\n\r\n"].concat();
            head.parse_request(&text, 1000, 10).expect("well-formed");
            let headers = head.text_headers()?;
            Some(
                headers
                    .map(|(n, v)| alloc::format!("{n}={v}"))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            all("\u{e4} b".as_bytes()).unwrap_or_default(),
            ["Host=h", "A=\u{e4} b"]
        );
        assert_eq!(all(b"\xe4"), None);
    }
}
