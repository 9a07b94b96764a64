//! `ActivationMessage`: what a controller asks an invoker to run (`.../core/connector/Message.scala`, `jsonFormat12`).

use ebb_openwhisk::json::{Json, Kind, Object};

use super::transaction::Transaction;
use super::{Fields, Malformed};

/// Where an action is (`.../core/entity/FullyQualifiedEntityName.scala`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionName {
    /// `ns` or `ns/pkg`.
    pub path: String,
    /// The name.
    pub name: String,
    /// The version that the controller saw.
    pub version: Option<String>,
    /// The package binding by which it was reached.
    pub binding: Option<String>,
}

impl ActionName {
    pub(crate) fn read(json: &Json) -> Result<Self, Malformed> {
        let fields = Fields::of("action", json)?;
        let name = Self {
            path: fields.text("path")?,
            name: fields.text("name")?,
            version: fields.optional_text("version")?,
            binding: fields.optional_text("binding")?,
        };
        let parts = name.path.split('/').count();
        let is_name = |part: &str| !part.is_empty() && !part.contains(char::is_control);
        if parts > 2 || !name.path.split('/').all(is_name) || !is_name(&name.name) {
            let text = format!("'{}/{}' is no name of an action", name.path, name.name);
            return Err(Malformed(text));
        }
        Ok(name)
    }

    /// `ns/name` or `ns/pkg/name`: the id of its document.
    pub fn id(&self) -> String {
        format!("{}/{}", self.path, self.name)
    }
}

/// On whose behalf (`.../core/entity/Identity.scala`), as far as an invoker needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The subject.
    pub subject: String,
    /// The namespace's name.
    pub namespace: String,
    /// The namespace's id.
    pub uuid: String,
    /// What proves who it is: any members, mostly `api_key`. Functions that ask for it get all of them.
    pub auth: Object,
    /// The limits that differ from the system's.
    pub limits: Object,
}

impl User {
    fn read(json: &Json) -> Result<Self, Malformed> {
        let fields = Fields::of("user", json)?;
        let namespace = Fields::of("user.namespace", fields.required("namespace")?)?;
        let object = |name| fields.optional(name).and_then(Json::to_object);
        Ok(Self {
            subject: fields.text("subject")?,
            namespace: namespace.text("name")?,
            uuid: namespace.text("uuid")?,
            auth: object("authkey").unwrap_or_default(),
            limits: object("limits").unwrap_or_default(),
        })
    }

    /// Whether its activations are to be stored.
    pub fn stores_activations(&self) -> bool {
        let stores = self.limits.get("storeActivations");
        stores.and_then(Json::to_bool) != Some(false)
    }
}

/// A request to run an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationMessage {
    /// The request that it belongs to.
    pub transaction: Transaction,
    /// What to run.
    pub action: ActionName,
    /// The revision of the action's document; `None`: whichever there is, past all caches.
    pub revision: Option<String>,
    /// On whose behalf.
    pub user: User,
    /// 32 hexadecimal digits.
    pub id: String,
    /// Who wants to hear of it.
    pub controller: String,
    /// The controller waits for the result.
    pub blocking: bool,
    /// The argument, an object or an array, with the names in [`init_args`](Self::init_args) among its members.
    pub content: Option<Json>,
    /// Members of the argument that go to the environment of init.
    pub init_args: Vec<String>,
    /// Members of the argument that are encrypted, and how.
    pub locked_args: Vec<(String, String)>,
    /// The enclosing sequence's activation.
    pub cause: Option<String>,
    /// What the tracer of the controller wants to be passed on.
    pub trace_context: Vec<(String, String)>,
}

impl ActivationMessage {
    /// Reads one.
    ///
    /// # Errors
    /// Which member is missing or not what it should be.
    pub fn parse(payload: &[u8], now_ms: u64) -> Result<Self, Malformed> {
        let json =
            Json::parse_bytes(payload).map_err(|why| Malformed(format!("no JSON: {why}")))?;
        let fields = Fields::of("message", &json)?;
        let transaction = fields.optional("transid").cloned();
        let controller = Fields::of(
            "rootControllerIndex",
            fields.required("rootControllerIndex")?,
        )?;
        let controller = controller.text("asString")?;
        check_topic_part(&controller)?;
        let content = fields.optional("content").cloned();
        if let Some(content) = &content
            && !matches!(content.kind(), Kind::Object | Kind::Array)
        {
            let text = "message.content is neither an object nor an array";
            return Err(Malformed(text.into()));
        }
        Ok(Self {
            transaction: Transaction::read(&transaction.unwrap_or_else(Json::null), now_ms),
            action: ActionName::read(fields.required("action")?)?,
            revision: fields.optional_text("revision")?.filter(|r| !r.is_empty()),
            user: User::read(fields.required("user")?)?,
            id: activation_id(&fields)?,
            controller,
            blocking: fields.bool("blocking")?,
            content,
            init_args: fields.texts("initArgs")?,
            locked_args: fields.texts_by_name("lockedArgs")?,
            cause: fields.optional_text("cause")?,
            trace_context: fields.texts_by_name("traceContext")?,
        })
    }
}

/// The id, which names a document: what `ActivationId.parse` (`.../core/entity/ActivationId.scala`) takes.
fn activation_id(fields: &Fields<'_>) -> Result<String, Malformed> {
    let id = fields.text("activationId")?;
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        let text = "message.activationId is not 32 hexadecimal digits";
        return Err(Malformed(text.into()));
    }
    Ok(id)
}

