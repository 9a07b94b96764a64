//! Functions over HTTP, in the words of each side: the invoker's REST API, and a dispatcher of processes in the Linux guest. The
//! ports differ, which is how an agent knows which side it loads.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::{
    answer::whole,
    load::{Protocol, try_connect},
};

/// The image's port.
pub const IMAGE: u16 = 3233;
/// The guest's.
pub const LINUX: u16 = 8080;
/// How the image is started: with a key that [`request`] knows, and without a line for each call.
pub const ARGUMENTS: [&str; 3] = ["--auth", "guest:key", "--quiet"];
/// `guest:key` in Base64.
const KEY: &str = "Z3Vlc3Q6a2V5";

/// A request: `PUT` registers, `POST` calls and waits, `DELETE` forgets.
pub fn request(port: u16, method: &str, name: &str, body: &str) -> String {
    let (path, more) = match (port, method) {
        (IMAGE, "POST") => (
            "/api/v1/namespaces/_/actions/",
            "?blocking=true&result=true",
        ),
        (IMAGE, "PUT") => ("/api/v1/namespaces/_/actions/", "?overwrite=true"),
        (IMAGE, _) => ("/api/v1/namespaces/_/actions/", ""),
        _ => ("/", ""),
    };
    format!(
        "{method} {path}{name}{more} HTTP/1.1\r\nhost: bench\r\nauthorization: Basic {KEY}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The same call for ever, of a function that greets whom its argument `name` names.
pub struct Greeting {
    /// Which side answers.
    pub port: u16,
    /// The function's name.
    pub function: &'static str,
    /// What stands in each answer to `you`.
    pub right: &'static str,
}

impl Protocol for Greeting {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        let call = request(self.port, "POST", self.function, "{\"name\":\"you\"}");
        out.extend(call.as_bytes());
        0
    }

    fn answer(&mut self, input: &[u8], _note: u64) -> Option<usize> {
        let answer = whole(input)?;
        let body = &input[answer.body.clone()];
        let right = self.right.as_bytes();
        let is_right = answer.is_good && body.windows(right.len()).any(|w| w == right);
        assert!(is_right, "{}", String::from_utf8_lossy(body));
        Some(answer.body.end)
    }
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection, one request at a time.
pub struct Client {
    stream: TcpStream,
    port: u16,
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    /// When nothing answers.
    pub fn new(address: SocketAddr) -> Self {
        Self::try_new(address).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The same of a server that may be too busy to answer.
    ///
    /// # Errors
    /// Nothing answers.
    pub fn try_new(address: SocketAddr) -> Result<Self, String> {
        let stream = try_connect(address)?;
        stream.set_nodelay(true).expect("a TCP socket");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a TCP socket");
        Ok(Self {
            stream,
            port: address.port(),
        })
    }

    /// Connects to an image whose port is another one here.
    ///
    /// # Panics
    /// When nothing answers.
    pub fn of_image(address: SocketAddr) -> Self {
        Self {
            port: IMAGE,
            ..Self::new(address)
        }
    }

    /// What is answered.
    ///
    /// # Errors
    /// In words, when it is no good answer or comes too late; the connection is then of no use.
    pub fn try_ask(&mut self, method: &str, name: &str, body: &str) -> Result<String, String> {
        let request = request(self.port, method, name, body);
        let failed = |error| format!("{method} {name}: {error}");
        self.stream.write_all(request.as_bytes()).map_err(failed)?;
        let mut input = Vec::new();
        loop {
            if let Some(answer) = whole(&input) {
                let text = String::from_utf8_lossy(&input[answer.body]).into_owned();
                return match answer.is_good {
                    true => Ok(text),
                    false => Err(format!("{method} {name}: {text}")),
                };
            }
            let mut part = [0; 8192];
            let count = self.stream.read(&mut part).map_err(failed)?;
            if count == 0 {
                return Err(format!("{method} {name}: the server closed a connection"));
            }
            input.extend_from_slice(&part[..count]);
        }
    }

    /// What is answered.
    ///
    /// # Panics
    /// When it is no good answer.
    pub fn ask(&mut self, method: &str, name: &str, body: &str) -> String {
        let answer = self.try_ask(method, name, body);
        answer.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Makes a function in JavaScript known; its source has no quotation marks but single ones.
    ///
    /// # Panics
    /// When it is refused.
    pub fn register(&mut self, name: &str, source: &str) {
        self.register_kind(name, "nodejs:default", source);
    }

    /// The same in any kind of code. Lines of a source end in `\\n`, a program is in Base64.
    ///
    /// # Panics
    /// When it is refused.
    pub fn register_kind(&mut self, name: &str, kind: &str, code: &str) {
        let document = if self.port == IMAGE {
            let binary = kind.starts_with("native");
            format!("{{\"exec\":{{\"kind\":\"{kind}\",\"binary\":{binary},\"code\":\"{code}\"}}}}")
        } else {
            format!("{{\"code\":\"{code}\",\"main\":\"main\"}}")
        };
        self.ask("PUT", name, &document);
    }
}

/// What a side says of itself now.
///
/// # Panics
/// When it does not answer, or has no metric of that name.
pub fn metrics(address: SocketAddr) -> impl Fn(&str) -> f64 {
    try_metrics(address).unwrap_or_else(|reason| panic!("{reason}"))
}

/// The same of a server that may be too busy to answer.
///
/// # Errors
/// It does not answer.
///
/// # Panics
/// When it has no metric of that name.
pub fn try_metrics(address: SocketAddr) -> Result<impl Fn(&str) -> f64, String> {
    let value = known_metrics(address)?;
    Ok(move |name: &str| value(name).unwrap_or_else(|| panic!("{name} is not in the metrics")))
}

/// The same, of a build that may lack some.
fn known_metrics(address: SocketAddr) -> Result<impl Fn(&str) -> Option<f64>, String> {
    let mut stream = try_connect(address)?;
    let mut text = String::new();
    stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nconnection: close\r\nhost: bench\r\n\r\n")
        })
        .and_then(|()| stream.read_to_string(&mut text))
        .map_err(|error| format!("the metrics of {address}: {error}"))?;
    Ok(move |name: &str| {
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|v| v.parse().ok())
    })
}

/// Waits until the image makes instances as it will from then on. An older build may not say when.
pub fn until_ready(address: SocketAddr) {
    static READY: AtomicBool = AtomicBool::new(false);
    while address.port() == IMAGE && !READY.load(Ordering::Relaxed) {
        let is_ready = known_metrics(address)
            .is_ok_and(|value| value("ebb_base_ready").is_none_or(|ready| ready > 0.0));
        READY.store(is_ready, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(50));
    }
}
