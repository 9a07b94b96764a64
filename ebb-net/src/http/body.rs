//! Message bodies, read as the framing says.

use alloc::{rc::Rc, vec::Vec};
use core::{
    future::poll_fn,
    task::{Context, Poll},
};

use super::{
    Error,
    head::Framing,
    room::{append, reserve},
    spare::Spare,
};
use crate::{Interest, Stream};

/// The receiving side of a connection: the stream, and bytes that belong to what comes next.
pub(super) struct Reader {
    stream: Rc<Stream>,
    /// Without memory until bytes come.
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are used up.
    start: usize,
}

impl Reader {
    pub fn new(stream: Rc<Stream>) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            start: 0,
        }
    }

    pub fn stream(&self) -> &Rc<Stream> {
        &self.stream
    }

    /// What has arrived and is not used up.
    pub fn available(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    pub fn consume(&mut self, n: usize) {
        self.start += n;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
    }

    /// Waits for more bytes, taking at most so many that `most` are available. False at the end of
    /// the stream.
    pub async fn more(&mut self, most: usize) -> Result<bool, Error> {
        poll_fn(|cx| self.poll_more(cx, most)).await
    }

    fn poll_more(&mut self, cx: &Context<'_>, most: usize) -> Poll<Result<bool, Error>> {
        let tried = self.try_more(most);
        self.or_wait(cx, tried)
    }

    /// Lends what arrives to `f` where it lies, while nothing is available; keeps what `f` does not use up, at most `most` bytes of it.
    /// `None` at the end of the stream.
    pub fn poll_first<R>(
        &mut self,
        cx: &Context<'_>,
        most: usize,
        f: impl FnOnce(&[u8]) -> (usize, R),
    ) -> Poll<Result<Option<R>, Error>> {
        debug_assert!(self.available().is_empty());
        let buffer = &mut self.buffer;
        let got = self.stream.try_recv_with(|bytes| {
            let (used, result) = f(bytes);
            let rest = &bytes[used..];
            let rest = &rest[..rest.len().min(most)];
            let fits = rest.is_empty() || keep(buffer, rest, most);
            (used + rest.len(), (fits, result))
        });
        let tried = match got {
            Ok(Some((false, _))) => Err(Error::NoMemory),
            Ok(got) => Ok(got.map(|(_, result)| result)),
            Err(error) => Err(error.into()),
        };
        self.or_wait(cx, tried)
    }

    fn or_wait<T>(&self, cx: &Context<'_>, tried: Result<T, Error>) -> Poll<Result<T, Error>> {
        if let Err(Error::Net(crate::Error::WouldBlock)) = tried {
            self.stream.register(Interest::READ, cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(tried)
    }

    fn try_more(&mut self, most: usize) -> Result<bool, Error> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let room = most.saturating_sub(self.buffer.len());
        if room == 0 {
            return Err(Error::HeadTooLarge);
        }
        let buffer = &mut self.buffer;
        let got = self.stream.try_recv_with(|bytes| {
            let n = bytes.len().min(room);
            let fits = keep(buffer, &bytes[..n], most);
            (n, fits)
        })?;
        match got {
            Some(false) => Err(Error::NoMemory),
            got => Ok(got.is_some()),
        }
    }

    /// Gives the memory back if nothing is in it.
    pub fn rest(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > 0 {
            Spare::give_buffer(core::mem::take(&mut self.buffer));
        }
    }

    /// Passes received bytes on where they lie, at most `most`. 0 at the end of the stream.
    async fn pass(&mut self, most: usize, into: &mut impl FnMut(&[u8])) -> Result<usize, Error> {
        let available = self.available();
        if !available.is_empty() {
            let n = available.len().min(most);
            into(&available[..n]);
            self.consume(n);
            return Ok(n);
        }
        let got = self
            .stream
            .recv_with(|bytes| {
                let n = bytes.len().min(most);
                into(&bytes[..n]);
                (n, n)
            })
            .await?;
        Ok(got.unwrap_or(0))
    }
}

/// Where in its chunked coding a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunked {
    /// At a chunk's size line.
    Size,
    /// Within a chunk's data.
    Data(u64),
    /// At the line end behind a chunk's data.
    DataEnd,
    /// In the trailer section.
    Trailer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    Chunked(Chunked),
    ToEnd,
    Done,
}

/// A chunk's size line with its extensions, and the whole trailer section, may not be longer.
const MOST_LINE: usize = 4096;

/// A message's body, read piece by piece, each where it lies.
pub struct Body<'c> {
    reader: &'c mut Reader,
    state: State,
    /// Bytes of the trailer section so far.
    trailer: usize,
}

