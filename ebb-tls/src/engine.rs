//! One side of a TLS connection over another connection: records in, bytes out, and back. Nothing here waits.
//!
//! What must hold:
//! - ciphertext leaves in the order in which it was made: it goes through `outgoing`, and nothing is encrypted while that holds
//!   bytes that the connection below has not taken;
//! - `incoming` holds at most [`MOST_INCOMING`] bytes and `plain` less than one read of it has held, so a connection's memory is
//!   bounded whatever the peer sends; both, and `outgoing`, are given back when they are empty;
//! - after an error rustls is asked for its alert and for nothing more;
//! - rustls sees the whole of `incoming` each time, since it remembers where in it parts of a handshake message lie;
//! - the vector registers are claimed before anything is encrypted or decrypted.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

use ebb::{EbbRef, platform::VectorRegisters};
use ebb_net::{Bytes, Error as NetError, Ready, Result as NetResult, Stream, tcp::Shutdown};
use rustls::{
    HandshakeKind,
    client::UnbufferedClientConnection,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic},
};

use crate::Error;

/// The longest record and some more, so that a bulk transfer reads more than one at a time.
const MOST_INCOMING: usize = 32 << 10;
/// What a peer may send until its handshake is complete: a chain of certificates is the largest part.
const MOST_IN_HANDSHAKE: usize = 128 << 10;
/// Bytes that are encrypted at a time.
const MOST_OUTGOING: usize = 64 << 10;
/// What a record adds, generously: header, content type, tag.
const RECORD_EXTRA: usize = 64;
/// The longest content of a record (RFC 8446, section 5.1).
const RECORD: usize = 16 << 10;

/// A connection of either side, boxed: it is large.
pub enum Side {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// What a step has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There may be more to do at once.
    Again,
    /// Application data came.
    Data,
    /// What was to be sent is encrypted.
    Sent,
    /// The peer has to send more.
    NeedsInput,
    /// The handshake is complete and no whole record is there.
    Open,
    /// The peer has ended its direction.
    PeerClosed,
}

/// What is to be sent.
#[derive(Clone, Copy)]
enum Send<'b> {
    Data(&'b [u8]),
    /// `close_notify`.
    End,
}

/// Does what rustls asks for. Gives how many bytes of what was received are done with.
fn handle<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    sink: &mut dyn FnMut(&[u8]),
    out: &mut Vec<u8>,
    send: &mut Option<Send<'_>>,
) -> (usize, Result<Step, rustls::Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    if !record.payload.is_empty() {
                        sink(record.payload);
                    }
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(Step::Data),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut record)) => append(out, 0, |room| {
            record.encode(room).map_err(|error| match error {
                EncodeError::InsufficientSize(error) => Some(error.required_size),
                EncodeError::AlreadyEncoded => None,
            })
        }),
        Ok(ConnectionState::TransmitTlsData(record)) => {
            record.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Step::NeedsInput),
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::PeerClosed),
        Ok(ConnectionState::WriteTraffic(mut traffic)) => match send.take() {
            Some(send) => encrypt(&mut traffic, send, out),
            None => Ok(Step::Open),
        },
        // Nobody is told that it may send early data.
        Ok(_) => Err(rustls::Error::General("an unexpected state".into())),
    };
    (discard, step)
}

fn encrypt<Data>(
    traffic: &mut WriteTraffic<'_, Data>,
    send: Send<'_>,
    out: &mut Vec<u8>,
) -> Result<Step, rustls::Error> {
    let length = match send {
        Send::Data(bytes) => bytes.len(),
        Send::End => 0,
    };
    let guess = length + (length / RECORD + 1) * RECORD_EXTRA;
    append(out, guess, |room| {
        let done = match send {
            Send::Data(bytes) => traffic.encrypt(bytes, room),
            Send::End => traffic.queue_close_notify(room),
        };
        done.map_err(|error| match error {
            EncryptError::InsufficientSize(error) => Some(error.required_size),
            EncryptError::EncryptExhausted => None,
        })
    })
    .map(|_| Step::Sent)
}

/// Whether a record is an alert: by its type, or, encrypted, by its length, which no other message has (two bytes, the type and a
/// tag of 16).
fn is_alert(record: &[u8]) -> bool {
    matches!(record, [21, ..] | [23, 3, 3, 0, 19, ..])
}

