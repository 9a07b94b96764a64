//! Media types: what a `Content-Type` says about a body.
//!
//! Bodies travel in JSON between the platform and actions, so it has to be known which of them are text: those are strings
//! as they are, all others are base64. OpenWhisk goes by the types that its HTTP library has a name for (`MediaTypes` of
//! Apache Pekko HTTP): a type that is not among them is bytes unless it names a charset. Here all of `text/*` is text, and
//! what ends in `+json` is JSON, whether it is registered or not.

use alloc::{format, string::String};
use mediatype::{MediaType, Value};

/// The types of `application/` that are text in any charset.
const TEXT: [&str; 13] = [
    "atom+xml",
    "base64",
    "javascript",
    "problem+xml",
    "rss+xml",
    "soap+xml",
    "vnd.google-earth.kml+xml",
    "x-latex",
    "x-vrml",
    "xhtml+xml",
    "xml",
    "xml-dtd",
    FORM,
];
const FORM: &str = "x-www-form-urlencoded";

/// Types of `application/` that are bytes even where a charset is named.
const BYTES: [&str; 18] = [
    "cbor",
    "font-woff",
    "gnutar",
    "grpc+proto",
    "java-archive",
    "msword",
    "octet-stream",
    "pdf",
    "postscript",
    "x-7z-compressed",
    "x-bzip",
    "x-bzip2",
    "x-compressed",
    "x-gzip",
    "x-rar-compressed",
    "x-shockwave-flash",
    "x-tar",
    "zip",
];
/// What the names of office documents begin with: bytes as well.
const OFFICE: [&str; 3] = ["vnd.ms-", "vnd.oasis.", "vnd.openxmlformats-"];

/// The types `application/*+json` that have a name there, and with it a charset.
const NAMED_JSON: [&str; 4] = [
    "json-patch+json",
    "merge-patch+json",
    "problem+json",
    "vnd.api+json",
];

/// A media type with its parameters.
#[derive(Clone, Debug)]
pub struct Media<'a> {
    parsed: MediaType<'a>,
    main: String,
    sub: String,
}

impl<'a> Media<'a> {
    /// Reads the value of a `Content-Type`, if it has the form of one.
    pub fn parse(value: &'a str) -> Option<Self> {
        let parsed = MediaType::parse(value.trim()).ok()?;
        let mut sub = parsed.subty.as_str().to_ascii_lowercase();
        if let Some(suffix) = parsed.suffix {
            sub = format!("{sub}+{}", suffix.as_str().to_ascii_lowercase());
        }
        Some(Self {
            main: parsed.ty.as_str().to_ascii_lowercase(),
            sub,
            parsed,
        })
    }

    fn is(&self, main: &str, sub: &str) -> bool {
        self.main == main && self.sub == sub
    }

    /// `application/json`.
    pub fn is_json(&self) -> bool {
        self.is("application", "json")
    }

    /// JSON, or what is written in it: `application/problem+json`.
    pub fn is_json_family(&self) -> bool {
        self.is_json() || self.sub.ends_with("+json")
    }

    /// The body of an HTML form.
    pub fn is_form(&self) -> bool {
        self.is("application", FORM)
    }

    fn charset(&self) -> Option<Value<'_>> {
        let is_charset = |name: &str| name.eq_ignore_ascii_case("charset");
        let mut params = self.parsed.params.iter();
        params
            .find(|(name, _)| is_charset(name.as_str()))
            .map(|(_, value)| *value)
    }

    /// Whether the type leaves the charset open, so that it has to be told.
    fn has_open_charset(&self) -> bool {
        match self.main.as_str() {
            "text" => self.sub != "event-stream",
            "application" if self.sub == FORM || self.is_json_family() => false,
            "application" if TEXT.contains(&self.sub.as_str()) => true,
            "application" => {
                let bytes = BYTES.contains(&self.sub.as_str())
                    || OFFICE.iter().any(|prefix| self.sub.starts_with(prefix));
                !bytes && self.charset().is_some()
            }
            "audio" | "font" | "image" | "message" | "multipart" | "video" => false,
            _ => self.charset().is_some(),
        }
    }

    /// Whether a body of this type is text.
    pub fn is_text(&self) -> bool {
        self.is_json_family()
            || self.is_form()
            || self.is("text", "event-stream")
            || self.has_open_charset()
    }

    /// Whether a raw action is given a body of this type as text. Source: `extractEntityAndProcessRequest` (`WebActions.scala`): what
    /// the HTTP library takes for bytes is base64, and so is `application/json`, "for legacy"; its other types are text.
    pub fn is_raw_text(&self) -> bool {
        if self.is_json() || !self.is_json_family() {
            return !self.is_json() && self.is_text();
        }
        let is_named = self.main == "application" && NAMED_JSON.contains(&self.sub.as_str());
        is_named || self.charset().is_some()
    }

    /// The value of the `Content-Type` of a body that is sent: what is text is sent in UTF-8, whatever was named.
    pub fn content_type(&self) -> String {
        let mut value = format!("{}/{}", self.main, self.sub);
        for (name, parameter) in self.parsed.params.iter() {
            if !name.as_str().eq_ignore_ascii_case("charset") {
                value.push_str(&format!("; {}={}", name.as_str(), parameter.as_str()));
            }
        }
        if self.has_open_charset() {
            value.push_str("; charset=utf-8");
        }
        value
    }
}

