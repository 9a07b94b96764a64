//! What an action does: code of a kind, or a sequence of other actions.

use crate::alarm::Feed;
use crate::code::CodeText;
use crate::failure::{Failure, Result};
use crate::json::{Json, Members};
use crate::limits;
use crate::name::FullName;
use crate::runtimes::{Runtime, Runtimes};
use alloc::{format, string::String, sync::Arc, vec::Vec};

/// What the platform itself does.
const BUILT_IN_KIND: &str = "builtin";
const SEQUENCE_KIND: &str = "sequence";
/// Code for a container image that the document names. Those of the kinds that there are are understood, under any registry and
/// with any tag.
const BLACKBOX_KIND: &str = "blackbox";

/// Code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// What runs it.
    pub runtime: Arc<Runtime>,
    /// The container image that a `blackbox` names.
    pub image: Option<String>,
    /// Source text, or an archive in base64, as a JSON string.
    pub code: Json,
    /// The entry point, if it is not `main`.
    pub main: Option<String>,
    /// Whether the code is an archive.
    pub binary: bool,
}

/// What an action does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exec {
    /// Runs code.
    Code(Code),
    /// Calls one action after the other, each with the result of the one before.
    Sequence(Vec<FullName>),
    /// Sets alarms. No document makes such an action.
    Feed(Feed),
}

impl Exec {
    /// Reads the member `exec` of a document; `own` is the caller's namespace, `lifted` code that was taken out of it.
    ///
    /// # Errors
    /// 400: another shape, or a kind that there is not; 413: too large.
    pub fn parse(
        document: &Json,
        own: &str,
        lifted: Option<&CodeText>,
        runtimes: &Runtimes,
    ) -> Result<Self> {
        let object = document
            .to_object()
            .ok_or_else(|| Failure::malformed("exec must be an object"))?;
        let text = |name: &str| match object.get(name) {
            None => Ok(None),
            Some(value) => value
                .to_text()
                .map(Some)
                .ok_or_else(|| Failure::malformed(format!("exec.{name} must be a string"))),
        };
        let kind = object.get("kind").and_then(Json::to_text);
        let kind = kind
            .ok_or_else(|| Failure::malformed("'kind' must be a string defined in 'exec'"))?
            .trim()
            .to_ascii_lowercase();
        if kind == SEQUENCE_KIND {
            let components = object.get("components").ok_or_else(|| {
                Failure::malformed("'components' must be defined for sequence kind")
            })?;
            let components = components
                .to_array()
                .ok_or_else(|| Failure::malformed("'components' must be an array"))?
                .iter()
                .map(|component| FullName::read(component, own))
                .collect::<Result<Vec<_>>>()?;
            return match components.len() {
                0 => Err(Failure::bad("No component specified for the sequence.")),
                n if n > limits::SEQUENCE => Err(Failure::bad("Too many actions in the sequence.")),
                _ => Ok(Self::Sequence(components)),
            };
        }
        let (runtime, image) = if kind == BLACKBOX_KIND {
            let image = text("image")?.ok_or_else(|| {
                Failure::malformed(
                    "'image' must be a string defined in 'exec' for 'blackbox' actions",
                )
            })?;
            let runtime = runtimes.of_image(&image).ok_or_else(|| {
                let known: Vec<String> =
                    runtimes.iter().map(|r| format!("'{}'", r.image)).collect();
                Failure::bad(format!(
                    "The image '{image}' is not supported by this platform, which knows {}.",
                    known.join(", ")
                ))
            })?;
            (runtime, Some(image))
        } else {
            let runtime = runtimes.find(&kind).ok_or_else(|| {
                Failure::malformed(format!(
                    "The specified runtime '{kind}' is not supported by this platform. Valid values are: {}.",
                    runtimes.names()
                ))
            })?;
            (runtime, None)
        };
        let main = text("main").map_err(|_| {
            Failure::malformed(format!(
                "if defined, 'main' be a string in 'exec' for '{kind}' actions"
            ))
        })?;
        let code = match object.get("code") {
            None => None,
            Some(json) if CodeText::is_placeholder(json) && lifted.is_some() => lifted.cloned(),
            Some(json) => Some(
                CodeText::of(json)
                    .ok_or_else(|| Failure::malformed("exec.code must be a string"))?,
            ),
        };
        let is_blank = |code: &CodeText| code.json.to_text().is_some_and(|t| t.trim().is_empty());
        let code = match code {
            // An image may bring its code along; these do not, and say so when they are called.
            Some(code) if image.is_some() && is_blank(&code) => CodeText::source(""),
            None if image.is_some() => CodeText::source(""),
            Some(code) => code,
            None => {
                return Err(Failure::malformed(format!(
                    "'code' must be a string or attachment object defined in 'exec' for '{kind}' actions"
                )));
            }
        };
        if code.length > limits::CODE {
            return Err(Failure::too_large("exec", code.length, limits::CODE));
        }
        Ok(Self::Code(Code {
            runtime: Arc::clone(runtime),
            image,
            code: code.json,
            main: main.filter(|main| !main.is_empty()),
            binary: code.binary,
        }))
    }

    /// The kind.
    pub fn kind(&self) -> &str {
        match self {
            Self::Code(code) if code.image.is_some() => BLACKBOX_KIND,
            Self::Code(code) => &code.runtime.kind,
            Self::Sequence(_) => SEQUENCE_KIND,
            Self::Feed(_) => BUILT_IN_KIND,
        }
    }

    /// Whether it is an archive.
    pub fn is_binary(&self) -> bool {
        matches!(self, Self::Code(code) if code.binary)
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Code(code) => code.code.as_str().len(),
            Self::Sequence(components) => components.len() * 64,
            Self::Feed(_) => 0,
        }
    }

    fn components_json(components: &[FullName]) -> Json {
        Json::array(
            components
                .iter()
                .map(|name| Json::text(&format!("/{name}"))),
        )
    }

    /// The document; without the code if that is not wanted.
    pub fn to_json(&self, with_code: bool) -> Json {
        let mut members = Members::new();
        members.text("kind", self.kind());
        match self {
            Self::Code(code) => {
                if let Some(image) = &code.image {
                    members.text("image", image);
                }
                let is_brought_along = code.image.is_some() && code.code.as_str() == "\"\"";
                if with_code && !is_brought_along {
                    members.raw("code", code.code.as_str());
                }
                if let Some(main) = &code.main {
                    members.text("main", main);
                }
                members.bool("binary", code.binary);
            }
            Self::Sequence(components) => {
                members.raw("components", Self::components_json(components).as_str());
            }
            Self::Feed(_) => {
                members.bool("binary", false);
            }
        }
        members.finish()
    }

    /// The value of the parameter `_actions` of a sequence.
    pub fn actions_parameter(&self) -> Option<Json> {
        match self {
            Self::Sequence(components) => Some(Self::components_json(components)),
            Self::Code(_) | Self::Feed(_) => None,
        }
    }
}
