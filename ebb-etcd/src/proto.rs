//! What travels to and from etcd, field by field: of `rpc.proto` and `kv.proto` (API 3) what is used here. Written out, because a generator
//! would make `protoc` a condition of building anything.

/// `etcdserverpb.RangeRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RangeRequest {
    /// The first key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// The key after the last; empty for one key.
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
    /// Only how many there are.
    #[prost(bool, tag = "9")]
    pub count_only: bool,
}

/// `mvccpb.KeyValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyValue {
    /// The key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// The change that made it, since it was last not there.
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    /// The value.
    #[prost(bytes = "vec", tag = "5")]
    pub value: Vec<u8>,
    /// The lease that it goes with.
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

/// `etcdserverpb.ResponseHeader`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResponseHeader {
    /// How many changes there have been.
    #[prost(int64, tag = "3")]
    pub revision: i64,
}

/// `etcdserverpb.RangeResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RangeResponse {
    /// When that was.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// What there is.
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
    /// How many there are.
    #[prost(int64, tag = "4")]
    pub count: i64,
}

/// `etcdserverpb.WatchRequest`, of which there is one kind here.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchRequest {
    /// What is to be watched.
    #[prost(message, optional, tag = "1")]
    pub create: Option<WatchCreateRequest>,
}

/// `etcdserverpb.WatchCreateRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchCreateRequest {
    /// The first key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// The key after the last.
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
    /// The first change that is told.
    #[prost(int64, tag = "3")]
    pub start_revision: i64,
}

/// `etcdserverpb.WatchResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchResponse {
    /// Nothing more will be told.
    #[prost(bool, tag = "4")]
    pub canceled: bool,
    /// What has changed.
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
}

/// `mvccpb.Event`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Event {
    /// 0 for a key that was put, 1 for one that went.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// The key.
    #[prost(message, optional, tag = "2")]
    pub kv: Option<KeyValue>,
}

/// `etcdserverpb.PutRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PutRequest {
    /// The key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// The value.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
    /// The lease that it goes with.
    #[prost(int64, tag = "3")]
    pub lease: i64,
}

/// `etcdserverpb.DeleteRangeRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteRangeRequest {
    /// The key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
}

/// An answer of which nothing is read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Done {}

/// `etcdserverpb.LeaseGrantRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseGrantRequest {
    /// Seconds.
    #[prost(int64, tag = "1")]
    pub ttl: i64,
}

/// `etcdserverpb.LeaseGrantResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseGrantResponse {
    /// The lease.
    #[prost(int64, tag = "2")]
    pub id: i64,
}

/// `etcdserverpb.LeaseRevokeRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseRevokeRequest {
    /// The lease.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// `etcdserverpb.LeaseKeepAliveRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseKeepAliveRequest {
    /// The lease.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// `etcdserverpb.LeaseKeepAliveResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseKeepAliveResponse {
    /// Seconds; 0 for a lease that there is not.
    #[prost(int64, tag = "3")]
    pub ttl: i64,
}

/// `etcdserverpb.LeaseTimeToLiveRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseTimeToLiveRequest {
    /// The lease.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// With its keys.
    #[prost(bool, tag = "2")]
    pub keys: bool,
}

/// `etcdserverpb.LeaseTimeToLiveResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseTimeToLiveResponse {
    /// Seconds; -1 for a lease that there is not.
    #[prost(int64, tag = "3")]
    pub ttl: i64,
    /// What goes with it.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub keys: Vec<Vec<u8>>,
}

/// `etcdserverpb.AuthenticateRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AuthenticateRequest {
    /// Who asks.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The password.
    #[prost(string, tag = "2")]
    pub password: String,
}

/// `etcdserverpb.AuthenticateResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AuthenticateResponse {
    /// What goes with further requests.
    #[prost(string, tag = "2")]
    pub token: String,
}

/// `etcdserverpb.Compare` of a key's `create_revision` (target 1) with the same number (result 0).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Compare {
    /// What is compared.
    #[prost(int32, tag = "2")]
    pub target: i32,
    /// The key.
    #[prost(bytes = "vec", tag = "3")]
    pub key: Vec<u8>,
    /// The change that has made the key; 0 where there is none.
    #[prost(int64, optional, tag = "5")]
    pub create_revision: Option<i64>,
}

/// `etcdserverpb.RequestOp`: one of them.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestOp {
    /// Looks for keys.
    #[prost(message, optional, tag = "1")]
    pub range: Option<RangeRequest>,
    /// Stores a key.
    #[prost(message, optional, tag = "2")]
    pub put: Option<PutRequest>,
}

/// `etcdserverpb.ResponseOp`, of which answers to puts are not read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResponseOp {
    /// What was found.
    #[prost(message, optional, tag = "1")]
    pub range: Option<RangeResponse>,
}

/// `etcdserverpb.TxnRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TxnRequest {
    /// What is to be so.
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    /// Done if all of it is.
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    /// Done otherwise.
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

/// `etcdserverpb.TxnResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TxnResponse {
    /// When that was.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// All of it was so.
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    /// What each operation came to.
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}
