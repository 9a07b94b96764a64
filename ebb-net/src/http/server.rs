//! The life of a connection: one request after another, each answered before the next is read.
//!
//! Pipelined requests wait in the buffer; their responses are queued in one event and leave together.

use alloc::{boxed::Box, rc::Rc, string::String, vec::Vec};
use core::{fmt, future::poll_fn, pin::Pin, task::Poll, time::Duration};

use ebb::time::{Sleep, sleep, timeout};

use super::{
    Body, Error, Head, Limits, Response, body::Reader, head::Framing, response::Recipient,
    spare::Spare,
};
use crate::{
    Stream,
    tcp::{self, Shutdown, ToBindAddress},
};

/// A request: its head, and its body as it comes in.
pub struct Request<'c> {
    head: &'c Head,
    body: Body<'c>,
    stream: &'c Stream,
    limits: &'c Limits,
    /// The client waits for `100 Continue` before it sends the body.
    expects: bool,
}

impl Request<'_> {
    /// The method, such as `GET`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.head.method()
    }

    /// The path: the target up to the query, as sent (percent-encoded).
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.target_parts().0
    }

    /// The query behind the `?`, as sent; empty without one.
    #[must_use]
    pub fn query(&self) -> &str {
        self.head.target_parts().1
    }

    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The request's first line and headers.
    #[must_use]
    pub fn head(&self) -> &Head {
        self.head
    }

    /// The connection it came on.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        self.stream
    }

    /// Whether the connection has a layer that keeps it secret: TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        matches!(self.stream, Stream::Layered(_))
    }

    /// Whether the whole body has been received with the head, so that reading it does not wait.
    #[must_use]
    pub fn body_is_here(&self) -> bool {
        self.body.is_here()
    }

    /// The whole body, at most [`Limits::body`] bytes, within [`Limits::body_time`].
    ///
    /// # Errors
    /// When it is larger, slower, or breaks the protocol. The handler may answer as it likes;
    /// [`Error::status`] is the usual way. The connection is closed behind the answer.
    pub async fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        self.bytes_up_to(self.limits.body).await
    }

    /// As [`bytes`](Self::bytes), with another limit.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes).
    pub async fn bytes_up_to(&mut self, most: usize) -> Result<Vec<u8>, Error> {
        if self.body.remaining().is_some_and(|n| n > most as u64) {
            return Err(Error::BodyTooLarge);
        }
        let limit = self.limits.body_time;
        timeout(limit, async {
            self.welcome().await?;
            self.body.bytes(most).await
        })
        .await?
    }

    /// Waits for the next piece of the body and lends it to `f`. False at the body's end. The time
    /// limit is for each piece.
    ///
    /// # Errors
    /// When the connection or its coding fails.
    pub async fn piece(&mut self, f: impl FnMut(&[u8])) -> Result<bool, Error> {
        self.welcome().await?;
        timeout(self.limits.body_time, self.body.piece(f)).await?
    }

    /// Tells a client that waits for it to send the body.
    async fn welcome(&mut self) -> Result<(), Error> {
        if core::mem::take(&mut self.expects) && self.head.is_1_1() {
            self.stream
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .await?;
        }
        Ok(())
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {})", self.method(), self.head.target())
    }
}

/// A body that was not read is read and dropped up to this size, so that the connection can go on.
const SKIP: usize = 64 << 10;

