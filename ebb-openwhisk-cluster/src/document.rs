//! Documents of actions in the database, made into what this platform runs.
//!
//! `common/scala/.../core/entity/WhiskAction.scala`, `Exec.scala`, `Attachments.scala`: code is a string in the document, or an
//! attachment, which is a part of its own name if it is small (`mem:`, URL-safe base64), a file beside the document (`couch:`), or
//! elsewhere (`s3:` and others, which this invoker does not read).

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ebb_openwhisk::activation::{Outcome, Status};
use ebb_openwhisk::code::CodeText;
use ebb_openwhisk::entity::{Action, Code, Common, Exec, Version};
use ebb_openwhisk::json::{Json, Kind, Object};
use ebb_openwhisk::limits::ActionLimits;
use ebb_openwhisk::name::FullName;
use ebb_openwhisk::parameters::Parameters;
use ebb_openwhisk::runtimes::Runtimes;

/// Why an action cannot be run; each has a text of the reference's (`common/scala/.../http/ErrorResponse.scala`, `Messages`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is not there (any more), or its code is not.
    Missing,
    /// What is there is no action, or one that this platform cannot run. Says why.
    Mismatch(String),
    /// The database did not answer as it should. Says why.
    NotFetched(String),
}

impl Unusable {
    /// What the activation comes to: an application error if somebody deleted the action, else the platform's
    /// (`InvokerReactive.scala`, `handleActivationMessage`).
    pub fn outcome(&self) -> Outcome {
        let (status, text) = match self {
            Self::Missing => (
                Status::ApplicationError,
                "Action could not be found or may have been deleted.",
            ),
            Self::Mismatch(_) => (
                Status::InternalError,
                "Action version is not compatible and cannot be invoked.",
            ),
            Self::NotFetched(_) => (Status::InternalError, "Action could not be fetched."),
        };
        Outcome::error(status, text)
    }
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("it is not in the database"),
            Self::Mismatch(why) | Self::NotFetched(why) => f.write_str(why),
        }
    }
}

fn mismatch(why: impl Into<String>) -> Unusable {
    Unusable::Mismatch(why.into())
}

/// A document that has been read, its code perhaps not yet.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its revision.
    pub revision: String,
    members: Object,
    exec: Object,
    id: String,
}

/// Where the code of a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodePlace {
    /// Here, as a JSON string.
    Here(Json),
    /// In an attachment of the document, by this name, of so many bytes if that is known.
    Attached {
        /// Its name.
        name: String,
        /// Its length.
        length: Option<u64>,
    },
    /// There is none: a container image has its own.
    Nowhere,
}

/// An action that can be run.
#[derive(Clone, Debug)]
pub struct Runnable {
    /// The action.
    pub action: Arc<Action>,
    /// Its limits as records show them.
    pub limits: Json,
    /// Bytes that it takes in memory, about.
    pub bytes: usize,
}

impl Document {
    /// Reads the answer of the database to a request for the document of an action.
    ///
    /// # Errors
    /// It is none.
    pub fn read(id: &str, json: &Json) -> Result<Self, Unusable> {
        let members = json
            .to_object()
            .ok_or_else(|| mismatch(format!("the document '{id}' is no object")))?;
        let text = |name: &str| members.get(name).and_then(Json::to_text);
        let revision =
            text("_rev").ok_or_else(|| mismatch(format!("the document '{id}' has no revision")))?;
        if let Some(other) = text("entityType").filter(|kind| kind != "action") {
            return Err(mismatch(format!(
                "the document '{id}' is of type '{other}'"
            )));
        }
        let exec = members
            .get("exec")
            .and_then(Json::to_object)
            .ok_or_else(|| mismatch(format!("the document '{id}' has no code: it is no action")))?;
        Ok(Self {
            revision,
            members,
            exec,
            id: id.to_owned(),
        })
    }

    fn is_binary(&self) -> Option<bool> {
        self.exec.get("binary").and_then(Json::to_bool)
    }

