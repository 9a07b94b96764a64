//! A secure connection.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    ops::Deref,
    task::{Context, Poll, Waker},
    time::Duration,
};

use ebb::{spawn, time::timeout};
use ebb_net::{
    Bytes, Error as NetError, Interest, Layer, Ready, Result as NetResult, Stream, tcp::Shutdown,
};

use crate::{
    Error,
    engine::{Engine, Side},
};

/// How long what was sent last may take to leave after a connection is dropped.
const LAST_BYTES: Duration = Duration::from_secs(30);
/// How long, and for how many bytes, a connection that broke is read to its end.
const LAST_WORD: Duration = Duration::from_secs(1);
const MOST_UNREAD: usize = 64 << 10;

/// TLS as a layer.
struct Tls {
    engine: RefCell<Engine>,
    /// `None` once the rest is sent by somebody else.
    below: Option<Stream>,
}

impl Tls {
    fn below(&self) -> &Stream {
        self.below
            .as_ref()
            .expect("it is taken when this is dropped")
    }

    fn register(&self, interest: Interest, waker: &Waker) {
        // Ciphertext that waits has to leave, whoever waits for whatever.
        let sends = self.engine.borrow().is_sending();
        let interest = Interest {
            write: interest.write || sends,
            ..interest
        };
        self.below().register(interest, waker);
    }

    fn poll_handshake(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self.engine.borrow_mut().handshake(self.below()) {
            Err(Error::Net(NetError::WouldBlock)) => {}
            result => return Poll::Ready(result),
        }
        self.register(Interest::READ, cx.waker());
        Poll::Pending
    }
}

impl Layer for Tls {
    fn try_receive(&self, f: &mut dyn FnMut(&[u8]) -> usize) -> NetResult<bool> {
        self.engine.borrow_mut().try_receive(self.below(), f)
    }

    fn try_write(&self, bytes: &[u8]) -> NetResult<usize> {
        self.engine.borrow_mut().try_write(self.below(), bytes)
    }

    fn shutdown_write(&self) -> NetResult<()> {
        self.engine.borrow_mut().close(self.below())
    }

    fn readiness(&self) -> Ready {
        self.engine.borrow().readiness(self.below())
    }

    fn register(&self, interest: Interest, waker: &Waker) {
        Tls::register(self, interest, waker);
    }

    fn below(&self) -> &Stream {
        Tls::below(self)
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let Some(below) = self.below.take() else {
            return;
        };
        let engine = self.engine.get_mut();
        let closed = engine.close(&below);
        let is_broken = engine.is_broken();
        if closed.is_err() || !engine.is_sending() && !is_broken {
            return;
        }
        let rest = engine.take_outgoing();
        spawn(async move {
            // There was no room for all of it: as for any connection that is dropped, it is still sent.
            let sent = timeout(LAST_BYTES, send_all(&below, rest)).await;
            if is_broken && sent == Ok(Ok(())) {
                let _ = timeout(LAST_WORD, read_on(&below)).await;
            }
        });
    }
}

async fn send_all(below: &Stream, rest: VecDeque<Bytes>) -> NetResult<()> {
    for buffer in rest {
        below.send(buffer).await?;
    }
    below.shutdown(Shutdown::Write)
}

/// Reads what a peer has sent that broke the protocol: closing with unread bytes would reset the connection, and the peer might
/// never see the alert.
async fn read_on(below: &Stream) {
    let mut read = 0;
    while read < MOST_UNREAD
        && let Ok(Some(n)) = below.recv_with(|bytes| (bytes.len(), bytes.len())).await
    {
        read += n;
    }
}

/// A secure connection: a [`Stream`], and what was agreed on.
pub struct TlsStream {
    stream: Stream,
    alpn: Option<Vec<u8>>,
    resumed: bool,
}

impl TlsStream {
    /// Shakes hands over a connection.
    pub(crate) async fn open(below: Stream, side: Side) -> Result<Self, Error> {
        let _ = below.set_nodelay(true);
        let tls = Tls {
            engine: RefCell::new(Engine::new(side)),
            below: Some(below),
        };
        poll_fn(|cx| tls.poll_handshake(cx)).await?;
        let engine = tls.engine.borrow();
        let (alpn, resumed) = (engine.alpn().map(Vec::from), engine.is_resumed());
        drop(engine);
        Ok(Self {
            stream: Stream::Layered(Box::new(tls)),
            alpn,
            resumed,
        })
    }

    /// The protocol that both sides agreed on (ALPN, RFC 7301), such as `http/1.1`.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// The session goes on from an earlier connection, without certificates.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }
}

impl Deref for TlsStream {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.stream
    }
}

impl From<TlsStream> for Stream {
    fn from(stream: TlsStream) -> Self {
        stream.stream
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsStream({:?})", self.stream)
    }
}
