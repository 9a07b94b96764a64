//! What the libraries on tokio share: a server and a client, each a thread with one runtime, over TCP or TLS.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, mpsc as sync_mpsc},
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::mpsc,
    task::LocalSet,
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    },
};

use crate::{Ask, Order, Side, pin};

/// The methods of a client.
pub trait Calls: Clone + 'static {
    fn echo(&self, bytes: Bytes) -> impl Future<Output = usize>;
    fn give(&self, length: u32) -> impl Future<Output = usize>;
}

/// A connection.
pub enum Io {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::TlsStream<TcpStream>>),
}

macro_rules! each {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Plain($io) => $call,
            Io::Tls($io) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}

/// A certificate that signs itself, for `localhost`, and its key.
#[derive(Clone)]
pub struct Certificate(pub Arc<rcgen::CertifiedKey<rcgen::KeyPair>>);

impl Certificate {
    pub fn new() -> Self {
        let names = vec!["localhost".to_owned()];
        Self(Arc::new(
            rcgen::generate_simple_self_signed(names).expect("a certificate"),
        ))
    }

    /// TLS 1.3 with rustls' own choices, the server proving who it is.
    fn acceptor(&self) -> TlsAcceptor {
        let key = PrivatePkcs8KeyDer::from(self.0.signing_key.serialize_der());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![self.0.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
            .expect("the key is the certificate's");
        TlsAcceptor::from(Arc::new(config))
    }

    fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.cert.der().clone()).expect("a certificate");
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }
}

/// Runs something on a thread of its own, with a runtime of that thread.
pub fn on_a_thread<F: Future<Output = ()>>(cpu: usize, run: impl FnOnce() -> F + Send + 'static) {
    thread::spawn(move || {
        pin(cpu);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, run());
    });
}

/// Serves each connection by `handle`.
pub fn serve<F: Future<Output = ()> + 'static>(
    cpu: usize,
    tls: Option<Certificate>,
    handle: impl Fn(Io) -> F + Send + 'static,
) -> SocketAddr {
    let (tell, told) = sync_mpsc::channel();
    on_a_thread(cpu, move || async move {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        tell.send(listener.local_addr().expect("its address"))
            .expect("it waits");
        let acceptor = tls.map(|tls| tls.acceptor());
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("a TCP socket");
            let io = match &acceptor {
                None => Io::Plain(stream),
                Some(tls) => {
                    let stream = tls.accept(stream).await.expect("a handshake");
                    Io::Tls(Box::new(stream.into()))
                }
            };
            tokio::task::spawn_local(handle(io));
        }
    });
    told.recv().expect("it listens")
}

/// Connects.
pub async fn connect(address: SocketAddr, tls: Option<Certificate>) -> Io {
    let stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("a TCP socket");
    match tls {
        None => Io::Plain(stream),
        Some(tls) => {
            let name = ServerName::try_from("localhost").expect("a name");
            let stream = tls.connector().connect(name, stream).await;
            Io::Tls(Box::new(stream.expect("a handshake").into()))
        }
    }
}

/// A client that makes the calls that it is asked for.
pub fn client<C: Calls, F: Future<Output = C>>(
    cpu: usize,
    make: impl FnOnce() -> F + Send + 'static,
) -> Side {
    let (orders, mut ordered) = mpsc::unbounded_channel::<Order>();
    on_a_thread(cpu, move || async move {
        let client = make().await;
        while let Some(order) = ordered.recv().await {
            let took = run(&client, &order).await;
            let _ = order.done.send(took);
        }
    });
    Side::new(move |order| orders.send(order).expect("the client waits"))
}

async fn run<C: Calls>(client: &C, order: &Order) -> Duration {
    let begun = Instant::now();
    let ask = order.ask;
    if order.in_flight == 1 {
        several(client.clone(), ask, order.calls).await;
    } else {
        let tasks: Vec<_> = (0..order.in_flight)
            .map(|_| {
                let calls = order.calls / order.in_flight as u64;
                tokio::task::spawn_local(several(client.clone(), ask, calls))
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    }
    begun.elapsed()
}

async fn several<C: Calls>(client: C, ask: Ask, calls: u64) {
    let bytes = Bytes::from_static(&[7; crate::SMALL]);
    for _ in 0..calls {
        match ask {
            Ask::Echo => assert_eq!(client.echo(bytes.clone()).await, crate::SMALL),
            Ask::Give(length) => assert_eq!(client.give(length).await, length as usize),
        }
    }
}
