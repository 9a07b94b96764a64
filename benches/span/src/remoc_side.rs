//! remoc's remote traits, with its own format.
#![allow(missing_docs)]

use std::sync::Arc;

use bytes::Bytes;
use remoc::{prelude::*, rtc::CallError};

use crate::{
    Place, Side, large,
    tokio_side::{Calls, connect, serve},
};

#[remoc::rtc::remote]
pub trait Echo {
    async fn echo(&self, bytes: Bytes) -> Result<Bytes, CallError>;
    async fn give(&self, length: u32) -> Result<Bytes, CallError>;
}

struct Server;

impl Echo for Server {
    async fn echo(&self, bytes: Bytes) -> Result<Bytes, CallError> {
        Ok(bytes)
    }

    async fn give(&self, length: u32) -> Result<Bytes, CallError> {
        Ok(large(length))
    }
}

impl Calls for EchoClient<remoc::codec::Postbag> {
    async fn echo(&self, bytes: Bytes) -> usize {
        Echo::echo(self, bytes).await.expect("an answer").len()
    }

    async fn give(&self, length: u32) -> usize {
        Echo::give(self, length).await.expect("an answer").len()
    }
}

pub fn side(place: Place) -> Side {
    let address = serve(place.server, place.tls.clone(), |io| async {
        let (reader, writer) = tokio::io::split(io);
        let (server, client) = EchoServerShared::<_, remoc::codec::Postbag>::new(Arc::new(Server));
        remoc::Connect::io(remoc::Cfg::default(), reader, writer)
            .provide(client)
            .await
            .expect("it connects");
        server.serve().await.expect("it serves");
    });
    crate::tokio_side::client(place.client, move || async move {
        let (reader, writer) = tokio::io::split(connect(address, place.tls).await);
        let client: EchoClient<remoc::codec::Postbag> =
            remoc::Connect::io(remoc::Cfg::default(), reader, writer)
                .consume()
                .await
                .expect("it connects");
        client
    })
}
