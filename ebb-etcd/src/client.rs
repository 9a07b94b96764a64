//! Requests to etcd.
//!
//! What must hold:
//! - Each request is made at one member. When that does not answer in time, or says that it cannot know, the next member is asked, each once, so
//!   a request may be carried out twice; there is none here that a second time harms.
//! - A watch at a member without a leader ends, because it would be told nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message;
use tokio::time::timeout;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Streaming};
use tonic_prost::ProstCodec;

use crate::outside::Outside;
use crate::proto::{
    AuthenticateRequest, AuthenticateResponse, DeleteRangeRequest, Done, Event, KeyValue,
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, RangeRequest,
    RangeResponse, TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};

pub use tonic::Status;

/// How often a connection is asked whether it lives: a watch hears nothing for long. etcd wants no less than five seconds.
const PING: Duration = Duration::from_secs(6);
/// How long a connection, and the answer to a ping, may take.
const CONNECT: Duration = Duration::from_secs(3);

/// Where etcd is, and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// `HOST:PORT,..`: its members.
    pub hosts: String,
    /// A name and a password, where etcd wants to know.
    pub user: Option<(String, String)>,
    /// How long a member has to answer.
    pub patience: Duration,
}

/// Connections to etcd's members. Clones share them.
#[derive(Clone)]
pub struct Client {
    members: Arc<[Channel]>,
    /// The member that is asked.
    at: Arc<AtomicUsize>,
    user: Option<(String, String)>,
    token: Arc<Mutex<Option<String>>>,
    patience: Duration,
}

