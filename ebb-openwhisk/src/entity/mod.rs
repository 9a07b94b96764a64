//! What a namespace holds: actions, packages, triggers, rules and APIs, all known by their [`FullName`].

pub mod absent;
mod action;
mod api;
mod exec;
pub mod kept;
mod package;
mod rule;
mod store;
mod trigger;

pub use action::{Action, CONDUCTOR, PROVIDE_API_KEY, SNAPSHOT, STREAM_TIMEOUT};
pub use api::Api;
pub use exec::{Code, Exec};
pub use package::Package;
pub use rule::Rule;
pub use store::{Resolved, Store};
pub use trigger::Trigger;

use crate::code::CodeText;
use crate::failure::{Failure, Result};
use crate::json::{Json, Kind, Members, Object};
use crate::name::FullName;
use crate::parameters::Parameters;
use alloc::{format, string::String, sync::Arc};

/// The version of a document: `X.Y.Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// That of a new document.
    pub const FIRST: Self = Self(0, 0, 1);

    /// Reads a version, as OpenWhisk does: parts that are missing are 0, and what follows the third says nothing.
    ///
    /// # Errors
    /// 400: a part is no number, or all are 0.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = [0; 3];
        let given = text.trim_end_matches('.').split('.');
        let are_numbers = parts.iter_mut().zip(given).all(|(part, given)| {
            let number = given.parse().ok();
            *part = number.unwrap_or(0);
            number.is_some()
        });
        match parts {
            [0, 0, 0] => Err(Failure::malformed("semantic version malformed")),
            [x, y, z] if are_numbers => Ok(Self(x, y, z)),
            _ => Err(Failure::malformed("semantic version malformed")),
        }
    }

    /// That of the next update.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0, self.1, self.2.saturating_add(1))
    }
}

impl Version {
    /// What [`Display`](core::fmt::Display) shows, for what is done in each call.
    pub fn text(self) -> String {
        let mut text = String::with_capacity(8);
        for (index, number) in [self.0, self.1, self.2].into_iter().enumerate() {
            if index > 0 {
                text.push('.');
            }
            text.push_str(itoa::Buffer::new().format(number));
        }
        text
    }
}

impl core::fmt::Display for Version {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.text())
    }
}

/// What all documents have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    /// Where it is.
    pub name: FullName,
    /// Its version.
    pub version: Version,
    /// Whether other namespaces may read and call it.
    pub publish: bool,
    /// Annotations.
    pub annotations: Parameters,
    /// Parameters.
    pub parameters: Parameters,
    /// Epoch milliseconds of the last change.
    pub updated_ms: u64,
}

impl Common {
    /// Of a document in its first version that says nothing else.
    pub fn new(name: FullName) -> Self {
        Self {
            name,
            version: Version::FIRST,
            publish: false,
            annotations: Parameters::default(),
            parameters: Parameters::default(),
            updated_ms: 0,
        }
    }
}

/// The body of a PUT: an object whose unknown members are ignored.
#[derive(Clone, Debug, Default)]
pub struct Put {
    members: Object,
    /// Code that was taken out of the body before.
    pub code: Option<CodeText>,
}

impl Put {
    /// Reads a body.
    ///
    /// # Errors
    /// 400: no JSON object.
    pub fn parse(body: &[u8]) -> Result<Self> {
        let Some(members) = Object::parse_bytes(body) else {
            Json::parse_bytes(body).map_err(Failure::malformed)?;
            return Err(Failure::malformed("the body must be a JSON object"));
        };
        Ok(Self {
            members,
            code: None,
        })
    }