impl<'c> Body<'c> {
    pub(super) fn new(reader: &'c mut Reader, framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(n) => State::Length(n),
            Framing::Chunked => State::Chunked(Chunked::Size),
            Framing::ToEnd => State::ToEnd,
        };
        Self {
            reader,
            state,
            trailer: 0,
        }
    }

    /// True when everything has been read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// What is left, if the length is known.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(n) => Some(n),
            State::Done => Some(0),
            State::Chunked(_) | State::ToEnd => None,
        }
    }

    /// Whether the rest of the body, of a known length, has been received with the head.
    #[must_use]
    pub fn is_here(&self) -> bool {
        let available = self.reader.available().len() as u64;
        self.remaining().is_some_and(|n| n <= available)
    }

    /// Waits for the next piece and lends it to `f`. False at the end of the body.
    ///
    /// # Errors
    /// When the connection or its coding fails.
    pub async fn piece(&mut self, mut f: impl FnMut(&[u8])) -> Result<bool, Error> {
        loop {
            match self.state {
                State::Done => return Ok(false),
                State::Length(left) => {
                    let n = self.reader.pass(clamp(left), &mut f).await? as u64;
                    if n == 0 {
                        return Err(Error::Truncated);
                    }
                    self.state = if n == left {
                        State::Done
                    } else {
                        State::Length(left - n)
                    };
                    return Ok(true);
                }
                State::ToEnd => {
                    let n = self.reader.pass(usize::MAX, &mut f).await?;
                    if n == 0 {
                        self.state = State::Done;
                    }
                    return Ok(n > 0);
                }
                State::Chunked(Chunked::Data(left)) => {
                    let n = self.reader.pass(clamp(left), &mut f).await? as u64;
                    if n == 0 {
                        return Err(Error::Truncated);
                    }
                    self.state = State::Chunked(if n == left {
                        Chunked::DataEnd
                    } else {
                        Chunked::Data(left - n)
                    });
                    return Ok(true);
                }
                State::Chunked(Chunked::Size) => {
                    let line = self.line().await?;
                    let size = match httparse::parse_chunk_size(self.reader.available()) {
                        Ok(httparse::Status::Complete((_, size))) => size,
                        _ => return Err(Error::Malformed("a chunk's size")),
                    };
                    self.reader.consume(line);
                    self.state = State::Chunked(match size {
                        0 => Chunked::Trailer,
                        size => Chunked::Data(size),
                    });
                }
                State::Chunked(Chunked::DataEnd) => {
                    if self.line().await? != 2 {
                        return Err(Error::Malformed("the end of a chunk"));
                    }
                    self.reader.consume(2);
                    self.state = State::Chunked(Chunked::Size);
                }
                State::Chunked(Chunked::Trailer) => {
                    let line = self.line().await?;
                    self.reader.consume(line);
                    self.trailer += line;
                    if self.trailer > MOST_LINE {
                        return Err(Error::HeadTooLarge);
                    }
                    if line == 2 {
                        self.state = State::Done;
                    }
                }
            }
        }
    }

    /// Waits for a line; gives its length with the line end, which is `\r\n` and nothing else.
    async fn line(&mut self) -> Result<usize, Error> {
        let mut seen = 0;
        loop {
            let available = self.reader.available();
            if let Some(at) = available[seen..].iter().position(|&b| b == b'\n') {
                let end = seen + at;
                if end == 0 || available[end - 1] != b'\r' {
                    return Err(Error::Malformed("a line's end"));
                }
                return Ok(end + 1);
            }
            seen = available.len();
            if !self.reader.more(MOST_LINE).await? {
                return Err(Error::Truncated);
            }
        }
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// [`Error::BodyTooLarge`] beyond `most` bytes, [`Error::NoMemory`] when this machine has none for it; else as
    /// [`piece`](Self::piece).
    pub async fn bytes(&mut self, most: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut most_room = most;
        if let Some(length) = self.remaining() {
            if length > most as u64 {
                return Err(Error::BodyTooLarge);
            }
            most_room = clamp(length);
            // The rest of a large body is reserved as it arrives: a promise costs the peer nothing.
            if !reserve(&mut bytes, most_room.min(64 << 10)) {
                return Err(Error::NoMemory);
            }
        }
        let mut refused = None;
        while refused.is_none()
            && self
                .piece(|piece| {
                    if bytes.len() + piece.len() > most {
                        refused = Some(Error::BodyTooLarge);
                    } else if !append(&mut bytes, piece, most_room) {
                        refused = Some(Error::NoMemory);
                    }
                })
                .await?
        {}
        refused.map_or(Ok(bytes), Err)
    }

    /// Reads and drops what is left, if that is at most `most` bytes. False when it is more.
    pub(super) async fn skip(&mut self, most: usize) -> Result<bool, Error> {
        let mut skipped = 0;
        loop {
            if self.remaining().is_some_and(|n| n > most as u64) || skipped > most {
                return Ok(false);
            }
            if !self.piece(|piece| skipped += piece.len()).await? {
                return Ok(true);
            }
        }
    }
}

/// As [`append`], to a buffer that is lent if it is none yet.
fn keep(buffer: &mut Vec<u8>, bytes: &[u8], most: usize) -> bool {
    if buffer.capacity() == 0 {
        *buffer = Spare::buffer();
    }
    append(buffer, bytes, most)
}

fn clamp(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl core::fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Body({:?})", self.state)
    }
}
