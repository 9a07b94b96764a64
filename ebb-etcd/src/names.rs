//! The names of a directory in etcd: directories of several front ends that are told the same etcd have the same names.
//!
//! A name is a key, `PREFIX` and the name; its value is the number of its owner's node, a blank, and what the owner says. Each claim has a lease
//! of its own, with which the key goes. Its epoch is the revision that made the key.
//!
//! What must hold:
//! - A name goes to one claim: the key is made where there is none, as a whole.
//! - A lease ends no sooner than its length after it was asked for: etcd counts from when it is granted or kept alive, rounds up to seconds, and
//!   a new leader counts anew.
//! - Nothing is remembered here, so a name can be renewed and given back at any front end.

use std::collections::BTreeMap;
use std::time::Duration;

use ebb_distributed::directory::{
    Away, Change, Changes, NameStore, Owner, Pending, Refusal, Renewal,
};
use ebb_runtime::sync::queue;
use tokio::time::sleep;

use crate::client::{Access, Client, Status};
use crate::outside::{Attended, Outside};
use crate::proto::{Compare, KeyValue, PutRequest, RangeRequest, RequestOp, TxnRequest};

/// How long a member has to answer at most; for a renewal an eighth of the lease, so that there is time for the others.
const PATIENCE: Duration = Duration::from_secs(1);
const LEAST_PATIENCE: Duration = Duration::from_millis(100);
/// How long it is waited before there is another watch.
const PAUSE: Duration = Duration::from_millis(200);
/// Changes that wait for whoever watches.
const CHANGES: usize = 64;
/// `etcdserverpb.Compare.CompareTarget.CREATE`.
const CREATE: i32 = 1;
/// Of a key that nobody here has made.
const NOBODY: u64 = u64::MAX;

/// Names in etcd. Clones share its connections.
#[derive(Clone)]
pub struct EtcdNames {
    outside: Outside,
    client: Client,
    prefix: String,
}

impl EtcdNames {
    /// The names below `prefix`, at etcd's members `hosts`: `HOST:PORT,..`. Connects when something is asked.
    ///
    /// # Errors
    /// An address that is none, or no thread.
    pub fn start(hosts: &str, prefix: &str) -> Result<Self, String> {
        Self::start_as(hosts, None, prefix)
    }

    /// The same, where etcd wants a name and a password.
    ///
    /// # Errors
    /// See [`start`](Self::start).
    pub fn start_as(
        hosts: &str,
        user: Option<(String, String)>,
        prefix: &str,
    ) -> Result<Self, String> {
        let outside = Outside::start("etcd")?;
        let access = Access {
            hosts: hosts.into(),
            user,
            patience: PATIENCE,
        };
        Ok(Self {
            client: Client::new(&outside, &access)?,
            outside,
            prefix: prefix.into(),
        })
    }

