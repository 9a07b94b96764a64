//! The id of the request that a message belongs to (`common/scala/.../common/TransactionId.scala`): an array of the id, the time
//! at which the request came in epoch milliseconds, and, if set, whether everything about it is to be logged and stored.

use ebb_openwhisk::json::Json;

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The id.
    pub id: String,
    /// When the request came, in epoch milliseconds, by the sender's clock.
    pub start_ms: u64,
    /// The sender wants everything of it to be logged and stored (`X-OW-EXTRA-LOGGING: on`).
    pub extra_logging: bool,
    /// The text as it came, which goes into the acknowledgements: there may be a parent in it.
    json: Json,
}

impl Transaction {
    /// Reads one. What cannot be read is the unknown transaction of now, as in `TransactionId.serdes`.
    pub fn read(json: &Json, now_ms: u64) -> Self {
        Self::parse(json).unwrap_or_else(|| Self::new("sid_unknown", now_ms))
    }

    /// One that began now.
    pub fn new(id: &str, start_ms: u64) -> Self {
        let parts = [Json::text(id), Json::number(start_ms.cast_signed())];
        Self {
            id: id.to_owned(),
            start_ms,
            extra_logging: false,
            json: Json::array(parts),
        }
    }

    fn parse(json: &Json) -> Option<Self> {
        let parts = json.to_array()?;
        let start = parts.get(1)?.as_str();
        Some(Self {
            id: parts.first()?.to_text()?,
            // A time before 1970 is none.
            start_ms: start.parse::<i64>().ok()?.try_into().unwrap_or(0),
            extra_logging: parts.get(2).and_then(Json::to_bool).unwrap_or(false),
            json: json.clone(),
        })
    }

    /// As it is written.
    pub fn to_json(&self) -> &Json {
        &self.json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Transaction {
        Transaction::read(&Json::parse(text).expect("JSON"), 7)
    }

    #[test]
    fn all_forms_of_a_transaction_are_read_and_written_as_they_came() {
        for (text, extra) in [
            (r#"["abc",1532474133193]"#, false),
            (r#"["abc",1532474133193,true]"#, true),
            (r#"["abc",1532474133193,false]"#, false),
            (
                r#"["abc",1532474133193,true,["parent",1532474133190]]"#,
                true,
            ),
        ] {
            let transaction = read(text);
            assert_eq!(transaction.id, "abc");
            assert_eq!(transaction.start_ms, 1_532_474_133_193);
            assert_eq!(transaction.extra_logging, extra, "{text}");
            assert_eq!(transaction.to_json().as_str(), text);
        }
    }

    #[test]
    fn what_is_no_transaction_is_the_unknown_one_of_now() {
        for text in ["null", "[]", r#"["a"]"#, r#"[1,2]"#, r#"["a","b"]"#, "{}"] {
            let transaction = read(text);
            assert_eq!(transaction.id, "sid_unknown", "{text}");
            assert_eq!(transaction.to_json().as_str(), r#"["sid_unknown",7]"#);
        }
    }
}
