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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ebb::sync::queue;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::options::EtcdOptions;
use crate::outside::Outside;
use crate::proto::{
    AuthenticateRequest, AuthenticateResponse, DeleteRangeRequest, Done, KeyValue,
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, RangeRequest,
    RangeResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};
use crate::seam::{Change, Directory};

/// How often the lease is kept alive.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// How often it is looked whether all keys are there, and how long it is waited after a failure.
const LOOK: Duration = Duration::from_secs(1);
/// Changes that wait for whoever watches.
const CHANGES: usize = 64;
/// How often a connection is asked whether it lives, and how long that may take.
const PING: Duration = Duration::from_secs(10);
/// How long etcd has to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Requests, each on its own.
#[derive(Clone)]
struct Client {
    channel: Channel,
    user: Option<(String, String)>,
    token: Arc<Mutex<Option<String>>>,
}

impl Client {
    fn new(options: &EtcdOptions) -> Result<Self, String> {
        let endpoints: Result<Vec<Endpoint>, String> = options
            .hosts
            .split(',')
            .map(|host| {
                let endpoint = Endpoint::from_shared(format!("http://{}", host.trim()));
                let wrong = |error| format!("'{host}' is no HOST:PORT of etcd: {error}");
                let endpoint = endpoint.map_err(wrong)?;
                // A watch hears nothing for long: pings say whether there is anybody. etcd wants them no closer than five seconds.
                let endpoint = endpoint
                    .http2_keep_alive_interval(PING)
                    .keep_alive_timeout(PING);
                Ok(endpoint.connect_timeout(PATIENCE).tcp_nodelay(true))
            })
            .collect();
        Ok(Self {
            channel: Channel::balance_list(endpoints?.into_iter()),
            user: options.user.clone(),
            token: Arc::default(),
        })
    }