    /// What a future comes to on etcd's thread. It goes on there when nobody waits any more.
    async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Away> {
        match self.outside.run(future).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(_)) | None => Err(Away),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Who has the name of a key.
fn owner(kv: &KeyValue) -> Owner {
    let text = String::from_utf8_lossy(&kv.value);
    let (node, value) = text.split_once(' ').unwrap_or(("", &text));
    let node = node.parse().unwrap_or(NOBODY);
    Owner::new(node, value.into(), epoch(kv))
}

fn epoch(kv: &KeyValue) -> u64 {
    kv.create_revision.cast_unsigned()
}

fn whole_seconds(lease: Duration) -> u32 {
    let seconds = lease.as_millis().div_ceil(1000).max(1);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// Makes the key unless it is there.
async fn claim(
    client: Client,
    key: String,
    value: String,
    lease: Duration,
) -> Result<Result<u64, Owner>, Status> {
    // Whoever asks again and again for what another has writes nothing.
    if let Some(kv) = client.get(&key).await? {
        return Ok(Err(owner(&kv)));
    }
    let id = client.grant(whole_seconds(lease)).await?;
    let claimed = make(&client, key, value, id).await;
    if !matches!(claimed, Ok(Ok(_))) {
        // When it is not known whether the key was made it goes with its lease; when this fails, that runs out.
        let _ = client.revoke(id).await;
    }
    claimed
}

async fn make(
    client: &Client,
    key: String,
    value: String,
    id: i64,
) -> Result<Result<u64, Owner>, Status> {
    let is_not_there = Compare {
        target: CREATE,
        key: key.clone().into_bytes(),
        create_revision: Some(0),
    };
    let put = PutRequest {
        key: key.clone().into_bytes(),
        value: value.into_bytes(),
        lease: id,
    };
    let range = RangeRequest {
        key: key.into_bytes(),
        ..RangeRequest::default()
    };
    let request = TxnRequest {
        compare: vec![is_not_there],
        success: vec![RequestOp {
            put: Some(put),
            ..RequestOp::default()
        }],
        failure: vec![RequestOp {
            range: Some(range),
            ..RequestOp::default()
        }],
    };
    let done = client.transact(request).await?;
    if done.succeeded {
        let revision = done.header.map_or(0, |header| header.revision);
        return Ok(Ok(revision.cast_unsigned()));
    }
    let found = done.responses.into_iter().filter_map(|one| one.range);
    match found.flat_map(|range| range.kvs).next() {
        // An earlier request has made it, of which there was no answer.
        Some(kv) if kv.lease == id => Ok(Ok(epoch(&kv))),
        Some(kv) => Ok(Err(owner(&kv))),
        None => Err(Status::internal("etcd says that there is a key, not which")),
    }
}

/// The lease of a claim, if its key is there.
async fn lease_of(client: &Client, key: &str, claim: u64) -> Result<Option<i64>, Status> {
    let kv = client.get(key).await?;
    let kv = kv.filter(|kv| epoch(kv) == claim && kv.lease != 0);
    Ok(kv.map(|kv| kv.lease))
}

impl NameStore for EtcdNames {
    fn claim(
        &self,
        name: String,
        node: u64,
        value: String,
        lease: Duration,
    ) -> Pending<'_, Result<Owner, Refusal>> {
        Box::pin(async move {
            let (client, key) = (self.client.clone(), self.key(&name));
            let text = format!("{node} {value}");
            let claimed = self.run(claim(client, key, text, lease)).await;
            match claimed {
                Ok(Ok(epoch)) => Ok(Owner::new(node, value, epoch)),
                Ok(Err(owner)) => Err(Refusal::Taken(owner)),
                Err(Away) => Err(Refusal::Away),
            }
        })
    }

    fn renew(&self, name: String, epoch: u64, lease: Duration) -> Pending<'_, Renewal> {
        Box::pin(async move {
            let patience = (lease / 8).clamp(LEAST_PATIENCE, PATIENCE);
            let (client, key) = (self.client.within(patience), self.key(&name));
            // First whether the key is there: what is kept alive after that lasts, though the leader that says so has been replaced
            // meanwhile, for its successor counts from a later moment.
            let renewed = async move {
                match lease_of(&client, &key, epoch).await? {
                    Some(id) => client.keep_alive(id).await,
                    None => Ok(false),
                }
            };
            match self.run(renewed).await {
                Ok(true) => Renewal::Held,
                Ok(false) => Renewal::Lost,
                Err(Away) => Renewal::Away,
            }
        })
    }

    fn release(&self, name: String, epoch: u64) -> Pending<'_, ()> {
        Box::pin(async move {
            let (client, key) = (self.client.clone(), self.key(&name));
            let released = async move {
                if let Some(id) = lease_of(&client, &key, epoch).await? {
                    client.revoke(id).await?;
                }
                Ok(())
            };
            // If it is not, it will be when its lease has run out.
            let _ = self.run(released).await;
        })
    }

    fn owner(&self, name: String) -> Pending<'_, Result<Option<Owner>, Away>> {
        Box::pin(async move {
            let (client, key) = (self.client.clone(), self.key(&name));
            let found = self.run(async move { client.get(&key).await }).await?;
            Ok(found.as_ref().map(owner))
        })
    }

    fn watch(&self, beginning: String) -> Box<dyn Changes> {
        let (changes, hear) = queue::queue(CHANGES);
        let watcher = Watcher {
            client: self.client.clone(),
            beginning: self.key(&beginning),
            prefix: self.prefix.len(),
            told: BTreeMap::new(),
            changes,
        };
        Box::new(Watched {
            hear,
            _watcher: self.outside.attend(watcher.watch()),
        })
    }
}

