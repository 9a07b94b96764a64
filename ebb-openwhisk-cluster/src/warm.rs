//! Connections to schedulers before the first container needs them (`FPCInvokerReactive.scala`, `warmUp`).
//!
//! What must hold: a scheduler is asked until it has answered once, for as long as etcd says that it is there at that address; one that
//! came later, or came back elsewhere, is asked as well; one that does not answer keeps no other waiting.

use std::collections::HashMap;
use std::time::Duration;

use ebb::{println, spawn, time};
use ebb_openwhisk::json::Json;

use crate::invoker::epoch_ms;
use crate::keys::Keys;
use crate::message::container::{Endpoint, Fetch};
use crate::message::transaction::Transaction;
use crate::seam::{Directory, Schedulers};

/// How long a scheduler has to answer that there is nothing. A connection may take
/// [so long](crate::grpc) by itself.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often one that cannot be asked is tried, and how long after the last time.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Opens a connection to each scheduler that there is, and to each that there will be. Never ready.
pub async fn warm_schedulers<D, Q>(directory: D, schedulers: Q, keys: Keys)
where
    D: Directory,
    Q: Schedulers + Clone + 'static,
{
    let mut changes = directory.watch(&keys.schedulers());
    let mut known: HashMap<String, Endpoint> = HashMap::new();
    while let Some(change) = changes.recv().await {
        let Some(at) = change.value.as_deref().and_then(endpoint) else {
            known.remove(&change.key);
            continue;
        };
        if known.get(&change.key) == Some(&at) {
            // It says how many queues it has with each change.
            continue;
        }
        drop(spawn(warm(schedulers.clone(), at.clone())));
        known.insert(change.key, at);
    }
}

/// Opens a connection to a scheduler.
async fn warm(schedulers: impl Schedulers, at: Endpoint) {
    for _ in 0..TRIES {
        let asked = schedulers.fetch(&at, nothing());
        match time::timeout(PATIENCE, asked).await {
            Ok(Err(why)) => println!("whisk-invoker: {why}"),
            // It may still wait for something to give away: the connection is there.
            Ok(Ok(_)) | Err(_) => return,
        }
        time::sleep(PAUSE).await;
    }
}

/// Where a scheduler is, by its state (`SchedulerStates`).
fn endpoint(state: &str) -> Option<Endpoint> {
    let state = Json::parse(state).ok()?.to_object()?;
    Endpoint::parse(state.get("endpoints")?.as_str()).ok()
}

/// A request to which the answer is that there is nothing.
fn nothing() -> Fetch {
    let transaction = Transaction::new("sid_warmUp", epoch_ms());
    Fetch {
        transaction: transaction.to_json().as_str().into(),
        namespace: "whisk.system".into(),
        action: r#"{"path":"whisk.system","name":"warmUp"}"#.into(),
        revision: "null".into(),
        ..Fetch::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedulers_state_says_where_it_is() {
        let state = r#"{"sid":{"asString":"0"},"endpoints":{"host":"h","rpcPort":13001,"akkaPort":25520},"queueSize":3}"#;
        let expected = Endpoint::parse(r#"{"host":"h","rpcPort":13001,"akkaPort":1}"#);
        assert_eq!(endpoint(state), expected.ok());
        assert_eq!(endpoint("{}"), None);
        assert_eq!(endpoint("nothing"), None);
    }
}
