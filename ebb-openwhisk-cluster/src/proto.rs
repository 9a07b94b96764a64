//! What travels over gRPC to schedulers, field by field: `activation.proto` (`core/scheduler/src/main/protobuf`). Written out, because a
//! generator would make `protoc` a condition of building anything.

/// `activation.FetchRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FetchRequest {
    /// A transaction's JSON.
    #[prost(string, tag = "1")]
    pub transaction_id: String,
    /// The namespace that calls the action.
    #[prost(string, tag = "2")]
    pub invocation_namespace: String,
    /// The action's name, as JSON.
    #[prost(string, tag = "3")]
    pub fqn: String,
    /// The revision, as JSON.
    #[prost(string, tag = "4")]
    pub rev: String,
    /// Which container asks.
    #[prost(string, tag = "5")]
    pub container_id: String,
    /// It has run an activation before.
    #[prost(bool, tag = "6")]
    pub warmed: bool,
    /// Milliseconds of its last activation, `google.protobuf.Int64Value`.
    #[prost(message, optional, tag = "7")]
    pub last_duration: Option<Int64Value>,
    /// False when it asks for the last time.
    #[prost(bool, tag = "8")]
    pub alive: bool,
}

/// `google.protobuf.Int64Value`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Int64Value {
    /// The number.
    #[prost(int64, tag = "1")]
    pub value: i64,
}

/// `activation.FetchResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FetchResponse {
    /// `ActivationResponse`, as JSON.
    #[prost(string, tag = "1")]
    pub activation_message: String,
}

/// `activation.RescheduleRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RescheduleRequest {
    /// The namespace that calls the action.
    #[prost(string, tag = "1")]
    pub invocation_namespace: String,
    /// The action's name, as JSON.
    #[prost(string, tag = "2")]
    pub fqn: String,
    /// The revision, as JSON.
    #[prost(string, tag = "3")]
    pub rev: String,
    /// `ActivationMessage`, as JSON.
    #[prost(string, tag = "4")]
    pub activation_message: String,
}

/// `activation.RescheduleResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RescheduleResponse {
    /// It runs elsewhere.
    #[prost(bool, tag = "1")]
    pub is_rescheduled: bool,
}