    /// A member that is there and not null.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.members.get(name).filter(|v| v.kind() != Kind::Null)
    }

    /// Whether there is a member that is null.
    pub fn is_null(&self, name: &str) -> bool {
        let given = self.members.get(name);
        given.is_some_and(|value| value.kind() == Kind::Null)
    }

    fn read<T>(
        &self,
        name: &str,
        what: &str,
        read: impl Fn(&Json) -> Option<T>,
    ) -> Result<Option<T>> {
        self.get(name)
            .map(|value| {
                read(value).ok_or_else(|| Failure::malformed(format!("{name} must be {what}")))
            })
            .transpose()
    }

    /// A member that must be a string.
    ///
    /// # Errors
    /// 400: it is something else.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        self.read(name, "a string", Json::to_text)
    }

    /// The common members of the document that replaces `old`: what the body does not name stays.
    ///
    /// # Errors
    /// 400 and 413, as the members.
    pub fn common(&self, name: &FullName, old: Option<&Common>, now_ms: u64) -> Result<Common> {
        let version = match self.text("version")? {
            Some(text) => Version::parse(&text)?,
            None => old.map_or(Version::FIRST, |old| old.version.next()),
        };
        let publish = self
            .read("publish", "a truth value", Json::to_bool)?
            .unwrap_or_else(|| old.is_some_and(|old| old.publish));
        let kept = |part: fn(&Common) -> &Parameters| old.map(part).cloned().unwrap_or_default();
        let annotations = match self.get("annotations") {
            Some(document) => Parameters::parse(document, "annotations")?,
            None => kept(|old| &old.annotations),
        };
        let parameters = match self.get("parameters") {
            Some(document) => Parameters::parse(document, "parameters")?,
            None => kept(|old| &old.parameters),
        };
        Ok(Common {
            name: name.clone(),
            version,
            publish,
            annotations,
            parameters,
            updated_ms: now_ms,
        })
    }

    /// The annotations of the action that replaces `old`. Unlike those of other entities they are put over the old ones,
    /// of which `delAnnotations` names those that go before.
    ///
    /// # Errors
    /// 400 and 413.
    fn merged_annotations(&self, old: &Parameters) -> Result<Parameters> {
        let mut annotations = old.clone();
        if let Some(document) = self.get("delAnnotations") {
            let malformed = || Failure::malformed("delAnnotations must be an array of strings");
            for key in document.to_array().ok_or_else(malformed)? {
                annotations.remove(&key.to_text().ok_or_else(malformed)?);
            }
        }
        match self.get("annotations") {
            Some(document) => Ok(annotations.merged(&Parameters::parse(document, "annotations")?)),
            None => Ok(annotations),
        }
    }
}

impl Common {
    /// Begins a document, or an element of a list.
    pub fn head(&self, members: &mut Members) {
        members
            .text("namespace", &self.name.path())
            .text("name", &self.name.name)
            .text("version", &format!("{}", self.version))
            .bool("publish", self.publish)
            .raw("annotations", self.annotations.to_json().as_str())
            .number("updated", self.updated_ms);
    }

    /// Bytes that it takes in the store, about.
    pub fn size(&self) -> usize {
        let lists = [&self.annotations, &self.parameters];
        lists
            .iter()
            .flat_map(|list| list.iter())
            .map(|p| p.key.len() + p.value.as_str().len() + 64)
            .sum::<usize>()
            + 512
    }
}

/// Any of them.
#[derive(Clone, Debug)]
pub enum Entity {
    /// An action.
    Action(Arc<Action>),
    /// A package.
    Package(Arc<Package>),
    /// A trigger.
    Trigger(Arc<Trigger>),
    /// A rule.
    Rule(Arc<Rule>),
    /// An API of the gateway, which no collection lists.
    Api(Arc<Api>),
}

impl Entity {
    /// The common members.
    pub fn common(&self) -> &Common {
        match self {
            Self::Action(e) => &e.common,
            Self::Package(e) => &e.common,
            Self::Trigger(e) => &e.common,
            Self::Rule(e) => &e.common,
            Self::Api(e) => &e.common,
        }
    }

    /// The document.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Action(e) => e.to_json(&e.common.parameters, true),
            Self::Package(e) => e.to_json(),
            Self::Trigger(e) => e.to_json(),
            Self::Rule(e) => e.to_json(),
            Self::Api(e) => e.document.clone(),
        }
    }

    /// The element of a list.
    pub fn summary(&self) -> Json {
        let mut members = Members::new();
        self.common().head(&mut members);
        match self {
            Self::Action(e) => {
                members.raw("limits", e.limits.to_json().as_str());
                members.raw(
                    "exec",
                    Members::new()
                        .bool("binary", e.exec.is_binary())
                        .finish()
                        .as_str(),
                );
            }
            Self::Package(e) => {
                members.raw("binding", e.binding_json("false").as_str());
            }
            Self::Trigger(_) | Self::Api(_) => {}
            Self::Rule(e) => e.tail(&mut members),
        }
        members.finish()
    }

    /// Bytes that it takes in the store, about.
    pub fn size(&self) -> usize {
        self.common().size()
            + match self {
                Self::Action(e) => e.exec.size(),
                Self::Trigger(e) => e.alarm.as_ref().map_or(0, |alarm| alarm.size()),
                Self::Api(e) => e.size(),
                Self::Package(_) | Self::Rule(_) => 0,
            }
    }
}