    fn token(&self) -> Option<String> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.clone()
    }

    /// Says who asks.
    fn sign<Q>(&self, request: &mut Request<Q>) -> Result<(), Status> {
        if let Some(token) = self.token() {
            let token = MetadataValue::try_from(token);
            let token = token.map_err(|_| Status::internal("etcd's token is no header"))?;
            request.metadata_mut().insert("token", token);
        }
        Ok(())
    }

    async fn once<Q, R>(&self, path: &'static str, message: Q) -> Result<R, Status>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        let mut request = Request::new(message);
        self.sign(&mut request)?;
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        let answered = async {
            let ready = grpc.ready().await;
            ready.map_err(|error| Status::unavailable(format!("{error}")))?;
            let path = PathAndQuery::from_static(path);
            // The keep-alive is a stream each way; one message of each does.
            let stream = once(request);
            let codec = ProstCodec::<Q, R>::default();
            let response = grpc.client_streaming(stream, path, codec).await?;
            Ok(response.into_inner())
        };
        let late = || Status::deadline_exceeded("etcd does not answer");
        timeout(PATIENCE, answered)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// One request, after saying who asks if etcd wants to know (again).
    async fn ask<Q, R>(&self, path: &'static str, message: Q) -> Result<R, Status>
    where
        Q: Message + Clone + 'static,
        R: Message + Default + 'static,
    {
        if self.user.is_some() && self.token().is_none() {
            self.authenticate().await?;
        }
        match self.once(path, message.clone()).await {
            Err(status) if status.code() == Code::Unauthenticated && self.user.is_some() => {
                self.authenticate().await?;
                self.once(path, message).await
            }
            answered => answered,
        }
    }

    async fn authenticate(&self) -> Result<(), Status> {
        let Some((name, password)) = self.user.clone() else {
            return Ok(());
        };
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let path = "/etcdserverpb.Auth/Authenticate";
        let answered: AuthenticateResponse = self
            .once(path, AuthenticateRequest { name, password })
            .await?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(answered.token);
        Ok(())
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        self.ask("/etcdserverpb.KV/Range", request).await
    }

    /// Tells what is below a prefix and what becomes of it, until etcd is away or nobody hears.
    async fn watch(&self, prefix: &str, changes: &queue::Sender<Change>) -> Result<(), Status> {
        let (key, range_end) = (Vec::from(prefix), after(prefix));
        let there = self.range(RangeRequest {
            key: key.clone(),
            range_end: range_end.clone(),
            count_only: false,
        });
        let there = there.await?;
        for kv in there.kvs {
            tell(changes, &kv, true).await;
        }
        let create = WatchCreateRequest {
            key,
            range_end,
            start_revision: there.header.map_or(0, |header| header.revision + 1),
        };
        let create = WatchRequest {
            create: Some(create),
        };
        // A watch lasts as long as the stream of requests.
        let requests = tokio_stream::once(create).chain(tokio_stream::pending());
        let mut request = Request::new(requests);
        self.sign(&mut request)?;
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        let ready = grpc.ready().await;
        ready.map_err(|error| Status::unavailable(format!("{error}")))?;
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
        let mut told = grpc.streaming(request, path, codec).await?.into_inner();
        while let Some(response) = told.message().await? {
            if response.canceled || changes.is_closed() {
                break;
            }
            for event in response.events {
                if let Some(kv) = &event.kv {
                    tell(changes, kv, event.kind == 0).await;
                }
            }
        }
        Ok(())
    }

    async fn grant(&self, seconds: u32) -> Result<i64, Status> {
        let ttl = i64::from(seconds);
        let granted: LeaseGrantResponse = self
            .ask("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest { ttl })
            .await?;
        Ok(granted.id)
    }

    async fn revoke(&self, id: i64) -> Result<Done, Status> {
        self.ask("/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest { id })
            .await
    }
}

/// One message, as a stream.
fn once<Q: Message + 'static>(
    request: Request<Q>,
) -> Request<impl tonic::codegen::tokio_stream::Stream<Item = Q> + Send + 'static> {
    request.map(tonic::codegen::tokio_stream::once)
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
        let client = outside.enter(|| Client::new(options))?;
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

/// The key after all that begin so.
fn after(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        // Names are text, in which no byte is 255.
        *last += 1;
    }
    end
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
                let _ = client.watch(&prefix, &changes).await;
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
            let kept: LeaseKeepAliveResponse = self
                .client
                .ask(
                    "/etcdserverpb.Lease/LeaseKeepAlive",
                    LeaseKeepAliveRequest { id },
                )
                .await?;
            if kept.ttl > 0 && look {
                let path = "/etcdserverpb.Lease/LeaseTimeToLive";
                let request = LeaseTimeToLiveRequest { id, keys: true };
                let there: LeaseTimeToLiveResponse = self.client.ask(path, request).await?;
                let there: BTreeSet<&[u8]> = there.keys.iter().map(Vec::as_slice).collect();
                let wanted = self.wanted.keys();
                let gone = wanted
                    .filter(|key| !there.contains(key.as_bytes()))
                    .cloned();
                self.undone.extend(gone);
            }
            if kept.ttl > 0 {
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
                Some(value) => {
                    let request = PutRequest {
                        key: key.clone().into_bytes(),
                        value: value.clone().into_bytes(),
                        lease,
                    };
                    let put = self.client.ask::<_, Done>("/etcdserverpb.KV/Put", request);
                    put.await?;
                }
                None => {
                    let request = DeleteRangeRequest {
                        key: key.clone().into_bytes(),
                    };
                    let path = "/etcdserverpb.KV/DeleteRange";
                    self.client.ask::<_, Done>(path, request).await?;
                }
            }
            self.undone.remove(&key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_after_all_that_begin_so() {
        assert_eq!(after("a/b/"), b"a/b0");
        assert!(b"a/b/\xf4\x8f\xbf\xbf".as_slice() < after("a/b/").as_slice());
    }
}
