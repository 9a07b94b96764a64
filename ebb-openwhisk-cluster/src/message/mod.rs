//! What travels over the bus: parsing and serialising, without I/O.
//!
//! The formats are those of spray-json's `jsonFormatN` over the case classes in
//! `common/scala/src/main/scala/org/apache/openwhisk/core/connector/Message.scala` and `.../core/entity/`. An `Option` that is
//! `None` is left out when written, and may be `null` when read. JSON that is only passed on keeps its text.

pub mod acknowledgement;
pub mod activation;
pub mod container;
pub mod event;
pub mod instance;
pub mod record;
pub mod transaction;

use ebb_openwhisk::json::{Json, Kind, Object};

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// The members of a part of a message, with its path for what is said when one is missing.
pub(crate) struct Fields<'a> {
    path: &'a str,
    members: Object,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(path: &'a str, json: &Json) -> Result<Self, Malformed> {
        let members = json
            .to_object()
            .ok_or_else(|| Malformed(format!("{path} is no object")))?;
        Ok(Self { path, members })
    }

    /// A member that may be missing; `null` is the same.
    pub(crate) fn optional(&self, name: &str) -> Option<&Json> {
        self.members.get(name).filter(|v| v.kind() != Kind::Null)
    }

    pub(crate) fn required(&self, name: &str) -> Result<&Json, Malformed> {
        self.optional(name)
            .ok_or_else(|| Malformed(format!("{}.{name} is missing", self.path)))
    }

    pub(crate) fn text(&self, name: &str) -> Result<String, Malformed> {
        let value = self.required(name)?;
        value
            .to_text()
            .ok_or_else(|| Malformed(format!("{}.{name} is no string", self.path)))
    }

    pub(crate) fn optional_text(&self, name: &str) -> Result<Option<String>, Malformed> {
        match self.optional(name) {
            Some(_) => self.text(name).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn bool(&self, name: &str) -> Result<bool, Malformed> {
        let value = self.required(name)?;
        value
            .to_bool()
            .ok_or_else(|| Malformed(format!("{}.{name} is neither true nor false", self.path)))
    }

    /// The strings of an array; none if there is no such member.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, Malformed> {
        let Some(value) = self.optional(name) else {
            return Ok(Vec::new());
        };
        let texts = value
            .to_array()
            .and_then(|values| values.iter().map(Json::to_text).collect());
        texts.ok_or_else(|| Malformed(format!("{}.{name} is no list of strings", self.path)))
    }

    /// The members of an object of strings; none if there is no such member.
    pub(crate) fn texts_by_name(&self, name: &str) -> Result<Vec<(String, String)>, Malformed> {
        let Some(value) = self.optional(name) else {
            return Ok(Vec::new());
        };
        let texts = value.to_object().and_then(|object| {
            let texts = object.iter();
            texts
                .map(|(name, value)| Some((name.to_owned(), value.to_text()?)))
                .collect()
        });
        texts.ok_or_else(|| Malformed(format!("{}.{name} is no object of strings", self.path)))
    }
}
