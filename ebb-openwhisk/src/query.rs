//! Query strings, and the parameters that several requests share.

use crate::failure::{Failure, Result};
use alloc::{borrow::Cow, format, string::String, vec::Vec};

/// The members of a query string in their order, decoded.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

/// Decodes percent-encoding; what is not of its form stays as it is. Bytes that are no UTF-8 are replaced.
pub fn decode(text: &str, plus_is_blank: bool) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let is_code = |&byte: &u8| byte == b'%' || byte == b'+' && plus_is_blank;
    if !bytes.iter().any(is_code) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = |offset: usize| {
            bytes
                .get(at + offset)
                .and_then(|&b| char::from(b).to_digit(16))
        };
        match (byte, hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                at += 2;
            }
            (b'+', ..) if plus_is_blank => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    let decoded = String::from_utf8(out)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Cow::Owned(decoded)
}

impl Query {
    /// Reads a query string, or a form's body.
    pub fn parse(text: &str) -> Self {
        Self(
            text.split('&')
                .filter(|member| !member.is_empty())
                .map(|member| {
                    let (name, value) = member.split_once('=').unwrap_or((member, ""));
                    (
                        decode(name, true).into_owned(),
                        decode(value, true).into_owned(),
                    )
                })
                .collect(),
        )
    }

    /// The first member of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// All members.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A truth value, false if absent.
    ///
    /// # Errors
    /// 400: something else.
    pub fn flag(&self, name: &str) -> Result<bool> {
        Ok(self.optional_flag(name)?.unwrap_or(false))
    }

    /// A truth value, in any case; one that is empty is as if it was not there.
    ///
    /// # Errors
    /// 400: something else.
    pub fn optional_flag(&self, name: &str) -> Result<Option<bool>> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let is = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
        match text {
            _ if is(["true", "yes", "on", "1"]) => Ok(Some(true)),
            _ if is(["false", "no", "off", "0"]) => Ok(Some(false)),
            _ => {
                let text = text.to_lowercase();
                let detail = format!("'{text}' is not a valid Boolean value");
                Err(Failure::query(name, detail))
            }
        }
    }

    /// A time in epoch milliseconds; what is before the epoch counts as the epoch.
    ///
    /// # Errors
    /// 400: no whole number.
    pub fn time(&self, name: &str) -> Result<Option<u64>> {
        let read = |text: &str| match text.parse::<i64>() {
            Ok(ms) => Ok(u64::try_from(ms).unwrap_or(0)),
            Err(_) => Err(Failure::query(
                name,
                format!("Parameter is not a valid value for epoch seconds: {text}"),
            )),
        };
        self.get(name).map(read).transpose()
    }
}

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most so many elements.
    pub limit: usize,
    /// After so many.
    pub skip: usize,
    /// Only how many there are.
    pub count: bool,
}

/// The most elements of a page.
pub const PAGE: i32 = 200;
const DEFAULT_PAGE: i32 = 30;

impl Page {
    /// Reads `limit`, `skip` and `count` for a collection.
    ///
    /// # Errors
    /// 400 with the protocol's texts.
    pub fn parse(query: &Query, collection: &str) -> Result<Self> {
        let integer = |name: &str, default: i32| match query.get(name) {
            None => Ok(default),
            Some(text) => text.parse::<i32>().map_err(|_| {
                Failure::query(
                    name,
                    format!("The value '{text}' is not an integer for {collection}."),
                )
            }),
        };
        let limit = integer("limit", DEFAULT_PAGE)?;
        if !(0..=PAGE).contains(&limit) {
            return Err(Failure::query(
                "limit",
                format!("The value '{limit}' is not in the range of 0 to {PAGE} for {collection}."),
            ));
        }
        let skip = integer("skip", 0)?;
        let skip = usize::try_from(skip).map_err(|_| {
            Failure::query(
                "skip",
                format!("The value '{skip}' is not greater than or equal to 0 for {collection}."),
            )
        })?;
        let limit = usize::try_from(if limit == 0 { PAGE } else { limit }).unwrap_or_default();
        Ok(Self {
            limit,
            skip,
            count: query.flag("count")?,
        })
    }

    /// The part of a list that is asked for.
    pub fn of<T>(self, all: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        all.skip(self.skip).take(self.limit)
    }

    /// What `count` counts: as in OpenWhisk, what is left after `skip`.
    pub fn count_of(self, all: usize) -> usize {
        all.saturating_sub(self.skip)
    }
}

/// Splits a path into its decoded segments; says whether a slash ends it.
pub fn segments(path: &str) -> (Vec<Cow<'_, str>>, bool) {
    let parts = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| decode(segment, false))
        .collect();
    (parts, path.ends_with('/'))
}
