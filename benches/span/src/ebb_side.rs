//! Distributed Ebbs, each end a machine of one core.
#![allow(missing_docs)]

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{self, TryRecvError},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ebb::{EbbRef, ebb};
use ebb_distributed::{Blob, Config, Key, NodeId, RemoteRef, introduce, join, remote};

use crate::{Ask, Order, SMALL, Side, large, pin};

pub const KEY: [u8; 32] = [3; 32];

#[ebb(distributed)]
#[derive(Default)]
struct Echo {}

#[remote(name = "span.Echo")]
impl Echo {
    async fn echo(&self, bytes: Blob) -> Blob {
        bytes
    }

    async fn give(&self, length: u32) -> Blob {
        large(length).into()
    }
}

const ONE: ebb_hosted::Config = ebb_hosted::Config {
    cores: 1,
    pin: false,
};

/// A machine that answers, on a thread of its own.
pub fn serve(cpu: usize) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    thread::spawn(move || {
        pin(cpu);
        ebb_hosted::run(&ONE, async move || {
            EbbRef::<Echo>::new().serve();
            let server = join(Config::new(NodeId(0), Key::new(KEY), address)).await;
            let _ = server.expect("the port is free").failed().await;
        });
    });
    while TcpStream::connect(address).is_err() {
        thread::sleep(Duration::from_millis(1));
    }
    address
}

pub fn side(server: usize, client: usize) -> Side {
    let address = serve(server);
    let (orders, ordered) = mpsc::channel::<Order>();
    thread::spawn(move || {
        pin(client);
        ebb_hosted::run(&ONE, async move || {
            let anywhere: SocketAddr = ([127, 0, 0, 1], 0).into();
            let _server = join(Config::new(NodeId(1), Key::new(KEY), anywhere)).await;
            introduce(NodeId(0), address);
            loop {
                match ordered.try_recv() {
                    Ok(order) => {
                        let took = run(&order).await;
                        let _ = order.done.send(took);
                    }
                    Err(TryRecvError::Empty) => {
                        ebb::time::sleep(Duration::from_millis(2)).await;
                    }
                    Err(TryRecvError::Disconnected) => return,
                }
            }
        });
    });
    Side::new(move |order| orders.send(order).expect("the client waits"))
}

async fn run(order: &Order) -> Duration {
    let begun = Instant::now();
    let ask = order.ask;
    if order.in_flight == 1 {
        several(ask, order.calls).await;
    } else {
        let calls = order.calls / order.in_flight as u64;
        let tasks: Vec<_> = (0..order.in_flight)
            .map(|_| ebb::spawn(several(ask, calls)))
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    }
    begun.elapsed()
}

async fn several(ask: Ask, calls: u64) {
    let echo = EbbRef::<Echo>::new().at(NodeId(0));
    let bytes = Bytes::from_static(&[7; SMALL]);
    for _ in 0..calls {
        match ask {
            Ask::Echo => {
                let answer = echo.echo(bytes.clone().into()).await;
                assert_eq!(answer.expect("an answer").len(), SMALL);
            }
            Ask::Give(length) => {
                let answer = echo.give(length).await.expect("an answer");
                assert_eq!(answer.len(), length as usize);
            }
        }
    }
}
