//! `EventMessage` (`.../core/connector/Message.scala`): what user metrics are made of, on the topic `events`, if that is enabled.

use ebb_openwhisk::json::{Json, Kind, Members};

use super::record::Record;

/// The event of an activation that has ended.
pub fn of(record: &Record, source: &str, user_uuid: &str, now_ms: u64) -> Json {
    let number = |name: &str| {
        let value = record.annotation(name);
        value
            .and_then(Json::to_integer)
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(0)
    };
    let text = |name: &str| record.annotation(name).and_then(Json::to_text);
    let limits = record.annotation("limits").and_then(Json::to_object);
    let memory = limits.and_then(|limits| limits.get("memory")?.to_integer());
    let conductor = record.annotation("conductor").and_then(Json::to_bool);
    let mut body = Members::new();
    body.text("name", &text("path").unwrap_or_default())
        .text("activationId", &record.id)
        .number("statusCode", record.outcome.status.code())
        .number("duration", record.duration_ms())
        .number("waitTime", number("waitTime"))
        .number("initTime", number("initTime"))
        .text("kind", &text("kind").unwrap_or_default())
        .bool("conductor", conductor.unwrap_or(false))
        .number("memory", memory.unwrap_or(0));
    if let Some(cause) = text("causedBy") {
        body.text("causedBy", &cause);
    }
    if let Some(size) = record.outcome.size {
        body.number("size", size as u64);
    }
    if let Some(status) = user_status(record) {
        body.number("userDefinedStatusCode", status);
    }
    Members::new()
        .text("source", source)
        .raw("body", body.finish().as_str())
        .text("subject", &record.subject)
        .text("namespace", &record.namespace)
        .text("userId", user_uuid)
        .text("eventType", "Activation")
        .number("timestamp", now_ms)
        .finish()
}

/// The status that a result states, in `error` or beside it; what is no number counts as 400.
fn user_status(record: &Record) -> Option<i64> {
    let result = record.outcome.result.as_ref()?.to_object()?;
    let of_error = result
        .get("error")
        .and_then(Json::to_object)
        .and_then(|error| error.get("statusCode").cloned());
    let status = of_error.or_else(|| result.get("statusCode").cloned())?;
    match status.kind() {
        Kind::Number => Some(status.to_integer().unwrap_or(400)),
        _ => Some(400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::record::tests::record;

    #[test]
    fn an_event_has_the_members_of_the_reference() {
        let mut record = record();
        record.annotations.extend([
            ("kind", Json::text("nodejs:20")),
            ("limits", Json::parse(r#"{"memory":256}"#).expect("JSON")),
            ("initTime", Json::number(40)),
            ("causedBy", Json::text("sequence")),
        ]);
        assert_eq!(
            of(&record, "invoker0", "uuid", 77).as_str(),
            r#"{"source":"invoker0","body":{"name":"guest/hello","activationId":"0123456789abcdef0123456789abcdef","statusCode":0,"duration":12,"waitTime":3,"initTime":40,"kind":"nodejs:20","conductor":false,"memory":256,"causedBy":"sequence","size":7},"subject":"guest","namespace":"guest","userId":"uuid","eventType":"Activation","timestamp":77}"#
        );
    }

    #[test]
    fn the_status_that_a_result_states_is_told() {
        for (result, status) in [
            (r#"{"error":{"statusCode":404}}"#, Some(404)),
            (r#"{"statusCode":201}"#, Some(201)),
            (
                r#"{"error":{"statusCode":404},"statusCode":201}"#,
                Some(404),
            ),
            (r#"{"statusCode":"x"}"#, Some(400)),
            (r#"{"a":1}"#, None),
            ("[1]", None),
        ] {
            let mut record = record();
            record.outcome.result = Some(Json::parse(result).expect("JSON"));
            assert_eq!(user_status(&record), status, "{result}");
        }
    }
}