/// A controller's name ends up in a topic's: `ControllerInstanceId` allows these characters, and that many.
pub(crate) fn check_topic_part(name: &str) -> Result<(), Malformed> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 249 - 121 || !name.bytes().all(legal) {
        let text = "rootControllerIndex.asString is no name of a controller";
        return Err(Malformed(text.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `ActivationMessage.serdes` writes it, with all optional members.
    const FULL: &str = r#"{"transid":["0123456789abcdef0123456789abcdef",1532474133193],"action":{"path":"guest/pkg","name":"hello","version":"0.0.3","binding":"other/bound"},"revision":"1-37bd","user":{"subject":"guest","namespace":{"name":"guest","uuid":"23bc46b1-71f6-4ed5-8c54-816aa4f8c502"},"authkey":{"api_key":"23bc:key"},"rights":["READ","PUT","DELETE","ACTIVATE"],"limits":{"storeActivations":false}},"activationId":"0123456789abcdef0123456789abcdef","rootControllerIndex":{"asString":"0","instanceType":"controller"},"blocking":true,"content":{"KEY":"v","n":1.50},"initArgs":["KEY"],"lockedArgs":{"n":"aes-128"},"cause":"fedcba9876543210fedcba9876543210","traceContext":{"x-b3-traceid":"1"}}"#;

    fn parse(text: &str) -> Result<ActivationMessage, Malformed> {
        ActivationMessage::parse(text.as_bytes(), 0)
    }

    #[test]
    fn a_message_with_everything_is_read_whole() {
        let message = parse(FULL).expect("a message");
        assert_eq!(message.action.id(), "guest/pkg/hello");
        assert_eq!(message.action.version.as_deref(), Some("0.0.3"));
        assert_eq!(message.action.binding.as_deref(), Some("other/bound"));
        assert_eq!(message.revision.as_deref(), Some("1-37bd"));
        assert_eq!(message.user.uuid, "23bc46b1-71f6-4ed5-8c54-816aa4f8c502");
        assert!(!message.user.stores_activations());
        assert_eq!(
            message.user.auth.get("api_key").map(Json::as_str),
            Some("\"23bc:key\"")
        );
        assert_eq!(message.controller, "0");
        assert!(message.blocking);
        // Numbers keep their digits.
        assert_eq!(
            message.content.expect("content").as_str(),
            r#"{"KEY":"v","n":1.50}"#
        );
        assert_eq!(message.init_args, ["KEY"]);
        assert_eq!(message.locked_args, [("n".into(), "aes-128".into())]);
        assert_eq!(
            message.cause.as_deref(),
            Some("fedcba9876543210fedcba9876543210")
        );
        assert_eq!(message.trace_context, [("x-b3-traceid".into(), "1".into())]);
    }

    #[test]
    fn a_message_with_nothing_optional_is_read() {
        let text = r#"{"transid":["a",1],"action":{"path":"guest","name":"hello"},"revision":null,"user":{"subject":"guest","namespace":{"name":"guest","uuid":"u"},"authkey":{},"rights":[],"limits":{}},"activationId":"0123456789abcdef0123456789abcdef","rootControllerIndex":{"asString":"0","instanceType":"controller"},"blocking":false,"initArgs":[],"lockedArgs":{}}"#;
        let message = parse(text).expect("a message");
        assert_eq!(message.revision, None);
        assert_eq!(message.content, None);
        assert!(message.user.stores_activations());
        assert!(!message.blocking);
    }

    #[test]
    fn an_array_is_content_as_well() {
        let text = FULL.replace(r#"{"KEY":"v","n":1.50}"#, "[1,2]");
        let message = parse(&text).expect("a message");
        assert_eq!(message.content.expect("content").as_str(), "[1,2]");
    }

    #[test]
    fn what_is_wrong_with_a_message_is_said_with_its_place() {
        for (from, to, told) in [
            (r#""blocking":true,"#, "", "message.blocking is missing"),
            (
                r#""blocking":true"#,
                r#""blocking":1"#,
                "message.blocking is neither",
            ),
            (
                r#""name":"hello""#,
                r#""name":3"#,
                "action.name is no string",
            ),
            (
                r#""path":"guest/pkg""#,
                r#""path":"a/b/c""#,
                "no name of an action",
            ),
            (
                r#""path":"guest/pkg""#,
                r#""path":"a//b""#,
                "no name of an action",
            ),
            (
                r#""asString":"0""#,
                r#""asString":"../x""#,
                "no name of a controller",
            ),
            (
                r#""initArgs":["KEY"]"#,
                r#""initArgs":[1]"#,
                "no list of strings",
            ),
            (
                r#""lockedArgs":{"n":"aes-128"}"#,
                r#""lockedArgs":[1]"#,
                "no object of strings",
            ),
            (
                r#"{"KEY":"v","n":1.50}"#,
                "7",
                "neither an object nor an array",
            ),
            (
                r#""activationId":"0123"#,
                r#""activationId":"x"#,
                "not 32 hexadecimal digits",
            ),
            (
                r#""uuid":"23bc46b1-71f6-4ed5-8c54-816aa4f8c502""#,
                r#""u":1"#,
                "user.namespace.uuid is missing",
            ),
        ] {
            let text = FULL.replacen(from, to, 1);
            assert_ne!(text, FULL, "{from} is there");
            let why = parse(&text).expect_err(told).0;
            assert!(why.contains(told), "{why}, not {told}");
        }
        assert!(parse("{").expect_err("no JSON").0.starts_with("no JSON"));
        assert!(ActivationMessage::parse(b"\xff", 0).is_err());
        assert_eq!(
            parse("[]").expect_err("no object").0,
            "message is no object"
        );
    }

    #[test]
    fn no_cut_of_a_message_is_taken_for_one() {
        for end in 0..FULL.len() {
            assert!(parse(&FULL[..end]).is_err(), "{end} bytes");
        }
    }
}
