//! What an action does: code of a kind, or a sequence of other actions.

use crate::failure::{Failure, Result};
use crate::json::{Json, Members};
use crate::limits;
use crate::name::FullName;
use alloc::{format, string::String, sync::Arc, vec::Vec};

/// The kinds of code, the default first.
pub const KINDS: &[&str] = &["nodejs:20"];
const DEFAULT_KIND: &str = "nodejs:default";
const SEQUENCE_KIND: &str = "sequence";

/// Code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// One of [`KINDS`].
    pub kind: &'static str,
    /// Source text, or an archive in base64.
    pub code: Arc<str>,
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
}

/// Whether a text can only be meant as base64: as in the reference, a multiple of 4 characters of its alphabet.
fn is_base64(text: &str) -> bool {
    let text = text.trim().as_bytes();
    let padding = text.iter().rev().take_while(|&&c| c == b'=').count();
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && padding <= 2
        && text[..text.len() - padding]
            .iter()
            .all(|&c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/')
}

impl Exec {
    /// Reads the member `exec` of a document; `own` is the caller's namespace.
    ///
    /// # Errors
    /// 400: another shape, or a kind that there is not; 413: too large.
    pub fn parse(document: &Json, own: &str) -> Result<Self> {
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
        let kind = text("kind")?
            .ok_or_else(|| Failure::malformed("'kind' must be a string defined in 'exec'"))?
            .to_ascii_lowercase();
        if kind == SEQUENCE_KIND {
            let malformed =
                || Failure::malformed("'components' must be an array of action names in 'exec'");
            let components = object
                .get("components")
                .and_then(Json::to_array)
                .ok_or_else(malformed)?
                .iter()
                .map(|c| FullName::parse(&c.to_text().ok_or_else(malformed)?, own))
                .collect::<Result<Vec<_>>>()?;
            return match components.len() {
                0 => Err(Failure::bad("No component specified for the sequence.")),
                n if n > limits::SEQUENCE => Err(Failure::bad("Too many actions in the sequence.")),
                _ => Ok(Self::Sequence(components)),
            };
        }
        let known = KINDS
            .iter()
            .find(|k| **k == kind || (kind == DEFAULT_KIND && **k == KINDS[0]));
        let Some(kind) = known else {
            return Err(Failure::bad(format!(
                "The specified runtime '{kind}' is not supported by this platform. Valid values are: '{}'.",
                KINDS.join("', '")
            )));
        };
        let code = text("code")?.ok_or_else(|| {
            Failure::malformed(format!(
                "'code' must be a string defined in 'exec' for '{kind}' actions"
            ))
        })?;
        if code.len() > limits::CODE {
            return Err(Failure::too_large("exec", code.len(), limits::CODE));
        }
        let binary = is_base64(&code);
        Ok(Self::Code(Code {
            kind,
            code: Arc::from(if binary { code.trim() } else { &code }),
            main: text("main")?.filter(|main| !main.is_empty()),
            binary,
        }))
    }

    /// The kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Code(code) => code.kind,
            Self::Sequence(_) => SEQUENCE_KIND,
        }
    }

    /// Whether it is an archive.
    pub fn is_binary(&self) -> bool {
        matches!(self, Self::Code(code) if code.binary)
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Code(code) => code.code.len(),
            Self::Sequence(components) => components.len() * 64,
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
                if with_code {
                    members.text("code", &code.code);
                }
                if let Some(main) = &code.main {
                    members.text("main", main);
                }
                members.bool("binary", code.binary);
            }
            Self::Sequence(components) => {
                members.raw("components", Self::components_json(components).as_str());
            }
        }
        members.finish()
    }

    /// The value of the parameter `_actions` of a sequence.
    pub fn actions_parameter(&self) -> Option<Json> {
        match self {
            Self::Sequence(components) => Some(Self::components_json(components)),
            Self::Code(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_is_told_by_the_text_alone() {
        for (text, binary) in [
            ("", false),
            ("   ", false),
            ("main", true),
            ("mainx", false),
            ("UEsDBA==", true),
            (" UEsDBA==\n", true),
            ("UEsD=A==", false),
            ("====", false),
            ("fn()", false),
        ] {
            assert_eq!(is_base64(text), binary, "{text:?}");
        }
    }
}
