//! Calls and answers as lines.

use alloc::{string::String, vec::Vec};

use base64::{Engine, engine::general_purpose::STANDARD};
use ebb_openwhisk::json::{Json, Kind};

use super::{NO_DICTIONARY, Refusal};

/// The line that a call is.
pub fn call_line(run: &str) -> Vec<u8> {
    let mut line: Vec<u8> = run
        .bytes()
        .filter(|byte| !matches!(byte, b'\n' | b'\r'))
        .collect();
    line.push(b'\n');
    line
}

/// The same for a caller that takes the answer in parts, which the member `stream` says.
pub fn call_line_in_parts(run: &str) -> Vec<u8> {
    let mut line = call_line(run);
    if let Some(end) = line.iter().rposition(|byte| *byte == b'}') {
        line.truncate(end);
        let is_empty = line.trim_ascii_end().ends_with(b"{");
        line.extend_from_slice(if is_empty { b"" } else { b"," });
        line.extend_from_slice(b"\"stream\":true}\n");
    }
    line
}

/// The answer that a line is: status and body.
pub fn answer_of(line: &[u8]) -> (u16, Vec<u8>) {
    match Json::parse_bytes(line) {
        Ok(json) if matches!(json.kind(), Kind::Object | Kind::Array) => {
            (200, json.as_str().as_bytes().to_vec())
        }
        // Go's `json.Unmarshal` takes `null` for a map without members, so the proxy lets it through, with the line's end; what it is
        // the platform says (`runHandler.go`).
        Ok(json) if json.kind() == Kind::Null => (200, b"null\n".to_vec()),
        _ => (502, Refusal::new(502, NO_DICTIONARY).body()),
    }
}

/// What a line of a program is that answers in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Status and headers.
    Head(Json),
    /// A piece of the body.
    Part(Vec<u8>),
    /// The answer, or what is none.
    Answer,
}

/// Reads a line. Those of parts begin with a `+`, which no JSON does: `+{"statusCode":200,"headers":{}}`, then `+"text"` or
/// `+{"base64":".."}` each.
pub fn read_line(line: &[u8], has_begun: bool) -> Line {
    let Some(json) = line
        .strip_prefix(b"+")
        .and_then(|json| Json::parse_bytes(json).ok())
    else {
        return Line::Answer;
    };
    match (json.kind(), has_begun) {
        (Kind::Object, false) => Line::Head(json),
        (Kind::Text, true) => {
            let text = json.to_text().unwrap_or_default();
            Line::Part(String::into_bytes(text))
        }
        (Kind::Object, true) => {
            let text = json
                .to_object()
                .and_then(|part| part.get("base64")?.to_text());
            let bytes = text.and_then(|text| STANDARD.decode(text).ok());
            bytes.map_or(Line::Answer, Line::Part)
        }
        _ => Line::Answer,
    }
}
