//! The names of what is in etcd: `common/scala/.../core/etcd/EtcdUtils.scala`, `EtcdKV`.

use crate::message::container::Subject;
use crate::message::instance::InvokerId;

/// Names below one cluster's, `whisk.cluster.name`, for one invoker.
#[derive(Clone, Debug)]
pub struct Keys {
    cluster: String,
    number: u32,
    health: String,
    lease: String,
}

impl Keys {
    /// Those of an invoker.
    pub fn new(cluster: &str, invoker: &InvokerId) -> Self {
        // `InvokerKeys.health`: a displayed name counts beside a unique one only.
        let names = match (&invoker.unique_name, &invoker.displayed_name) {
            (Some(unique), Some(displayed)) => format!("/{unique}/{displayed}"),
            (Some(unique), None) => format!("/{unique}"),
            (None, _) => String::new(),
        };
        // `InvokerInstanceId.toString`: both count.
        let all = [&invoker.unique_name, &invoker.displayed_name];
        let all: String = all.into_iter().flatten().map(|n| format!("/{n}")).collect();
        Self {
            cluster: cluster.to_owned(),
            number: invoker.number,
            health: format!("{cluster}/invokers/{}{names}", invoker.number),
            lease: format!("{cluster}/instance/{}{all}/lease", invoker.source()),
        }
    }

    /// Where the invoker says how it is.
    pub fn health(&self) -> &str {
        &self.health
    }

    /// What is there as long as the invoker's lease is.
    pub fn lease(&self) -> &str {
        &self.lease
    }

    /// Where all schedulers are.
    pub fn schedulers(&self) -> String {
        format!("{}/scheduler/", self.cluster)
    }

    /// Where the scheduler with the queue of an action says where it is.
    pub fn leader(&self, subject: &Subject) -> String {
        let (namespace, id) = (&subject.namespace, subject.action.id());
        format!("{}/queue/{namespace}/{id}/leader", self.cluster)
    }

    fn containers(&self, kind: &str, subject: &Subject) -> String {
        let (namespace, id) = (&subject.namespace, subject.action.id());
        // A missing revision is Java's null.
        let revision = subject.revision.as_deref().unwrap_or("null");
        format!("{}/{kind}/{namespace}/{id}/{revision}/", self.cluster)
    }

    /// A container that asks for activations.
    pub fn existing(&self, subject: &Subject, container: &str) -> String {
        let prefix = self.containers("namespace", subject);
        format!("{prefix}invoker{}/container/{container}", self.number)
    }

    /// A container that is kept idle.
    pub fn warmed(&self, subject: &Subject, container: &str) -> String {
        let prefix = self.containers("warmed", subject);
        format!("{prefix}invoker/{}/container/{container}", self.number)
    }

    /// What all live containers of an action are below, of all invokers.
    pub fn live(&self, subject: &Subject) -> [String; 3] {
        ["namespace", "in-progress", "warmed"].map(|kind| self.containers(kind, subject))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::container::ContainerMessage;

    #[test]
    fn names_are_those_of_the_reference() {
        let text = r#"{"invocationNamespace":"me","action":{"path":"ns/pkg","name":"act","version":"0.0.2"},"revision":"2-b"}"#;
        let Ok(ContainerMessage::Deletion(subject)) = ContainerMessage::parse(text.as_bytes())
        else {
            panic!("a deletion");
        };
        let mut invoker = InvokerId::new(4, 1 << 30);
        let keys = Keys::new("whisk", &invoker);
        assert_eq!(keys.health(), "whisk/invokers/4");
        assert_eq!(keys.lease(), "whisk/instance/invoker4/lease");
        assert_eq!(keys.leader(&subject), "whisk/queue/me/ns/pkg/act/leader");
        assert_eq!(
            keys.existing(&subject, "c"),
            "whisk/namespace/me/ns/pkg/act/2-b/invoker4/container/c"
        );
        assert_eq!(
            keys.warmed(&subject, "c"),
            "whisk/warmed/me/ns/pkg/act/2-b/invoker/4/container/c"
        );
        assert_eq!(
            keys.live(&subject)[1],
            "whisk/in-progress/me/ns/pkg/act/2-b/"
        );
        invoker.displayed_name = Some("shown".into());
        assert_eq!(Keys::new("w", &invoker).health(), "w/invokers/4");
        invoker.unique_name = Some("one".into());
        let keys = Keys::new("w", &invoker);
        assert_eq!(keys.health(), "w/invokers/4/one/shown");
        assert_eq!(keys.lease(), "w/instance/invoker4/one/shown/lease");
    }
}