    /// Where its code is.
    ///
    /// # Errors
    /// There is none, or it is in a store that this invoker does not know.
    pub fn code_place(&self) -> Result<CodePlace, Unusable> {
        let Some(code) = self.exec.get("code").filter(|c| c.kind() != Kind::Null) else {
            return match self.exec.get("image") {
                Some(_) => Ok(CodePlace::Nowhere),
                None => Err(mismatch(format!("the action '{}' has no code", self.id))),
            };
        };
        if code.kind() == Kind::Text {
            return Ok(CodePlace::Here(code.clone()));
        }
        let wrong = || mismatch(format!("the code of '{}' is no attachment", self.id));
        let attachment = code.to_object().ok_or_else(wrong)?;
        let name = attachment.get("attachmentName").and_then(Json::to_text);
        let name = name.ok_or_else(wrong)?;
        let length = attachment.get("length").and_then(Json::to_integer);
        match name.split_once(':') {
            Some(("mem", inlined)) => {
                let bytes = URL_SAFE.decode(inlined).map_err(|_| wrong())?;
                self.code_of(&bytes).map(CodePlace::Here)
            }
            Some(("couch", name)) => Ok(CodePlace::Attached {
                name: name.to_owned(),
                length: length.and_then(|n| u64::try_from(n).ok()),
            }),
            // Before there were schemes, all attachments were in the database.
            None => Ok(CodePlace::Attached { name, length: None }),
            Some((scheme, _)) => Err(mismatch(format!(
                "the code of '{}' is in an attachment store ({scheme}), and this invoker reads the database's own only",
                self.id
            ))),
        }
    }

    /// The code in an attachment, as `/init` wants it: archives are base64 there, and bytes in the attachment.
    ///
    /// # Errors
    /// Source text that is no UTF-8.
    pub fn code_of(&self, bytes: &[u8]) -> Result<Json, Unusable> {
        if self.is_binary() == Some(true) {
            return Ok(Json::text(&STANDARD.encode(bytes)));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| mismatch(format!("the code of '{}' is no text in UTF-8", self.id)))?;
        Ok(Json::text(text))
    }

    /// The action. `number` is that of this revision, as in [`Action::revision`].
    ///
    /// # Errors
    /// It is a sequence, or its kind or its documents' members are not what this platform knows.
    pub fn runnable(
        &self,
        code: Option<Json>,
        number: u64,
        runtimes: &Runtimes,
    ) -> Result<Runnable, Unusable> {
        let text = |name: &str| self.exec.get(name).and_then(Json::to_text);
        let kind = text("kind").unwrap_or_default();
        let image = text("image").filter(|_| kind == "blackbox");
        let runtime = match &image {
            Some(image) => runtimes.of_image(image).ok_or_else(|| {
                mismatch(format!(
                    "the image '{image}' of '{}' is none that this invoker runs; it has {}",
                    self.id,
                    runtimes.names()
                ))
            })?,
            // A sequence is taken apart by the controller; it never reaches an invoker.
            None if kind == "sequence" => {
                return Err(Unusable::NotFetched(format!("'{}' is a sequence", self.id)));
            }
            None => runtimes.find(&kind).ok_or_else(|| {
                mismatch(format!(
                    "the kind '{kind}' of '{}' is none that this invoker runs; it has {}",
                    self.id,
                    runtimes.names()
                ))
            })?,
        };
        let code = code.unwrap_or_else(|| Json::text(""));
        let binary = self
            .is_binary()
            .unwrap_or_else(|| CodeText::of(&code).is_some_and(|code| code.binary));
        let (limits, shown) = self.limits();
        let common = self.common()?;
        let bytes = code.as_str().len()
            + self
                .members
                .get("annotations")
                .map_or(0, |a| a.as_str().len())
            + EACH;
        let action = Action {
            common,
            exec: Exec::Code(Code {
                runtime: Arc::clone(runtime),
                image,
                code,
                main: text("main").filter(|main| !main.is_empty()),
                binary,
            }),
            limits,
            revision: number,
        };
        Ok(Runnable {
            action: Arc::new(action),
            limits: shown,
            bytes,
        })
    }

