//! tarpc, with bincode.
#![allow(missing_docs)]

use bytes::Bytes;
use futures::StreamExt;
use tarpc::{
    client, context,
    server::{BaseChannel, Channel},
    tokio_serde::formats::Bincode,
};
use tokio_util::codec::LengthDelimitedCodec;

use crate::{
    Place, Side, large,
    tokio_side::{Calls, Io, connect, serve},
};

#[tarpc::service]
trait Echo {
    async fn echo(bytes: Bytes) -> Bytes;
    async fn give(length: u32) -> Bytes;
}

#[derive(Clone)]
struct Server;

impl Echo for Server {
    async fn echo(self, _: context::Context, bytes: Bytes) -> Bytes {
        bytes
    }

    async fn give(self, _: context::Context, length: u32) -> Bytes {
        large(length)
    }
}

impl Calls for EchoClient {
    async fn echo(&self, bytes: Bytes) -> usize {
        let answer = self.echo(context::current(), bytes).await;
        answer.expect("an answer").len()
    }

    async fn give(&self, length: u32) -> usize {
        let answer = self.give(context::current(), length).await;
        answer.expect("an answer").len()
    }
}

fn framed(io: Io) -> tokio_util::codec::Framed<Io, LengthDelimitedCodec> {
    LengthDelimitedCodec::builder()
        .max_frame_length(16 << 20)
        .new_framed(io)
}

pub fn side(place: Place) -> Side {
    let address = serve(place.server, place.tls.clone(), |io| {
        let transport = tarpc::serde_transport::new(framed(io), Bincode::default());
        BaseChannel::with_defaults(transport)
            .execute(Server.serve())
            .for_each(|answer| async {
                tokio::task::spawn_local(answer);
            })
    });
    crate::tokio_side::client(place.client, move || async move {
        let io = connect(address, place.tls).await;
        let transport = tarpc::serde_transport::new(framed(io), Bincode::default());
        EchoClient::new(client::Config::default(), transport).spawn()
    })
}
