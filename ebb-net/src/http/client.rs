//! Requests to other servers: one connection, kept alive, one request at a time.

use alloc::{rc::Rc, string::String, vec::Vec};
use core::{fmt::Write, net::SocketAddr};

use ebb::time::timeout;

use super::{Body, Error, Head, Limits, body::Reader, response::Text};
use crate::{Stream, tcp::TcpStream};

/// A connection to a server.
pub struct Client {
    stream: Rc<Stream>,
    reader: Reader,
    head: Head,
    host: String,
    limits: Limits,
    /// The last response's body was read to its end, and the server keeps the connection.
    reusable: bool,
}

/// A response, with its body read.
#[derive(Debug)]
pub struct ClientResponse {
    /// The status.
    pub status: u16,
    /// The headers: names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl ClientResponse {
    /// The first header of that name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Client {
    /// Connects. `host` is what the `Host` header says.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(address: SocketAddr, host: &str, limits: Limits) -> Result<Self, Error> {
        let stream = timeout(limits.head_time, TcpStream::connect(address)).await??;
        Ok(Self::over(stream, host, limits))
    }

    /// Over a connection that is there, such as one by TLS or vsock. `host` is what the `Host` header says.
    #[must_use]
    pub fn over(stream: impl Into<Stream>, host: &str, limits: Limits) -> Self {
        let stream = Rc::new(stream.into());
        let _ = stream.set_nodelay(true);
        Self {
            reader: Reader::new(Rc::clone(&stream)),
            stream,
            head: Head::default(),
            host: host.chars().filter(|c| !c.is_ascii_control()).collect(),
            limits,
            reusable: true,
        }
    }

    /// Whether another request can be sent.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.reusable
    }

    /// Sends a request and reads the response with its body, at most [`Limits::body`] bytes.
    ///
    /// # Errors
    /// When the connection fails, the response breaks the protocol or a limit, or the connection
    /// cannot be used again ([`is_reusable`](Self::is_reusable)).
    pub async fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<ClientResponse, Error> {
        let wrong = |text: &str| text.bytes().any(|b| b <= b' ' || b == 0x7f);
        if wrong(method) || wrong(target) {
            return Err(Error::Malformed("the request's method or target"));
        }
        if !core::mem::take(&mut self.reusable) {
            return Err(Error::Net(crate::Error::NotConnected));
        }
        let mut out = Vec::with_capacity(256 + body.len());
        let mut text = Text(&mut out);
        let _ = write!(
            text,
            "{method} {target} HTTP/1.1\r\nhost: {}\r\n",
            self.host
        );
        for (name, value) in headers {
            if wrong(name) || value.bytes().any(|b| b < b' ' && b != b'\t') {
                return Err(Error::Malformed("a request's header"));
            }
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
            let _ = write!(text, "content-length: {}\r\n", body.len());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        timeout(self.limits.write_time, self.stream.write_all(&out)).await??;
        timeout(self.limits.body_time, self.response(method)).await?
    }

    async fn response(&mut self, method: &str) -> Result<ClientResponse, Error> {
        loop {
            let parsed = self
                .head
                .parse_response(self.reader.available(), self.limits.head)?;
            match parsed {
                Some(length) => {
                    self.reader.consume(length);
                    // Interim responses are not the answer.
                    if !(100..200).contains(&self.head.status()) || self.head.status() == 101 {
                        break;
                    }
                }
                None => {
                    if !self.reader.more(self.limits.head).await? {
                        return Err(Error::Truncated);
                    }
                }
            }
        }
        let framing = self.head.response_framing(method)?;
        let body = Body::new(&mut self.reader, framing)
            .bytes(self.limits.body)
            .await?;
        self.reusable = framing != super::head::Framing::ToEnd && self.head.keeps_alive();
        Ok(ClientResponse {
            status: self.head.status(),
            headers: self
                .head
                .headers()
                .map(|(name, value)| {
                    (
                        name.to_ascii_lowercase(),
                        String::from_utf8_lossy(value).into_owned(),
                    )
                })
                .collect(),
            body,
        })
    }
}

impl core::fmt::Debug for Client {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Client({})", self.host)
    }
}
