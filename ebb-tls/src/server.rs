//! The side that accepts.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use ebb::{EbbRef, ebb, sync::oneshot, time::timeout};
use ebb_net::Stream;
use rustls::{
    ServerConfig, crypto::CryptoProvider, server::UnbufferedServerConnection, version::TLS13,
};

use crate::{
    Certificates, Error, TlsStream, engine::Side, primitives, tickets::Tickets, time::Clock,
};

/// How a server is to behave.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Who it is.
    pub certificates: Certificates,
    /// Protocols that it speaks (ALPN), the preferred one first; none for clients that may say nothing. A client that names only
    /// others is refused (RFC 7301).
    pub alpn: Vec<Vec<u8>>,
    /// How long a handshake may take.
    pub handshake_time: Duration,
    /// How many handshakes may be under way on a core. When another begins, the oldest is given up: a crowd of slow clients loses
    /// its own places.
    pub handshakes: usize,
    /// The ciphers; [`provider`](crate::provider) unless said otherwise.
    pub provider: Arc<CryptoProvider>,
}

impl ServerSettings {
    /// The usual ones: handshakes of at most 10 s, 1024 at a time, no protocol by name.
    #[must_use]
    pub fn new(certificates: Certificates) -> Self {
        Self {
            certificates,
            alpn: Vec::new(),
            handshake_time: Duration::from_secs(10),
            handshakes: 1024,
            provider: primitives::provider(),
        }
    }
}

/// The handshakes that are under way on a core.
#[ebb(per_core)]
#[derive(Default)]
struct Handshakes {
    /// Oldest first. Dropping the sender gives a handshake up.
    under_way: RefCell<VecDeque<(u64, oneshot::Sender<()>)>>,
    begun: Cell<u64>,
}

impl Handshakes {
    fn begin(&self, most: usize) -> UnderWay {
        let (sender, given_up) = oneshot::channel();
        let number = self.begun.get();
        self.begun.set(number + 1);
        let mut under_way = self.under_way.borrow_mut();
        while under_way.len() >= most.max(1) {
            under_way.pop_front();
        }
        under_way.push_back((number, sender));
        UnderWay { number, given_up }
    }

    fn end(&self, number: u64) {
        let mut under_way = self.under_way.borrow_mut();
        if let Ok(at) = under_way.binary_search_by_key(&number, |(number, _)| *number) {
            under_way.remove(at);
        }
    }
}

/// A place among those; free again when this is dropped.
struct UnderWay {
    number: u64,
    given_up: oneshot::Receiver<()>,
}

impl UnderWay {
    /// `future`, unless the place is taken away first.
    async fn or_given_up<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            match pin!(&mut self.given_up).poll(cx) {
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        EbbRef::<Handshakes>::get().end(self.number);
    }
}

/// Makes secure connections of accepted ones. Clones are the same server and travel to other cores: a session that began on one
/// goes on on any.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    handshake_time: Duration,
    handshakes: usize,
}

impl Acceptor {
    /// With these settings, and keys for tickets of its own.
    ///
    /// # Errors
    /// When the provider cannot do TLS 1.3.
    pub fn new(settings: ServerSettings) -> Result<Self, Error> {
        let mut config = ServerConfig::builder_with_details(settings.provider, Arc::new(Clock))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(settings.certificates));
        config.alpn_protocols = settings.alpn;
        config.ticketer = Arc::new(Tickets::default());
        Ok(Self {
            config: Arc::new(config),
            handshake_time: settings.handshake_time,
            handshakes: settings.handshakes,
        })
    }

    /// Shakes hands with a client, over TCP or any other connection.
    ///
    /// # Errors
    /// Why there is no secure connection; the client has been told as far as TLS has words for it.
    pub async fn accept(&self, below: impl Into<Stream>) -> Result<TlsStream, Error> {
        let mut place = EbbRef::<Handshakes>::get().begin(self.handshakes);
        let server = UnbufferedServerConnection::new(Arc::clone(&self.config))?;
        let opening = TlsStream::open(below.into(), Side::Server(server.into()));
        match place
            .or_given_up(timeout(self.handshake_time, opening))
            .await
        {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(Error::Slow),
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Acceptor({:?})", self.config.cert_resolver)
    }
}