/// Makes room for `guess` bytes behind `out`, or for as many as `write` says that it needs, and keeps what it has written.
fn append(
    out: &mut Vec<u8>,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<Step, rustls::Error> {
    let (at, mut size) = (out.len(), guess);
    loop {
        out.resize(at + size, 0);
        match write(&mut out[at..]) {
            Ok(written) => {
                out.truncate(at + written);
                return Ok(Step::Again);
            }
            Err(Some(required)) if required > size => size = required,
            Err(_) => {
                out.truncate(at);
                return Err(rustls::Error::EncryptError);
            }
        }
    }
}

/// Both directions.
pub struct Engine {
    side: Side,
    incoming: Vec<u8>,
    plain: Vec<u8>,
    /// Bytes of `plain` that are used up.
    used: usize,
    outgoing: VecDeque<Bytes>,
    /// Bytes received, until the handshake is complete.
    received: usize,
    peer_closed: bool,
    /// `close_notify` is in `outgoing`, or sent.
    write_closed: bool,
    /// The sending direction below is to be ended behind `outgoing`.
    ends: bool,
    failed: Option<NetError>,
    /// Why, when it was TLS. Boxed: most connections never have one.
    broken: Option<Box<rustls::Error>>,
}

impl Engine {
    pub fn new(side: Side) -> Self {
        Self {
            side,
            incoming: Vec::new(),
            plain: Vec::new(),
            used: 0,
            outgoing: VecDeque::new(),
            received: 0,
            peer_closed: false,
            write_closed: false,
            ends: false,
            failed: None,
            broken: None,
        }
    }

    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.side {
            Side::Client(c) => c.alpn_protocol(),
            Side::Server(c) => c.alpn_protocol(),
        }
    }

    pub fn is_resumed(&self) -> bool {
        let kind = match &self.side {
            Side::Client(c) => c.handshake_kind(),
            Side::Server(c) => c.handshake_kind(),
        };
        kind == Some(HandshakeKind::Resumed)
    }

    /// The peer broke the protocol.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// What waits for room below.
    pub fn take_outgoing(&mut self) -> VecDeque<Bytes> {
        core::mem::take(&mut self.outgoing)
    }

    /// Ciphertext waits for room below.
    pub fn is_sending(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Lets rustls go on by one step, with all that was received. Application data goes to `sink`, what is to be sent into `out`.
    fn step(
        &mut self,
        sink: &mut dyn FnMut(&[u8]),
        out: &mut Vec<u8>,
        send: &mut Option<Send<'_>>,
    ) -> Result<Step, rustls::Error> {
        let incoming = &mut self.incoming;
        let (discard, step) = match &mut self.side {
            Side::Client(c) => handle(c.process_tls_records(incoming), sink, out, send),
            Side::Server(c) => handle(c.process_tls_records(incoming), sink, out, send),
        };
        if discard >= self.incoming.len() {
            self.incoming = Vec::new();
        } else if discard > 0 {
            self.incoming.drain(..discard);
        }
        step
    }

    /// What is left to do after an error is to tell the peer: the next steps give what was to be sent before, and then an alert.
    /// After that rustls is not asked again. It would look at the same record once more, and its own checks forbid a second alert.
    fn collect_alert(&mut self, out: &mut Vec<u8>) {
        for _ in 0..8 {
            let at = out.len();
            if self.step(&mut |_| {}, out, &mut None) != Ok(Step::Again) || is_alert(&out[at..]) {
                break;
            }
        }
    }

    /// Steps until something else has to happen first. What is to be sent has been queued.
    fn advance(&mut self, sink: &mut dyn FnMut(&[u8]), send: Option<Send<'_>>) -> NetResult<Step> {
        EbbRef::<dyn VectorRegisters>::get().claim();
        let (mut out, mut send) = (Vec::new(), send);
        let result = loop {
            match self.step(sink, &mut out, &mut send) {
                // Who sends something may find that something comes.
                Ok(Step::Data) if send.is_some() => {}
                Ok(Step::PeerClosed) if send.is_some() => self.peer_closed = true,
                Ok(Step::Again) => {}
                other => break other,
            }
        };
        let result = result.map_err(|error| {
            self.failed = Some(NetError::Protocol);
            self.broken = Some(Box::new(error));
            self.collect_alert(&mut out);
            NetError::Protocol
        });
        if !out.is_empty() {
            self.outgoing.push_back(out.into());
        }
        if result == Ok(Step::PeerClosed) {
            self.peer_closed = true;
        }
        result
    }

    /// Hands down what waits for it. True when nothing is left.
    pub fn flush(&mut self, below: &Stream) -> NetResult<bool> {
        while !self.outgoing.is_empty() {
            match below.try_send(&mut self.outgoing) {
                Ok(_) if self.outgoing.is_empty() => self.outgoing = VecDeque::new(),
                Ok(_) => {}
                Err(NetError::WouldBlock) => return Ok(false),
                Err(error) => {
                    self.outgoing.clear();
                    return Err(*self.failed.get_or_insert(error));
                }
            }
        }
        if core::mem::take(&mut self.ends) {
            below.shutdown(Shutdown::Write)?;
        }
        Ok(true)
    }

    /// Takes what was received below. False at its end.
    fn fill(&mut self, below: &Stream) -> NetResult<bool> {
        let room = MOST_INCOMING - self.incoming.len().min(MOST_INCOMING);
        if room == 0 {
            // rustls refuses longer records before that; a handshake message of many records gets here.
            return Err(*self.failed.insert(NetError::Protocol));
        }
        let incoming = &mut self.incoming;
        let got = below.try_recv_with(|bytes| {
            let n = bytes.len().min(room);
            incoming.extend_from_slice(&bytes[..n]);
            (n, n)
        });
        match got {
            Ok(Some(n)) => {
                self.received = self.received.saturating_add(n);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(NetError::WouldBlock) => Err(NetError::WouldBlock),
            Err(error) => Err(*self.failed.get_or_insert(error)),
        }
    }

    /// Goes on with the handshake.
    ///
    /// # Errors
    /// [`NetError::WouldBlock`], as [`Error::Net`], when the peer has to do something first.
    pub fn handshake(&mut self, below: &Stream) -> Result<(), Error> {
        loop {
            let mut plain = Vec::new();
            let step = self.advance(&mut |bytes| plain.extend_from_slice(bytes), None);
            self.plain.append(&mut plain);
            let flushed = self.flush(below);
            if let Some(broken) = &self.broken {
                return Err(Error::Tls((**broken).clone()));
            }
            flushed?;
            match step? {
                Step::PeerClosed => return Err(Error::Truncated),
                Step::NeedsInput if self.received > MOST_IN_HANDSHAKE => {
                    return Err(Error::TooMuch);
                }
                Step::NeedsInput => match self.fill(below) {
                    Ok(true) => {}
                    Ok(false) => return Err(Error::Truncated),
                    Err(NetError::Protocol) => return Err(Error::TooMuch),
                    Err(error) => return Err(error.into()),
                },
                _ => return Ok(()),
            }
        }
    }

    /// As [`Layer::try_receive`](ebb_net::Layer::try_receive).
    pub fn try_receive(
        &mut self,
        below: &Stream,
        f: &mut dyn FnMut(&[u8]) -> usize,
    ) -> NetResult<bool> {
        if self.used < self.plain.len() {
            self.used += f(&self.plain[self.used..]);
            if self.used >= self.plain.len() {
                self.plain = Vec::new();
                self.used = 0;
            }
            return Ok(true);
        }
        loop {
            if let Some(error) = self.failed {
                return Err(error);
            }
            if self.peer_closed {
                return Ok(false);
            }
            let (mut lent, mut rest) = (false, Vec::new());
            let mut lend = |bytes: &[u8]| {
                let taken = if lent { 0 } else { f(bytes) };
                lent = true;
                rest.extend_from_slice(&bytes[taken.min(bytes.len())..]);
            };
            let step = self.advance(&mut lend, None);
            self.plain = rest;
            // An alert as well, as far as it gets. A connection that fails for sending says so when that is tried.
            let _ = self.flush(below);
            if lent {
                return Ok(true);
            }
            let needs_more = matches!(step?, Step::NeedsInput | Step::Open);
            if needs_more && !self.fill(below)? {
                // Without the peer's `close_notify` somebody else may have cut the stream.
                return Err(*self.failed.insert(NetError::UnexpectedEof));
            }
        }
    }

    /// As [`Layer::try_write`](ebb_net::Layer::try_write).
    pub fn try_write(&mut self, below: &Stream, bytes: &[u8]) -> NetResult<usize> {
        if self.write_closed {
            return Err(NetError::BrokenPipe);
        }
        if !self.flush(below)? {
            return Err(NetError::WouldBlock);
        }
        let bytes = &bytes[..bytes.len().min(MOST_OUTGOING)];
        self.send(Send::Data(bytes))?;
        self.flush(below)?;
        Ok(bytes.len())
    }

    fn send(&mut self, what: Send<'_>) -> NetResult<()> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut plain = Vec::new();
        let step = self.advance(&mut |bytes| plain.extend_from_slice(bytes), Some(what));
        self.plain.append(&mut plain);
        match step? {
            Step::Sent => Ok(()),
            // Nothing is sent before the handshake is complete.
            _ => Err(NetError::NotConnected),
        }
    }

    /// Tells the peer that nothing more comes, and ends the direction below behind that.
    pub fn close(&mut self, below: &Stream) -> NetResult<()> {
        if !core::mem::replace(&mut self.write_closed, true) {
            // One that has failed or is not complete ends without.
            let _ = self.send(Send::End);
            self.ends = true;
        }
        self.flush(below)?;
        Ok(())
    }

    /// As [`Layer::readiness`](ebb_net::Layer::readiness).
    pub fn readiness(&self, below: &Stream) -> Ready {
        let mut ready = below.readiness();
        let more = self.used < self.plain.len() || !self.incoming.is_empty();
        ready.readable |= more || self.peer_closed || self.failed.is_some();
        ready
    }
}