/// Tells of changes.
struct Watcher {
    client: Client,
    beginning: String,
    /// Bytes of keys before the name.
    prefix: usize,
    /// Keys that have been told, with their epochs.
    told: BTreeMap<Vec<u8>, u64>,
    changes: queue::Sender<Change>,
}

impl Watcher {
    async fn watch(mut self) {
        loop {
            // When it ends, etcd is away or has forgotten what came next.
            let _ = self.until_away().await;
            sleep(PAUSE).await;
        }
    }

    async fn until_away(&mut self) -> Result<(), Status> {
        let mut watch = self.client.watch(&self.beginning).await?;
        let there = std::mem::take(&mut watch.there);
        for key in gone(&self.told, &there) {
            self.tell_gone(key).await;
        }
        for kv in there {
            self.tell_owner(kv).await;
        }
        while let Some(events) = watch.next().await? {
            for event in events {
                match (event.kind, event.kv) {
                    (0, Some(kv)) => self.tell_owner(kv).await,
                    (_, Some(kv)) => self.tell_gone(kv.key).await,
                    (_, None) => {}
                }
            }
        }
        Ok(())
    }

    async fn tell_owner(&mut self, kv: KeyValue) {
        let owner = owner(&kv);
        if self.told.insert(kv.key.clone(), owner.epoch) != Some(owner.epoch) {
            self.tell(&kv.key, Some(owner)).await;
        }
    }

    async fn tell_gone(&mut self, key: Vec<u8>) {
        if self.told.remove(&key).is_some() {
            self.tell(&key, None).await;
        }
    }

    /// When many wait to be told, the connection waits as well.
    async fn tell(&self, key: &[u8], owner: Option<Owner>) {
        let name = String::from_utf8_lossy(key.get(self.prefix..).unwrap_or_default());
        let mut change = Change {
            name: name.into_owned(),
            owner,
        };
        while let Err(refused) = self.changes.push(change) {
            change = refused.into_inner();
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What has been told and is not there.
fn gone(told: &BTreeMap<Vec<u8>, u64>, there: &[KeyValue]) -> Vec<Vec<u8>> {
    // etcd gives keys in their order.
    let is_there = |key: &[u8]| {
        let found = there.binary_search_by(|kv| kv.key.as_slice().cmp(key));
        found.is_ok()
    };
    told.keys().filter(|key| !is_there(key)).cloned().collect()
}

/// What somebody watches.
struct Watched {
    hear: queue::Receiver<Change>,
    _watcher: Attended,
}

impl Changes for Watched {
    fn next(&mut self) -> Pending<'_, Option<Change>> {
        Box::pin(self.hear.recv())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &str, value: &str) -> KeyValue {
        KeyValue {
            key: key.into(),
            create_revision: 7,
            value: value.into(),
            lease: 1,
        }
    }

    #[test]
    fn a_value_says_which_node_and_what_it_said() {
        let said = Owner::new(3, "10.0.0.1:80 and more".into(), 7);
        assert_eq!(owner(&kv("a", "3 10.0.0.1:80 and more")), said);
        assert_eq!(owner(&kv("a", "3 ")), Owner::new(3, String::new(), 7));
        // What somebody else has put there has an owner, too.
        let strange = Owner::new(NOBODY, "strange".into(), 7);
        assert_eq!(owner(&kv("a", "strange")), strange);
    }

    #[test]
    fn leases_are_whole_seconds_and_no_shorter_than_what_was_asked_for() {
        for (ms, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (5000, 5)] {
            assert_eq!(whole_seconds(Duration::from_millis(ms)), seconds, "{ms}");
        }
    }

    #[test]
    fn what_is_not_there_any_more_is_told_though_it_went_while_etcd_was_away() {
        let told = ["a", "b", "c"].map(|key| (key.as_bytes().to_vec(), 7));
        let told = BTreeMap::from(told);
        assert_eq!(gone(&told, &[kv("a", "1 "), kv("c", "1 ")]), [b"b"]);
        assert_eq!(gone(&told, &[]).len(), 3);
    }
}
