//! Acknowledgements: what an invoker tells the controller of an activation, on the topic `completedN`.
//!
//! `.../core/connector/Message.scala`: three case classes that readers tell apart by the members `instance` (the slot is free) and
//! `response` (there is a result). Which are sent, and in which order, is decided in
//! `core/invoker/.../containerpool/ContainerProxy.scala`, `initializeAndRun`: see [`crate::invoker`].

use ebb_openwhisk::json::{Json, Members};

use super::instance::InvokerId;
use super::record::Record;
use super::transaction::Transaction;

/// What is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The result; the slot is not free yet.
    Result,
    /// The slot is free.
    Completion,
    /// Both.
    Combined,
}

/// An acknowledgement of one activation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    kind: Kind,
    transaction: Json,
    activation: String,
    /// The record; `None` when the message is shrunk to the id.
    record: Option<Json>,
    is_system_error: bool,
    instance: Json,
}

impl Acknowledgement {
    fn new(kind: Kind, transaction: &Transaction, record: &Record, invoker: &InvokerId) -> Self {
        Self {
            kind,
            transaction: transaction.to_json().clone(),
            activation: record.id.clone(),
            record: (kind != Kind::Completion).then(|| record.to_json(false)),
            is_system_error: record.is_system_error(),
            instance: invoker.to_json(),
        }
    }

    /// The result of an activation whose logs are still being collected.
    pub fn result(transaction: &Transaction, record: &Record, invoker: &InvokerId) -> Self {
        Self::new(Kind::Result, transaction, record, invoker)
    }

    /// That the slot of an activation is free.
    pub fn completion(transaction: &Transaction, record: &Record, invoker: &InvokerId) -> Self {
        Self::new(Kind::Completion, transaction, record, invoker)
    }

    /// Both at once.
    pub fn combined(transaction: &Transaction, record: &Record, invoker: &InvokerId) -> Self {
        Self::new(Kind::Combined, transaction, record, invoker)
    }

    /// Whether the controller gives the slot away when it has read this.
    pub fn frees_slot(&self) -> bool {
        self.kind != Kind::Result
    }

    /// The same with the activation's id in the record's place: for whoever does not wait for the result, and when the bus takes
    /// no message so large. (`MessagingActiveAck.scala`: a controller that gets an id reads the record from the database.)
    #[must_use]
    pub fn shrunk(self) -> Self {
        Self {
            record: None,
            ..self
        }
    }

    /// The message.
    pub fn to_json(&self) -> Json {
        let mut members = Members::new();
        members.raw("transid", self.transaction.as_str());
        match (self.kind, &self.record) {
            (Kind::Completion, _) => {
                members.text("activationId", &self.activation);
            }
            (_, Some(record)) => {
                members.raw("response", record.as_str());
            }
            (_, None) => {
                members.text("response", &self.activation);
            }
        }
        if self.kind != Kind::Result {
            members
                .bool("isSystemError", self.is_system_error)
                .raw("instance", self.instance.as_str());
        }
        members.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::record::tests::record;

    const INSTANCE: &str = r#"{"instance":0,"userMemory":"1024 MB","instanceType":"invoker","tags":[],"dedicatedNamespaces":[]}"#;

    fn three() -> [Acknowledgement; 3] {
        let transaction = Transaction::new("t", 5);
        let (record, invoker) = (record(), InvokerId::new(0, 1 << 30));
        [
            Acknowledgement::combined(&transaction, &record, &invoker),
            Acknowledgement::result(&transaction, &record, &invoker),
            Acknowledgement::completion(&transaction, &record, &invoker),
        ]
    }

    #[test]
    fn the_three_forms_are_told_apart_by_instance_and_response() {
        let response = record().to_json(false);
        let [combined, result, completion] = three();
        assert_eq!(
            combined.to_json().as_str(),
            format!(
                r#"{{"transid":["t",5],"response":{response},"isSystemError":false,"instance":{INSTANCE}}}"#
            )
        );
        assert_eq!(
            result.to_json().as_str(),
            format!(r#"{{"transid":["t",5],"response":{response}}}"#)
        );
        assert_eq!(
            completion.to_json().as_str(),
            format!(
                r#"{{"transid":["t",5],"activationId":"{}","isSystemError":false,"instance":{INSTANCE}}}"#,
                record().id
            )
        );
        assert!(combined.frees_slot() && completion.frees_slot() && !result.frees_slot());
    }

    #[test]
    fn a_shrunk_one_has_the_id_in_the_records_place() {
        let id = record().id;
        let [combined, result, completion] = three().map(Acknowledgement::shrunk);
        assert_eq!(
            combined.to_json().as_str(),
            format!(
                r#"{{"transid":["t",5],"response":"{id}","isSystemError":false,"instance":{INSTANCE}}}"#
            )
        );
        assert_eq!(
            result.to_json().as_str(),
            format!(r#"{{"transid":["t",5],"response":"{id}"}}"#)
        );
        assert_eq!(completion, three()[2]);
    }

    #[test]
    fn results_carry_no_logs() {
        let text = three()[1].to_json();
        assert!(text.as_str().contains(r#""logs":[]"#), "{text}");
    }
}
