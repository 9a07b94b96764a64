//! Schedulers over gRPC: `ActivationService` of `core/scheduler/src/main/protobuf/activation.proto`, without TLS.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use ebb_etcd::outside::Outside;

use crate::message::container::{Endpoint, Fetch, GivenBack};
use crate::proto::{
    FetchRequest, FetchResponse, Int64Value, RescheduleRequest, RescheduleResponse,
};
use crate::seam::{FetchError, Schedulers};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a connection with a fetch on it is asked whether it lives, and how long that may take.
const PING: Duration = Duration::from_secs(10);
/// How long a scheduler may take to take an activation back (`FunctionPullingContainerProxy.scala`, `Rescheduling`).
const RESCHEDULE: Duration = Duration::from_secs(10);
/// Connections that are kept at most.
const MOST: usize = 64;

/// Connections to schedulers. Clones share them.
#[derive(Clone)]
pub struct Grpc {
    outside: Outside,
    channels: Arc<Mutex<HashMap<Endpoint, Channel>>>,
}

impl Grpc {
    /// None so far.
    pub fn new(outside: &Outside) -> Self {
        Self {
            outside: outside.clone(),
            channels: Arc::default(),
        }
    }

    /// The connection to a scheduler: one for all containers.
    fn channel(&self, at: &Endpoint) -> Result<Channel, FetchError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(at) {
            return Ok(channel.clone());
        }
        if channels.len() >= MOST {
            // Those in use live on with those who use them.
            channels.clear();
        }
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{at}"));
        let endpoint = endpoint.map_err(|_| FetchError::NoHost(format!("'{at}' is no address")))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        let channel = self.outside.enter(|| endpoint.connect_lazy());
        channels.insert(at.clone(), channel.clone());
        Ok(channel)
    }

    async fn ask<Q, R>(
        &self,
        at: &Endpoint,
        path: &'static str,
        message: Q,
    ) -> Result<R, FetchError>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        let mut grpc = tonic::client::Grpc::new(self.channel(at)?);
        let answered = self.outside.run(async move {
            let ready = grpc.ready().await;
            ready.map_err(|error| Status::from_error(Box::new(error)))?;
            let path = PathAndQuery::from_static(path);
            let codec = ProstCodec::<Q, R>::default();
            let answered = grpc.unary(Request::new(message), path, codec).await?;
            Ok::<R, Status>(answered.into_inner())
        });
        match answered.await {
            Some(answered) => answered.map_err(|status| failure(at, &status)),
            None => Err(FetchError::Failed(
                "the thread of gRPC's client ended".into(),
            )),
        }
    }
}

/// A name that is not found is told apart: its scheduler has gone for good (`ActivationClientProxy.scala`, `hostResolveError`).
fn failure(at: &Endpoint, status: &Status) -> FetchError {
    let mut why = String::from(status.message());
    let mut source = status.source();
    while let Some(error) = source {
        why = format!("{why}: {error}");
        source = error.source();
    }
    let told = format!("the scheduler at {at}: {why}");
    match why.contains("failed to lookup address") || why.contains("dns error") {
        true => FetchError::NoHost(told),
        false => FetchError::Failed(told),
    }
}

impl Schedulers for Grpc {
    async fn fetch(&self, at: &Endpoint, request: Fetch) -> Result<String, FetchError> {
        let last_duration = request.last_ms.map(|ms| Int64Value {
            value: ms.cast_signed(),
        });
        let request = FetchRequest {
            transaction_id: request.transaction,
            invocation_namespace: request.namespace,
            fqn: request.action,
            rev: request.revision,
            container_id: request.container,
            warmed: request.is_warmed,
            last_duration,
            alive: request.is_alive,
        };
        let path = "/activation.ActivationService/FetchActivation";
        let answered: FetchResponse = self.ask(at, path, request).await?;
        Ok(answered.activation_message)
    }

    async fn reschedule(&self, at: &Endpoint, request: GivenBack) -> Result<bool, FetchError> {
        let request = RescheduleRequest {
            invocation_namespace: request.namespace,
            fqn: request.action,
            rev: request.revision,
            activation_message: request.activation,
        };
        let path = "/activation.ActivationService/RescheduleActivation";
        let (grpc, at) = (self.clone(), at.clone());
        let asked = ebb::time::timeout(RESCHEDULE, async {
            let answered: Result<RescheduleResponse, _> = grpc.ask(&at, path, request).await;
            answered.map(|answered| answered.is_rescheduled)
        });
        let late = || FetchError::Failed(format!("the scheduler at {at} does not answer"));
        asked.await.unwrap_or_else(|_| Err(late()))
    }
}
