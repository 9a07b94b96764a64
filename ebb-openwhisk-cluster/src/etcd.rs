//! etcd over gRPC: the real directory.
//!
//! As `common/scala/.../core/service/LeaseKeepAliveService.scala`, `DataManagementService.scala` and `.../core/etcd/EtcdWorker.scala`: one
//! lease, kept alive every 500 ms, goes with all keys. When it is lost there is another, with everything that is to be there; what
//! could not be stored is tried again every second, for ever.
//!
//! What must hold:
//! - A key's last wish is what it comes to, however many wishes there were while etcd was away; memory grows with the keys alone.
//! - A key that is gone without a wish for that is put again, as the reference's watchers do. Instead of a watch on each key, the
//!   lease is asked for its keys.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ebb::sync::queue;
use ebb_etcd::client::{Access, Client, Status, after};
use ebb_etcd::outside::Outside;
use ebb_etcd::proto::{KeyValue, RangeRequest, RangeResponse};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::options::EtcdOptions;
use crate::seam::{Change, Directory};

/// How often the lease is kept alive.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// How often it is looked whether all keys are there, and how long it is waited after a failure.
const LOOK: Duration = Duration::from_secs(1);
/// Changes that wait for whoever watches.
const CHANGES: usize = 64;
/// How long etcd has to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Tells what is below a prefix and what becomes of it, until etcd is away or nobody hears.
async fn watch(
    client: &Client,
    prefix: &str,
    changes: &queue::Sender<Change>,
) -> Result<(), Status> {
    let mut watch = client.watch(prefix).await?;
    for kv in std::mem::take(&mut watch.there) {
        tell(changes, &kv, true).await;
    }
    while let Some(events) = watch.next().await? {
        if changes.is_closed() {
            break;
        }
        for event in events {
            if let Some(kv) = &event.kv {
                tell(changes, kv, event.kind == 0).await;
            }
        }
    }
    Ok(())
}

/// Tells of a key. When many wait to be told, the connection waits as well.
async fn tell(changes: &queue::Sender<Change>, kv: &KeyValue, is_there: bool) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut change = Change {
        key: text(&kv.key),
        value: is_there.then(|| text(&kv.value)),
    };
    while let Err(refused) = changes.push(change) {
        if changes.is_closed() {
            return;
        }
        change = refused.into_inner();
        sleep(Duration::from_millis(10)).await;
    }
}

/// What is to be.
enum Wish {
    Put(String, String),
    Delete(String),
    /// Nothing any more; answered when etcd knows.
    End(oneshot::Sender<()>),
}

/// etcd. Clones share its lease.
#[derive(Clone)]
pub struct Etcd {
    outside: Outside,
    client: Client,
    wishes: mpsc::UnboundedSender<Wish>,
}

impl Etcd {
    /// Connects when something is to be done. `lease_key` has the lease's number as long as that lives.
    ///
    /// # Errors
    /// An address that is none.
    pub fn start(
        outside: &Outside,
        options: &EtcdOptions,
        lease_key: &str,
    ) -> Result<Self, String> {
        let access = Access {
            hosts: options.hosts.clone(),
            user: options.user.clone(),
            patience: PATIENCE,
        };
        let client = Client::new(outside, &access)?;
        let (wishes, hear) = mpsc::unbounded_channel();
        let keeper = Keeper {
            client: client.clone(),
            lease_key: lease_key.into(),
            lease_seconds: options.lease_seconds,
            lease: None,
            wanted: BTreeMap::new(),
            undone: BTreeSet::new(),
            is_told: false,
        };
        outside.spawn(keeper.keep(hear));
        Ok(Self {
            outside: outside.clone(),
            client,
            wishes,
        })
    }

    /// Takes everything away that is there with the lease.
    pub async fn end(&self) {
        let (done, ended) = oneshot::channel();
        let _ = self.wishes.send(Wish::End(done));
        let wait = async move { timeout(PATIENCE, ended).await.is_ok() };
        self.outside.run(wait).await;
    }

    async fn asked(&self, request: RangeRequest) -> Result<RangeResponse, String> {
        let client = self.client.clone();
        let answered = self.outside.run(async move { client.range(request).await });
        let answered = answered.await.ok_or("the thread of etcd's client ended")?;
        answered.map_err(|status| format!("etcd: {}", status.message()))
    }
}

impl Directory for Etcd {
    fn put(&self, key: &str, value: &str) {
        let _ = self.wishes.send(Wish::Put(key.into(), value.into()));
    }

    fn delete(&self, key: &str) {
        let _ = self.wishes.send(Wish::Delete(key.into()));
    }

    async fn get(&self, key: &str) -> Result<Option<String>, String> {
        let request = RangeRequest {
            key: key.into(),
            ..RangeRequest::default()
        };
        let answered = self.asked(request).await?;
        let value = answered.kvs.into_iter().next().map(|kv| kv.value);
        Ok(value.and_then(|value| String::from_utf8(value).ok()))
    }