/// Serves a connection until its end: the client closes it, breaks the protocol or a limit, or the
/// handler says so.
///
/// # Errors
/// What ended it, if that was not an orderly end.
pub fn serve_connection<H>(
    stream: impl Into<Stream>,
    limits: &Limits,
    handler: &H,
) -> impl Future<Output = Result<(), Error>>
where
    H: AsyncFn(&mut Request<'_>) -> Response,
{
    let stream = Rc::new(stream.into());
    let _ = stream.set_nodelay(true);
    let mut reader = Reader::new(stream);
    let mut idle = Idle::new(limits.idle_time);
    let mut served = 0_u32;
    // Written so, and not as an `async fn`, which would keep room for its arguments beside what becomes of them.
    async move {
        loop {
            let found = match idle.next(&mut reader, limits).await {
                // Nothing was asked, so nothing is answered.
                Ok(None) => return Ok(()),
                Ok(Some(found)) => found,
                Err(error) => Err(error),
            };
            served += 1;
            let is_last = served >= limits.requests;
            if !Box::pin(exchange(found, &mut reader, limits, handler, is_last)).await? {
                return Ok(());
            }
            reader.rest();
        }
    }
}

/// Answers the request that was `found`, when all of it is there, the connection's last one if that is so already. Whether the
/// connection goes on.
///
/// It has a box of its own, so that a connection that waits for a request does not keep room for what its handler needs. What seldom
/// waits has another, for the same reason.
async fn exchange<H>(
    found: Result<Found, Error>,
    reader: &mut Reader,
    limits: &Limits,
    handler: &H,
    is_last: bool,
) -> Result<bool, Error>
where
    H: AsyncFn(&mut Request<'_>) -> Response,
{
    let stream = Rc::clone(reader.stream());
    let found = match found {
        Ok(Found::Part(head)) => Box::pin(rest_of_head(reader, head, limits)).await,
        Ok(Found::Whole(head, framing)) => Ok((head, framing)),
        Err(error) => Err(error),
    };
    let (head, framing) = match found {
        Ok(found) => found,
        Err(error) => return Box::pin(refuse(&stream, limits, error)).await,
    };
    let request = Request {
        head: &head,
        body: Body::new(reader, framing),
        stream: &stream,
        limits,
        expects: framing != Framing::Length(0) && head.expects(),
    };
    let goes_on = answer(request, handler, is_last).await?;
    Spare::give_head(head);
    if !goes_on {
        Box::pin(linger(&stream, reader)).await?;
    }
    Ok(goes_on)
}

/// Answers a request. Whether the connection goes on.
async fn answer<H>(mut request: Request<'_>, handler: &H, is_last: bool) -> Result<bool, Error>
where
    H: AsyncFn(&mut Request<'_>) -> Response,
{
    let response = handler(&mut request).await;
    let Request {
        head,
        mut body,
        stream,
        limits,
        expects,
    } = request;
    // A client that was never told to go on may or may not send its body.
    let mut close =
        response.closes() || !head.keeps_alive() || is_last || expects && !body.is_done();
    if !close && !body.is_done() {
        // Read before answering: a client that only reads when it has sent all is not stuck.
        let skipped = Box::pin(timeout(limits.body_time, body.skip(SKIP))).await;
        close = !matches!(skipped, Ok(Ok(true)));
    }
    let to = Recipient {
        is_1_1: head.is_1_1(),
        head_only: head.method() == "HEAD",
        close: close || !head.is_1_1() && response.is_stream(),
    };
    if let Some(rest) = response.write(stream, to, limits.write_time)? {
        rest.await?;
    }
    Ok(!to.close)
}

/// The limit of the time between requests. Its timer runs on while requests come, so that a request costs neither a look at
/// the clock nor a new timer; a connection is let go between one and two limits after the last request.
struct Idle {
    timer: Sleep,
    /// A request came since the timer was set.
    busy: bool,
}

impl Idle {
    fn new(limit: Duration) -> Self {
        Self {
            timer: sleep(limit),
            busy: false,
        }
    }

    /// Waits until a request has arrived, or its beginning. `None` at the end of the stream, or of the time.
    fn next(
        &mut self,
        reader: &mut Reader,
        limits: &Limits,
    ) -> impl Future<Output = Result<Option<Result<Found, Error>>, Error>> {
        poll_fn(|cx| {
            let found = match reader.available() {
                // Usually all of it at once, and read from where it lies.
                [] => reader.poll_first(cx, limits.head, |bytes| match find(bytes, limits) {
                    Ok((used, found)) => (used, Ok(found)),
                    Err(error) => (0, Err(error)),
                }),
                bytes => {
                    let found = find(bytes, limits);
                    Poll::Ready(Ok(Some(found.map(|(used, found)| {
                        reader.consume(used);
                        found
                    }))))
                }
            };
            if found.is_ready() {
                self.busy = true;
                return found;
            }
            while Pin::new(&mut self.timer).poll(cx).is_ready() {
                if !core::mem::take(&mut self.busy) {
                    return Poll::Ready(Ok(None));
                }
                self.timer = sleep(limits.idle_time);
            }
            Poll::Pending
        })
    }
}

/// The head of the next request, as far as it has arrived.
enum Found {
    Whole(Box<Head>, Framing),
    /// To be read into.
    Part(Box<Head>),
}

/// Looks for a head in front of `bytes`; how many it has if all of it is there.
fn find(bytes: &[u8], limits: &Limits) -> Result<(usize, Found), Error> {
    let mut head = Spare::head();
    Ok(match read_head(bytes, &mut head, limits)? {
        Some((length, framing)) => (length, Found::Whole(head, framing)),
        None => (0, Found::Part(head)),
    })
}

/// Waits for the rest of a head that has begun to arrive.
async fn rest_of_head(
    reader: &mut Reader,
    mut head: Box<Head>,
    limits: &Limits,
) -> Result<(Box<Head>, Framing), Error> {
    let rest = async {
        loop {
            if !reader.more(limits.head).await? {
                return Err(Error::Truncated);
            }
            let found = read_head(reader.available(), &mut head, limits)?;
            if let Some((length, framing)) = found {
                reader.consume(length);
                return Ok(framing);
            }
        }
    };
    let framing = timeout(limits.head_time, rest).await??;
    Ok((head, framing))
}

/// Reads the head in front of `bytes`: its length, and how the body ends; `None` when it is not complete. Empty lines in front of a
/// request are skipped (RFC 9112, section 2.2); httparse does it.
fn read_head(
    bytes: &[u8],
    head: &mut Head,
    limits: &Limits,
) -> Result<Option<(usize, Framing)>, Error> {
    let Some(length) = head.parse_request(bytes, limits.head, limits.headers)? else {
        return Ok(None);
    };
    head.check_host()?;
    Ok(Some((length, head.request_framing()?)))
}

/// Answers what could not be read, and ends the connection.
async fn refuse(stream: &Rc<Stream>, limits: &Limits, error: Error) -> Result<bool, Error> {
    if error.status().is_some() {
        let to = Recipient {
            is_1_1: true,
            head_only: false,
            close: true,
        };
        let answer = (limits.refusal)(error);
        if let Some(rest) = answer.write(stream, to, limits.write_time)? {
            rest.await?;
        }
        linger(stream, &mut Reader::new(Rc::clone(stream))).await?;
    }
    Err(error)
}

/// Ends the sending side, and reads on for a moment: closing with unread bytes would reset the
/// connection, and the client might never see the answer.
async fn linger(stream: &Stream, reader: &mut Reader) -> Result<(), Error> {
    stream.shutdown(Shutdown::Write)?;
    let _ = timeout(core::time::Duration::from_secs(1), async {
        let mut read = 0;
        while read < SKIP {
            let available = reader.available().len();
            reader.consume(available);
            read += available;
            if !matches!(reader.more(SKIP).await, Ok(true)) {
                break;
            }
        }
    })
    .await;
    Ok(())
}

/// Listens on every core and serves HTTP there. Clones of `handler` travel to the cores.
///
/// # Errors
/// As [`tcp::listen_on_all_cores`].
pub async fn listen<H>(
    address: impl ToBindAddress,
    limits: Limits,
    handler: H,
) -> crate::Result<tcp::Server>
where
    H: AsyncFn(&mut Request<'_>) -> Response + Clone + Send + 'static,
{
    tcp::listen_on_all_cores(address, async move |stream| {
        // How a connection ended is the client's affair.
        let _ = serve_connection(stream, &limits, &handler).await;
    })
    .await
}

/// Decodes `%XX` (and `+`, in queries). `None` for what is not UTF-8 or badly encoded.
#[must_use]
pub fn percent_decode(text: &str, plus_is_blank: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                (high * 16 + low) as u8
            }
            b'+' if plus_is_blank => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}
