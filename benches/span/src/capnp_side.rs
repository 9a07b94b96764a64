//! Cap'n Proto's calls.
#![allow(missing_docs)]

use std::rc::Rc;

use bytes::Bytes;
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side as Which, twoparty::VatNetwork};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use crate::{
    Place, Side,
    echo_capnp::echo,
    large,
    tokio_side::{Calls, Io, connect, serve},
};

struct Server;

impl echo::Server for Server {
    async fn echo(
        self: Rc<Self>,
        asked: echo::EchoParams,
        mut answer: echo::EchoResults,
    ) -> Result<(), capnp::Error> {
        answer.get().set_bytes(asked.get()?.get_bytes()?);
        Ok(())
    }

    async fn give(
        self: Rc<Self>,
        asked: echo::GiveParams,
        mut answer: echo::GiveResults,
    ) -> Result<(), capnp::Error> {
        answer.get().set_bytes(&large(asked.get()?.get_length()));
        Ok(())
    }
}

impl Calls for echo::Client {
    async fn echo(&self, bytes: Bytes) -> usize {
        let mut request = self.echo_request();
        request.get().set_bytes(&bytes);
        let answer = request.send().promise.await.expect("an answer");
        let results = answer.get().expect("results");
        results.get_bytes().expect("bytes").len()
    }

    async fn give(&self, length: u32) -> usize {
        let mut request = self.give_request();
        request.get().set_length(length);
        let answer = request.send().promise.await.expect("an answer");
        let results = answer.get().expect("results");
        results.get_bytes().expect("bytes").len()
    }
}

fn network(io: Io, side: Which) -> Box<VatNetwork<impl futures::AsyncRead + Unpin>> {
    let (reader, writer) = tokio::io::split(io);
    Box::new(VatNetwork::new(
        futures::io::BufReader::new(reader.compat()),
        futures::io::BufWriter::new(writer.compat_write()),
        side,
        Default::default(),
    ))
}

pub fn side(place: Place) -> Side {
    let address = serve(place.server, place.tls.clone(), |io| async {
        let client: echo::Client = capnp_rpc::new_client(Server);
        let system = RpcSystem::new(network(io, Which::Server), Some(client.client));
        let _ = system.await;
    });
    crate::tokio_side::client(place.client, move || async move {
        let io = connect(address, place.tls).await;
        let mut system = RpcSystem::new(network(io, Which::Client), None);
        let client: echo::Client = system.bootstrap(Which::Server);
        tokio::task::spawn_local(system);
        client
    })
}