    async fn below(&self, prefix: &str) -> Result<Vec<String>, String> {
        let request = RangeRequest {
            key: prefix.into(),
            range_end: after(prefix),
            count_only: false,
        };
        let kvs = self.asked(request).await?.kvs.into_iter();
        Ok(kvs
            .filter_map(|kv| String::from_utf8(kv.value).ok())
            .collect())
    }

    fn watch(&self, prefix: &str) -> queue::Receiver<Change> {
        let (changes, hear) = queue::queue(CHANGES);
        let (client, prefix) = (self.client.clone(), prefix.to_owned());
        self.outside.spawn(async move {
            while !changes.is_closed() {
                // What has failed is told by what keeps the lease.
                let _ = watch(&client, &prefix, &changes).await;
                sleep(LOOK).await;
            }
        });
        hear
    }

    async fn count(&self, prefix: &str) -> Result<u64, String> {
        let request = RangeRequest {
            key: prefix.into(),
            range_end: after(prefix),
            count_only: true,
        };
        let count = self.asked(request).await?.count;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

/// Keeps what is to be there.
struct Keeper {
    client: Client,
    lease_key: String,
    lease_seconds: u32,
    lease: Option<i64>,
    wanted: BTreeMap<String, String>,
    /// Keys whose last wish etcd has not been told.
    undone: BTreeSet<String>,
    /// That etcd is away has been said.
    is_told: bool,
}

impl Keeper {
    async fn keep(mut self, mut wishes: mpsc::UnboundedReceiver<Wish>) {
        let mut alive = interval(KEEP_ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                wish = wishes.recv() => match wish {
                    Some(Wish::Put(key, value)) => {
                        if self.wanted.get(&key) != Some(&value) {
                            self.undone.insert(key.clone());
                            self.wanted.insert(key, value);
                        }
                    }
                    Some(Wish::Delete(key)) => {
                        self.wanted.remove(&key);
                        self.undone.insert(key);
                    }
                    Some(Wish::End(done)) => {
                        if let Some(lease) = self.lease {
                            // Its keys go with it; if etcd is away they go when its time is up.
                            let _ = self.client.revoke(lease).await;
                        }
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                _ = alive.tick() => {
                    let look = looked.elapsed() >= LOOK;
                    if look {
                        looked = Instant::now();
                    }
                    let done = self.refresh(look).await;
                    if !self.tell(done) {
                        sleep(LOOK).await;
                        continue;
                    }
                }
            }
            // What was wished together is told in the order of the keys; a key has one wish.
            if wishes.is_empty() {
                let done = self.flush().await;
                self.tell(done);
            }
        }
    }

    /// Says once that etcd is away, and once that it is back; whether it is there.
    fn tell(&mut self, done: Result<(), Status>) -> bool {
        match done {
            Ok(()) => {
                if std::mem::take(&mut self.is_told) {
                    eprintln!("whisk-invoker: etcd answers again");
                }
                true
            }
            Err(status) => {
                if !std::mem::replace(&mut self.is_told, true) {
                    eprintln!("whisk-invoker: etcd: {}", status.message());
                }
                false
            }
        }
    }

    /// Keeps the lease alive, or gets another; looks at times whether all keys are there.
    async fn refresh(&mut self, look: bool) -> Result<(), Status> {
        if let Some(id) = self.lease {
            let is_kept = self.client.keep_alive(id).await?;
            if is_kept && look {
                let there = self.client.keys_of(id).await?;
                let there: BTreeSet<&[u8]> = there.iter().map(Vec::as_slice).collect();
                let wanted = self.wanted.keys();
                let gone = wanted
                    .filter(|key| !there.contains(key.as_bytes()))
                    .cloned();
                self.undone.extend(gone);
            }
            if is_kept {
                return Ok(());
            }
            eprintln!("whisk-invoker: etcd's lease {id:x} is lost; there is another");
            // `recreateLease`: whatever is left of it goes.
            let _ = self.client.revoke(id).await;
            self.wanted.remove(&self.lease_key);
            self.lease = None;
        }
        let id = self.client.grant(self.lease_seconds).await?;
        self.lease = Some(id);
        self.wanted.insert(self.lease_key.clone(), id.to_string());
        self.undone.extend(self.wanted.keys().cloned());
        Ok(())
    }

    /// Tells etcd what it has not been told.
    async fn flush(&mut self) -> Result<(), Status> {
        let Some(lease) = self.lease else {
            return Ok(());
        };
        // What is new is there before what it takes the place of goes.
        let (puts, deletes): (Vec<String>, Vec<String>) = self
            .undone
            .iter()
            .cloned()
            .partition(|key| self.wanted.contains_key(key));
        for key in puts.into_iter().chain(deletes) {
            match self.wanted.get(&key) {
                Some(value) => self.client.put(&key, value, lease).await?,
                None => self.client.delete(&key).await?,
            }
            self.undone.remove(&key);
        }
        Ok(())
    }
}