/// Whether a header `Accept` takes a body of this type: the range that says most about it does not weigh nothing. A header of another form
/// says nothing. Source: `ContentNegotiator` of Apache Pekko HTTP.
pub fn accepts(accept: &str, content_type: &str) -> bool {
    let essence = |text: &str| {
        let essence = text.split(';').next().unwrap_or_default();
        essence.trim().to_ascii_lowercase()
    };
    let media = essence(content_type);
    let main = media.split('/').next().unwrap_or_default();
    let mut best: Option<(u8, f32)> = None;
    for range in accept.split(',').filter(|range| !range.trim().is_empty()) {
        let name = essence(range);
        let rank = match name.split_once('/') {
            _ if name == "*" || name == "*/*" => 0,
            Some((range, "*")) if range == main => 1,
            Some(_) if name == media => 2,
            Some(_) => continue,
            None => return true,
        };
        let weight = range.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then_some(value)
        });
        let weight = weight.and_then(|weight| weight.trim().parse().ok());
        let weight = weight.unwrap_or(1.0);
        if best.is_none_or(|(known, _)| rank >= known) {
            best = Some((rank, weight));
        }
    }
    best.map_or(accept.trim().is_empty(), |(_, weight)| weight > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_nothing_is_known_of_is_bytes_unless_it_names_a_charset() {
        for (value, is_text) in [
            ("text/plain", true),
            ("Text/HTML; charset=ISO-8859-1", true),
            ("text/javascript", true),
            ("text/x-unknown", true),
            ("text/event-stream", true),
            ("application/json", true),
            ("application/vnd.api+json", true),
            ("APPLICATION/CloudEvents+JSON", true),
            ("application/xml", true),
            ("application/soap+xml", true),
            ("application/x-www-form-urlencoded", true),
            ("application/javascript", true),
            ("application/yaml", false),
            ("application/yaml; charset=utf-8", true),
            ("application/pdf", false),
            ("application/pdf; charset=utf-8", false),
            ("application/octet-stream", false),
            ("application/vnd.ms-excel; charset=utf-8", false),
            ("image/png", false),
            ("image/svg+xml", false),
            ("multipart/form-data; boundary=x", false),
            ("message/rfc822", false),
            ("font/woff2", false),
            ("x-own/type", false),
            ("x-own/type; charset=utf-8", true),
        ] {
            let media = Media::parse(value).expect(value);
            assert_eq!(media.is_text(), is_text, "{value}");
        }
    }

    #[test]
    fn a_type_is_known_in_any_case_and_with_any_parameters() {
        for value in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;odata=verbose",
            " application/json ",
        ] {
            assert!(Media::parse(value).expect(value).is_json(), "{value}");
        }
        for value in [
            "application/problem+json",
            "application/fhir+json; charset=utf-8",
            "model/gltf+json",
        ] {
            let media = Media::parse(value).expect(value);
            assert!(!media.is_json() && media.is_json_family(), "{value}");
        }
        for value in [
            "",
            "json",
            "application/",
            "/json",
            "application/json x",
            "a/b; c",
        ] {
            assert!(Media::parse(value).is_none(), "{value:?}");
        }
    }

    #[test]
    fn what_is_sent_as_text_says_that_it_is_in_utf_8() {
        for (value, sent) in [
            ("text/plain", "text/plain; charset=utf-8"),
            ("text/html; charset=latin1", "text/html; charset=utf-8"),
            (
                "Text/Plain; format=flowed",
                "text/plain; format=flowed; charset=utf-8",
            ),
            ("application/xml", "application/xml; charset=utf-8"),
            ("application/json; charset=utf-8", "application/json"),
            ("application/problem+json", "application/problem+json"),
            ("image/png", "image/png"),
            (
                "multipart/mixed; boundary=\"a b\"",
                "multipart/mixed; boundary=\"a b\"",
            ),
        ] {
            let media = Media::parse(value).expect(value);
            assert_eq!(media.content_type(), sent, "{value}");
        }
    }

    #[test]
    fn the_range_that_says_most_decides_what_is_accepted() {
        for (accept, taken) in [
            ("", true),
            ("*/*", true),
            ("*", true),
            ("text/html", true),
            ("TEXT/html ; q=0.1", true),
            ("text/html; charset=latin1", true),
            ("application/json, text/*;q=0.5", true),
            ("application/json,*/*;q=0.8", true),
            ("application/json", false),
            ("text/plain, image/*", false),
            ("text/html;q=0", false),
            ("*/*, text/html;q=0", false),
            ("text/*;q=0, */*", false),
            ("nonsense", true),
        ] {
            let got = accepts(accept, "text/html; charset=utf-8");
            assert_eq!(got, taken, "{accept:?}");
        }
    }
}