impl Client {
    /// Connects when something is asked. Its futures run on the thread `outside`.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(outside: &Outside, access: &Access) -> Result<Self, String> {
        let members: Result<Vec<Channel>, String> = access
            .hosts
            .split(',')
            .map(|host| {
                let endpoint = Endpoint::from_shared(format!("http://{}", host.trim()));
                let wrong = |error| format!("'{host}' is no HOST:PORT of etcd: {error}");
                let endpoint = endpoint
                    .map_err(wrong)?
                    .http2_keep_alive_interval(PING)
                    .keep_alive_timeout(CONNECT)
                    .connect_timeout(CONNECT)
                    .tcp_nodelay(true);
                Ok(outside.enter(|| endpoint.connect_lazy()))
            })
            .collect();
        Ok(Self {
            members: members?.into(),
            at: Arc::default(),
            user: access.user.clone(),
            token: Arc::default(),
            patience: access.patience,
        })
    }

    /// The same with another time for a member to answer.
    #[must_use]
    pub fn within(&self, patience: Duration) -> Self {
        Self {
            patience,
            ..self.clone()
        }
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

    /// A member, ready to be asked.
    async fn ready(&self, member: usize) -> Result<tonic::client::Grpc<Channel>, Status> {
        let mut grpc = tonic::client::Grpc::new(self.members[member].clone());
        let ready = grpc.ready().await;
        ready.map_err(|error| Status::unavailable(format!("{error}")))?;
        Ok(grpc)
    }

    async fn once<Q, R>(&self, member: usize, path: &'static str, message: Q) -> Result<R, Status>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        // The keep-alive is a stream each way; one message of each does.
        let mut request = Request::new(tokio_stream::once(message));
        self.sign(&mut request)?;
        let answered = async {
            let path = PathAndQuery::from_static(path);
            let codec = ProstCodec::<Q, R>::default();
            let mut grpc = self.ready(member).await?;
            let response = grpc.client_streaming(request, path, codec).await?;
            Ok(response.into_inner())
        };
        let late = || Status::deadline_exceeded("etcd does not answer");
        timeout(self.patience, answered)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// One request to a member, after saying who asks if etcd wants to know (again).
    async fn signed<Q, R>(
        &self,
        member: usize,
        path: &'static str,
        message: &Q,
    ) -> Result<R, Status>
    where
        Q: Message + Clone + 'static,
        R: Message + Default + 'static,
    {
        if self.user.is_some() && self.token().is_none() {
            self.authenticate(member).await?;
        }
        match self.once(member, path, message.clone()).await {
            Err(status) if status.code() == Code::Unauthenticated && self.user.is_some() => {
                self.authenticate(member).await?;
                self.once(member, path, message.clone()).await
            }
            answered => answered,
        }
    }

    /// One request, to each member until one answers.
    async fn ask<Q, R>(&self, path: &'static str, message: Q) -> Result<R, Status>
    where
        Q: Message + Clone + 'static,
        R: Message + Default + 'static,
    {
        let mut asked = 1;
        loop {
            let member = self.at.load(Ordering::Relaxed);
            match self.signed(member, path, &message).await {
                Err(status) if is_away(&status) => {
                    self.leave(member);
                    if asked == self.members.len() {
                        return Err(status);
                    }
                    asked += 1;
                }
                answered => return answered,
            }
        }
    }

    /// The next member is asked from now on, unless another request has seen to that.
    fn leave(&self, member: usize) {
        let next = (member + 1) % self.members.len();
        let (order, other) = (Ordering::Relaxed, Ordering::Relaxed);
        let _ = self.at.compare_exchange(member, next, order, other);
    }

    async fn authenticate(&self, member: usize) -> Result<(), Status> {
        let Some((name, password)) = self.user.clone() else {
            return Ok(());
        };
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let path = "/etcdserverpb.Auth/Authenticate";
        let answered: AuthenticateResponse = self
            .once(member, path, AuthenticateRequest { name, password })
            .await?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(answered.token);
        Ok(())
    }

    /// What there is, by the word of a majority.
    ///
    /// # Errors
    /// Nobody answered, or etcd did not want to. So it is with all that follow.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        self.ask("/etcdserverpb.KV/Range", request).await
    }

    /// One key.
    ///
    /// # Errors
    /// See [`range`](Self::range).
    pub async fn get(&self, key: &str) -> Result<Option<KeyValue>, Status> {
        let request = RangeRequest {
            key: key.into(),
            ..RangeRequest::default()
        };
        Ok(self.range(request).await?.kvs.into_iter().next())
    }

    /// Stores a key.
    ///
    /// # Errors
    /// See [`range`](Self::range).
    pub async fn put(&self, key: &str, value: &str, lease: i64) -> Result<(), Status> {
        let request = PutRequest {
            key: key.into(),
            value: value.into(),
            lease,
        };
        let Done {} = self.ask("/etcdserverpb.KV/Put", request).await?;
        Ok(())
    }

    /// Takes a key away.
    ///
    /// # Errors
    /// See [`range`](Self::range).
    pub async fn delete(&self, key: &str) -> Result<(), Status> {
        let path = "/etcdserverpb.KV/DeleteRange";
        let Done {} = self
            .ask(path, DeleteRangeRequest { key: key.into() })
            .await?;
        Ok(())
    }

    /// Does one thing or another, as a whole.
    ///
    /// # Errors
    /// See [`range`](Self::range). It may have been done.
    pub async fn transact(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        self.ask("/etcdserverpb.KV/Txn", request).await
    }

    /// Another lease.
    ///
    /// # Errors
    /// See [`range`](Self::range).
    pub async fn grant(&self, seconds: u32) -> Result<i64, Status> {
        let ttl = i64::from(seconds);
        let granted: LeaseGrantResponse = self
            .ask("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest { ttl })
            .await?;
        Ok(granted.id)
    }

    /// Has a lease last for its whole length again; false when it is no more.
    ///
    /// # Errors
    /// See [`range`](Self::range).
    pub async fn keep_alive(&self, id: i64) -> Result<bool, Status> {
        let path = "/etcdserverpb.Lease/LeaseKeepAlive";
        let kept: LeaseKeepAliveResponse = self.ask(path, LeaseKeepAliveRequest { id }).await?;
        Ok(kept.ttl > 0)
    }

    /// The keys that go with a lease.
    ///
    /// # Errors
    /// See [`range`](Self::range).
    pub async fn keys_of(&self, id: i64) -> Result<Vec<Vec<u8>>, Status> {
        let path = "/etcdserverpb.Lease/LeaseTimeToLive";
        let request = LeaseTimeToLiveRequest { id, keys: true };
        let there: LeaseTimeToLiveResponse = self.ask(path, request).await?;
        Ok(there.keys)
    }

    /// Ends a lease; its keys go with it.
    ///
    /// # Errors
    /// See [`range`](Self::range). There may be no such lease.
    pub async fn revoke(&self, id: i64) -> Result<(), Status> {
        let path = "/etcdserverpb.Lease/LeaseRevoke";
        let Done {} = self.ask(path, LeaseRevokeRequest { id }).await?;
        Ok(())
    }

    /// What is below a prefix, and from then on what becomes of it.
    ///
    /// # Errors
    /// See [`range`](Self::range).
    pub async fn watch(&self, prefix: &str) -> Result<Watch, Status> {
        let (key, range_end) = (Vec::from(prefix), after(prefix));
        let there = self.range(RangeRequest {
            key: key.clone(),
            range_end: range_end.clone(),
            count_only: false,
        });
        let there = there.await?;
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
        let has_leader = MetadataValue::from_static("true");
        request.metadata_mut().insert("hasleader", has_leader);
        let member = self.at.load(Ordering::Relaxed);
        let begun = async {
            let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
            let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
            let mut grpc = self.ready(member).await?;
            grpc.streaming(request, path, codec).await
        };
        let Ok(begun) = timeout(self.patience, begun).await else {
            self.leave(member);
            return Err(Status::deadline_exceeded("etcd does not answer"));
        };
        Ok(Watch {
            there: there.kvs,
            told: begun?.into_inner(),
        })
    }
}

/// Whether etcd has not decided anything: a member is away, late, without a leader, or the connection broke.
fn is_away(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Unknown
            | Code::Cancelled
            | Code::Aborted
            | Code::Internal
    )
}

/// A watch that goes on.
pub struct Watch {
    /// What was there at first.
    pub there: Vec<KeyValue>,
    told: Streaming<WatchResponse>,
}

impl Watch {
    /// What has changed since; `None` when etcd tells no more, and there has to be another watch.
    ///
    /// # Errors
    /// The connection broke, or its member has no leader.
    pub async fn next(&mut self) -> Result<Option<Vec<Event>>, Status> {
        let told = self.told.message().await?;
        Ok(told.filter(|told| !told.canceled).map(|told| told.events))
    }
}

/// The key after all that begin so.
#[must_use]
pub fn after(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        // Names are text, in which no byte is 255.
        *last += 1;
    }
    end
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
