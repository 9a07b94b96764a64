//! gRPC by tonic.
#![allow(missing_docs)]

use std::{net::SocketAddr, sync::mpsc};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Identity, Server, ServerTlsConfig},
};

use crate::{
    Place, Side, large,
    tokio_side::{Calls, client, on_a_thread},
};

/// Bytes, as a message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Data {
    #[prost(bytes = "bytes", tag = "1")]
    bytes: Bytes,
}

/// How many are wanted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Length {
    #[prost(uint32, tag = "1")]
    length: u32,
}

#[allow(clippy::all, unused)]
mod made {
    tonic::include_proto!("span.Echo");
}

use made::{
    echo_client::EchoClient,
    echo_server::{Echo, EchoServer},
};

struct Service;

#[tonic::async_trait]
impl Echo for Service {
    async fn echo(&self, asked: Request<Data>) -> Result<Response<Data>, Status> {
        Ok(Response::new(asked.into_inner()))
    }

    async fn give(&self, asked: Request<Length>) -> Result<Response<Data>, Status> {
        let bytes = large(asked.into_inner().length);
        Ok(Response::new(Data { bytes }))
    }
}

impl Calls for EchoClient<Channel> {
    async fn echo(&self, bytes: Bytes) -> usize {
        let answer = EchoClient::echo(&mut self.clone(), Data { bytes }).await;
        answer.expect("an answer").into_inner().bytes.len()
    }

    async fn give(&self, length: u32) -> usize {
        let answer = EchoClient::give(&mut self.clone(), Length { length }).await;
        answer.expect("an answer").into_inner().bytes.len()
    }
}

pub fn side(place: Place) -> Side {
    let (tell, told) = mpsc::channel::<SocketAddr>();
    let tls = place.tls.clone();
    on_a_thread(place.server, move || async move {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        tell.send(listener.local_addr().expect("its address"))
            .expect("it waits");
        let mut server = Server::builder().tcp_nodelay(true);
        if let Some(tls) = tls {
            let key = tls.0.signing_key.serialize_pem();
            let identity = Identity::from_pem(tls.0.cert.pem(), key);
            let config = ServerTlsConfig::new().identity(identity);
            server = server.tls_config(config).expect("a certificate");
        }
        let service = EchoServer::new(Service).max_decoding_message_size(16 << 20);
        server
            .add_service(service)
            .serve_with_incoming(nodelay(listener))
            .await
            .expect("it serves");
    });
    let address = told.recv().expect("it listens");
    client(place.client, move || async move {
        let scheme = if place.tls.is_some() { "https" } else { "http" };
        let mut endpoint = Channel::from_shared(format!("{scheme}://localhost:{}", address.port()))
            .expect("an address")
            .tcp_nodelay(true);
        if let Some(tls) = place.tls {
            let root = Certificate::from_pem(tls.0.cert.pem());
            let config = ClientTlsConfig::new().ca_certificate(root);
            endpoint = endpoint.tls_config(config).expect("a certificate");
        }
        let channel = endpoint.connect().await.expect("it listens");
        EchoClient::new(channel).max_decoding_message_size(16 << 20)
    })
}

fn nodelay(
    listener: TcpListener,
) -> impl futures::Stream<Item = std::io::Result<tokio::net::TcpStream>> {
    futures::StreamExt::map(TcpListenerStream::new(listener), |stream| {
        let stream = stream?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}