    fn common(&self) -> Result<Common, Unusable> {
        let text = |name: &str| self.members.get(name).and_then(Json::to_text);
        let annotations = match self.members.get("annotations") {
            Some(list) => Parameters::parse(list, "annotations")
                .map_err(|failure| mismatch(format!("'{}': {}", self.id, failure.text)))?,
            None => Parameters::default(),
        };
        let mut parts = self.id.split('/');
        let name = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(name), None, None) => FullName::new(namespace, name),
            (Some(namespace), Some(package), Some(name), None) => {
                FullName::packaged(namespace, package, name)
            }
            _ => return Err(mismatch(format!("'{}' is no name of an action", self.id))),
        };
        let version = text("version").and_then(|version| Version::parse(&version).ok());
        Ok(Common {
            name,
            version: version.unwrap_or(Version::FIRST),
            publish: self.members.get("publish").and_then(Json::to_bool) == Some(true),
            annotations,
            // The controller has merged them into the message's content.
            parameters: Parameters::default(),
            updated_ms: 0,
        })
    }

    /// The limits, and the document of them: what is missing has the defaults of `.../core/entity/*Limit.scala`.
    fn limits(&self) -> (ActionLimits, Json) {
        let given = self.members.get("limits").and_then(Json::to_object);
        let given = given.unwrap_or_default();
        let number = |name: &str, default: u32| {
            let number = given.get(name).and_then(Json::to_integer);
            number
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(default)
        };
        let usual = ActionLimits::default();
        let limits = ActionLimits {
            timeout_ms: number("timeout", usual.timeout_ms),
            memory_mb: number("memory", usual.memory_mb),
            logs_mb: number("logs", usual.logs_mb),
            concurrency: number("concurrency", usual.concurrency),
        };
        let mut shown = limits.to_json().to_object().unwrap_or_default();
        if let Some(instances) = given.get("instances") {
            shown.set("instances", instances.clone());
        }
        (limits, shown.to_json())
    }
}

/// Bytes of an action besides its code.
const EACH: usize = 1 << 10;

/// Java's `getUrlEncoder` writes padding; `getUrlDecoder` wants none.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Which limit of a user an action exceeds, if any: its user's limits may have been lowered since it was made
/// (`ActionLimits.checkLimits`).
pub fn exceeded(action: &ActionLimits, user: &Object) -> Option<String> {
    let bound = |name: &str| {
        let value = user.get(name)?;
        // Memory and logs are written as amounts, or as megabytes.
        let megabytes = || {
            crate::size::parse_bytes(&value.to_text()?)
                .ok()
                .map(|b| b >> 20)
        };
        value
            .to_integer()
            .and_then(|n| u64::try_from(n).ok())
            .or_else(megabytes)
    };
    for (what, unit, value, least, most) in [
        (
            "memory",
            " MB",
            action.memory_mb,
            "minActionMemory",
            "maxActionMemory",
        ),
        (
            "logs",
            " MB",
            action.logs_mb,
            "minActionLogs",
            "maxActionLogs",
        ),
        (
            "duration",
            " milliseconds",
            action.timeout_ms,
            "minActionTimeout",
            "maxActionTimeout",
        ),
        (
            "concurrency",
            "",
            action.concurrency,
            "minActionConcurrency",
            "maxActionConcurrency",
        ),
    ] {
        let value = u64::from(value);
        if let Some(most) = bound(most).filter(|&most| value > most) {
            return Some(format!(
                "{what} {value}{unit} exceeds allowed threshold of {most}{unit}"
            ));
        }
        if let Some(least) = bound(least).filter(|&least| value < least) {
            return Some(format!(
                "{what} {value}{unit} below allowed threshold of {least}{unit}"
            ));
        }
    }
    None
}

