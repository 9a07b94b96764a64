//! Who this invoker is, and that it lives: `InvokerInstanceId` (`.../core/entity/InstanceId.scala`) and `PingMessage`.

use ebb_openwhisk::json::{Json, Members};

use crate::size::megabytes_text;

/// An invoker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvokerId {
    /// Its number, which names its topic.
    pub number: u32,
    /// Bytes of memory for containers, by which controllers share out its slots.
    pub user_memory_bytes: u64,
    /// `--uniqueName`.
    pub unique_name: Option<String>,
    /// `--displayedName`.
    pub displayed_name: Option<String>,
    /// What actions with the annotation `invoker-resources` ask for.
    pub tags: Vec<String>,
    /// The namespaces that it is there for; none: all.
    pub dedicated_namespaces: Vec<String>,
}

impl InvokerId {
    /// One with nothing but a number and memory.
    pub fn new(number: u32, user_memory_bytes: u64) -> Self {
        Self {
            number,
            user_memory_bytes,
            unique_name: None,
            displayed_name: None,
            tags: Vec::new(),
            dedicated_namespaces: Vec::new(),
        }
    }

    /// `invokerN`: its topic without a prefix, and the source of its events.
    pub fn source(&self) -> String {
        format!("invoker{}", self.number)
    }

    /// The document. `tags` and `dedicatedNamespaces` must be there when it is read.
    pub fn to_json(&self) -> Json {
        let list = |texts: &[String]| Json::array(texts.iter().map(|text| Json::text(text)));
        let mut members = Members::new();
        members
            .number("instance", self.number)
            .text("userMemory", &megabytes_text(self.user_memory_bytes))
            .text("instanceType", "invoker");
        for (name, value) in [
            ("uniqueName", &self.unique_name),
            ("displayedName", &self.displayed_name),
        ] {
            if let Some(value) = value {
                members.text(name, value);
            }
        }
        members
            .raw("tags", list(&self.tags).as_str())
            .raw(
                "dedicatedNamespaces",
                list(&self.dedicated_namespaces).as_str(),
            )
            .finish()
    }

    /// What is said on the topic `health` every second; with `false` once, when the invoker is disabled.
    pub fn ping(&self, is_enabled: bool) -> Json {
        Members::new()
            .raw("name", self.to_json().as_str())
            .bool("isEnabled", is_enabled)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_names_the_invoker_with_its_memory_and_both_lists() {
        let id = InvokerId::new(3, 2 << 30);
        assert_eq!(
            id.ping(true).as_str(),
            r#"{"name":{"instance":3,"userMemory":"2048 MB","instanceType":"invoker","tags":[],"dedicatedNamespaces":[]},"isEnabled":true}"#
        );
        let id = InvokerId {
            unique_name: Some("a".into()),
            tags: vec!["gpu".into()],
            ..id
        };
        assert_eq!(
            id.to_json().as_str(),
            r#"{"instance":3,"userMemory":"2048 MB","instanceType":"invoker","uniqueName":"a","tags":["gpu"],"dedicatedNamespaces":[]}"#
        );
        assert_eq!(id.source(), "invoker3");
    }
}
