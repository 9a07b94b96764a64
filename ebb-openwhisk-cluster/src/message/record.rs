//! `WhiskActivation` (`common/scala/.../core/entity/WhiskActivation.scala`, `jsonFormat13`): the record of an activation, as it
//! travels in acknowledgements and as it is stored.

use ebb_openwhisk::activation::{Outcome, Status};
use ebb_openwhisk::json::{Json, Members};

use super::activation::ActivationMessage;

/// A record. Times are epoch milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The caller's namespace.
    pub namespace: String,
    /// The action's name.
    pub name: String,
    /// The caller.
    pub subject: String,
    /// 32 hexadecimal digits.
    pub id: String,
    /// When it began.
    pub start_ms: u64,
    /// When it ended.
    pub end_ms: u64,
    /// The enclosing sequence's activation.
    pub cause: Option<String>,
    /// What it came to.
    pub outcome: Outcome,
    /// One string per line.
    pub logs: Vec<String>,
    /// The action's version.
    pub version: String,
    /// Names and values, in the order in which they are written.
    pub annotations: Vec<(&'static str, Json)>,
}

impl Record {
    /// The record of an activation that could not be run: its action could not be had, or its namespace is blocked.
    /// (`InvokerReactive.scala`, `generateFallbackActivation`)
    pub fn fallback(message: &ActivationMessage, outcome: Outcome, now_ms: u64) -> Self {
        let mut annotations = vec![
            ("path", Json::text(&message.action.id())),
            ("kind", Json::text("unknown")),
        ];
        if message.cause.is_some() {
            annotations.push(("causedBy", Json::text("sequence")));
        }
        let version = message.action.version.clone();
        Self {
            namespace: message.user.namespace.clone(),
            name: message.action.name.clone(),
            subject: message.user.subject.clone(),
            id: message.id.clone(),
            start_ms: now_ms,
            end_ms: now_ms,
            cause: message.cause.clone(),
            outcome,
            logs: Vec::new(),
            version: version.unwrap_or_else(|| "0.0.1".into()),
            annotations,
        }
    }

    /// Whether the platform failed, not the action: controllers take traffic from an invoker with many of these.
    pub fn is_system_error(&self) -> bool {
        self.outcome.status == Status::InternalError
    }

    /// Milliseconds.
    pub fn duration_ms(&self) -> u64 {
        self.end_ms.saturating_sub(self.start_ms)
    }

    /// An annotation.
    pub fn annotation(&self, name: &str) -> Option<&Json> {
        let found = self.annotations.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value)
    }

    fn response(&self) -> Json {
        let mut members = Members::new();
        members.number("statusCode", self.outcome.status.code());
        if let Some(result) = &self.outcome.result {
            members.raw("result", result.as_str());
        }
        if let Some(size) = self.outcome.size {
            members.number("size", size as u64);
        }
        members.finish()
    }

    fn write(&self, members: &mut Members, with_logs: bool) {
        members
            .text("namespace", &self.namespace)
            .text("name", &self.name)
            .text("subject", &self.subject)
            .text("activationId", &self.id)
            .number("start", self.start_ms)
            .number("end", self.end_ms);
        if let Some(cause) = &self.cause {
            members.text("cause", cause);
        }
        let logs = if with_logs { &*self.logs } else { &[] };
        let annotations = self.annotations.iter().map(|(key, value)| {
            Members::new()
                .text("key", key)
                .raw("value", value.as_str())
                .finish()
        });
        members
            .raw("response", self.response().as_str())
            .raw(
                "logs",
                Json::array(logs.iter().map(|line| Json::text(line))).as_str(),
            )
            .text("version", &self.version)
            .bool("publish", false)
            .raw("annotations", Json::array(annotations).as_str())
            .number("duration", self.duration_ms());
    }

    /// As acknowledgements carry it.
    pub fn to_json(&self, with_logs: bool) -> Json {
        let mut members = Members::new();
        self.write(&mut members, with_logs);
        members.finish()
    }

    /// The id of its document.
    pub fn document_id(&self) -> String {
        format!("{}/{}", self.namespace, self.id)
    }

    /// As it is stored: `WhiskEntity.toDocumentRecord` adds the type and the time of the change.
    pub fn to_document(&self, now_ms: u64) -> Json {
        let mut members = Members::new();
        members.text("_id", &self.document_id());
        self.write(&mut members, true);
        members
            .text("entityType", "activation")
            .number("updated", now_ms)
            .finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record() -> Record {
        Record {
            namespace: "guest".into(),
            name: "hello".into(),
            subject: "guest".into(),
            id: "0123456789abcdef0123456789abcdef".into(),
            start_ms: 1000,
            end_ms: 1012,
            cause: None,
            outcome: Outcome {
                size: Some(7),
                ..Outcome::success(Json::parse(r#"{"a":1}"#).expect("JSON"))
            },
            logs: vec!["a line".into()],
            version: "0.0.1".into(),
            annotations: vec![
                ("path", Json::text("guest/hello")),
                ("waitTime", Json::number(3)),
            ],
        }
    }

    const ANNOTATIONS: &str =
        r#"[{"key":"path","value":"guest/hello"},{"key":"waitTime","value":3}]"#;

    #[test]
    fn a_record_has_the_members_of_the_reference() {
        assert_eq!(
            record().to_json(true).as_str(),
            format!(
                r#"{{"namespace":"guest","name":"hello","subject":"guest","activationId":"0123456789abcdef0123456789abcdef","start":1000,"end":1012,"response":{{"statusCode":0,"result":{{"a":1}},"size":7}},"logs":["a line"],"version":"0.0.1","publish":false,"annotations":{ANNOTATIONS},"duration":12}}"#
            )
        );
    }

    #[test]
    fn a_document_has_an_id_a_type_and_a_time_besides() {
        let record = Record {
            cause: Some("c".into()),
            ..record()
        };
        let document = record.to_document(9).to_object().expect("an object");
        for (name, value) in [
            ("_id", r#""guest/0123456789abcdef0123456789abcdef""#),
            ("entityType", r#""activation""#),
            ("updated", "9"),
            ("cause", r#""c""#),
            ("logs", r#"["a line"]"#),
        ] {
            assert_eq!(document.get(name).map(Json::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn each_status_has_the_number_of_the_reference() {
        for (status, code) in [
            (Status::Success, 0),
            (Status::ApplicationError, 1),
            (Status::DeveloperError, 2),
            (Status::InternalError, 3),
        ] {
            let mut record = record();
            record.outcome.status = status;
            let text = record.to_json(false);
            assert!(text.as_str().contains(&format!(r#""statusCode":{code}"#)));
            assert_eq!(record.is_system_error(), code == 3);
        }
    }
}