/// The document of an action, for tests of this crate.
#[cfg(test)]
pub(crate) fn example(revision: &str, exec: &str) -> Json {
    ebb_openwhisk::json::Members::new()
        .text("_id", "guest/hello")
        .text("_rev", revision)
        .text("namespace", "guest")
        .text("name", "hello")
        .raw("exec", exec)
        .raw(
            "limits",
            r#"{"timeout":60000,"memory":256,"logs":10,"concurrency":1}"#,
        )
        .text("version", "0.0.7")
        .raw("annotations", "[]")
        .text("entityType", "action")
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(exec: &str) -> Result<Document, Unusable> {
        Document::read("guest/hello", &example("1-a", exec))
    }

    fn place(exec: &str) -> Result<CodePlace, Unusable> {
        document(exec)?.code_place()
    }

    #[test]
    fn code_is_found_in_all_places_where_the_reference_puts_it() {
        let here = |text: &str| Ok(CodePlace::Here(Json::text(text)));
        let attached = |length| {
            Ok(CodePlace::Attached {
                name: "uuid-1".into(),
                length,
            })
        };
        for (exec, expected) in [
            (
                r#"{"kind":"nodejs:20","code":"1+1","binary":false}"#,
                here("1+1"),
            ),
            // "a?b>" in URL-safe base64 with and without padding.
            (
                r#"{"kind":"nodejs:20","code":{"attachmentName":"mem:YT9iPg==","attachmentType":"text/plain"},"binary":false}"#,
                here("a?b>"),
            ),
            (
                r#"{"kind":"nodejs:20","code":{"attachmentName":"mem:YT9iPg","attachmentType":"text/plain"},"binary":false}"#,
                here("a?b>"),
            ),
            (
                r#"{"kind":"nodejs:20","code":{"attachmentName":"mem:AP8=","attachmentType":"application/octet-stream"},"binary":true}"#,
                here("AP8="),
            ),
            (
                r#"{"kind":"nodejs:20","code":{"attachmentName":"couch:uuid-1","attachmentType":"text/plain","length":9},"binary":false}"#,
                attached(Some(9)),
            ),
            (
                r#"{"kind":"nodejs:20","code":{"attachmentName":"uuid-1","attachmentType":"text/plain"},"binary":false}"#,
                attached(None),
            ),
            (
                r#"{"kind":"blackbox","image":"openwhisk/action-nodejs-v20"}"#,
                Ok(CodePlace::Nowhere),
            ),
        ] {
            assert_eq!(place(exec), expected, "{exec}");
        }
        for (exec, told) in [
            (r#"{"kind":"nodejs:20"}"#, "has no code"),
            (r#"{"kind":"nodejs:20","code":7}"#, "no attachment"),
            (
                r#"{"kind":"nodejs:20","code":{"attachmentName":"mem:%%"}}"#,
                "no attachment",
            ),
            (
                r#"{"kind":"nodejs:20","code":{"attachmentName":"s3:x"}}"#,
                "attachment store (s3)",
            ),
        ] {
            let why = place(exec).expect_err(told);
            assert!(
                matches!(&why, Unusable::Mismatch(why) if why.contains(told)),
                "{why:?}"
            );
        }
    }

    #[test]
    fn an_action_is_made_of_a_document() {
        let document = document(r#"{"kind":"nodejs:20","code":"1","main":"go","binary":false}"#);
        let runnable = document
            .expect("a document")
            .runnable(Some(Json::text("1")), 5, &Runtimes::default())
            .expect("an action");
        assert_eq!(format!("{}", runnable.action.common.name), "guest/hello");
        assert_eq!(format!("{}", runnable.action.common.version), "0.0.7");
        assert_eq!(runnable.action.revision, 5);
        let Exec::Code(code) = &runnable.action.exec else {
            panic!("no code");
        };
        assert_eq!((code.main.as_deref(), code.binary), (Some("go"), false));
        assert_eq!(
            runnable.limits.as_str(),
            r#"{"timeout":60000,"memory":256,"logs":10,"concurrency":1}"#
        );
    }

    #[test]
    fn what_cannot_be_run_says_why() {
        let runtimes = Runtimes::default();
        for (exec, told) in [
            (r#"{"kind":"cobol:60","code":"1"}"#, "kind 'cobol:60'"),
            (
                r#"{"kind":"blackbox","image":"me/mine"}"#,
                "image 'me/mine'",
            ),
            (r#"{"kind":"sequence","components":[]}"#, "is a sequence"),
        ] {
            let why = document(exec)
                .expect("a document")
                .runnable(None, 1, &runtimes);
            let why = why.expect_err(told);
            assert!(format!("{why}").contains(told), "{why}");
            assert_eq!(why.outcome().status, Status::InternalError);
        }
        assert_eq!(Unusable::Missing.outcome().status, Status::ApplicationError);
        let other = Json::parse(r#"{"_rev":"1-a","entityType":"trigger"}"#).expect("JSON");
        assert!(Document::read("x/y", &other).is_err());
        assert!(Document::read("x/y", &Json::null()).is_err());
    }

    #[test]
    fn limits_of_the_user_bound_those_of_the_action() {
        let action = ActionLimits::default();
        let user = |text: &str| Json::parse(text).ok().and_then(|j| j.to_object());
        let told = |text: &str| exceeded(&action, &user(text).expect("an object"));
        assert_eq!(told("{}"), None);
        assert_eq!(
            told(r#"{"maxActionMemory":"512 MB","minActionMemory":128}"#),
            None
        );
        assert_eq!(
            told(r#"{"maxActionMemory":"128 MB"}"#).as_deref(),
            Some("memory 256 MB exceeds allowed threshold of 128 MB")
        );
        assert_eq!(
            told(r#"{"maxActionTimeout":1000}"#).as_deref(),
            Some("duration 60000 milliseconds exceeds allowed threshold of 1000 milliseconds")
        );
        assert!(told(r#"{"minActionLogs":11}"#).is_some());
    }
}
