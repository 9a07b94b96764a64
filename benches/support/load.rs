//! The load: pipelined connections of one thread, in a closed or an open loop. What is asked is up to a [`Protocol`].
//!
//! In a closed loop every connection always has as many requests outstanding as it may, so the throughput is what the
//! server can give. In an open loop requests are due at Poisson times whatever the server does, and latency counts from
//! the time a request was due, so a stalled server cannot hide it.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

use test_support::Random;

/// What is asked and answered.
pub trait Protocol {
    /// Adds a request; returns a note for its answer.
    fn request(&mut self, out: &mut Vec<u8>) -> u64;
    /// The length of the first whole answer. Panics when it is wrong.
    fn answer(&mut self, input: &[u8], note: u64) -> Option<usize>;
}

/// How hard to press.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests that a connection has outstanding at most.
    pub depth: usize,
    /// Requests per second; 0 for a closed loop.
    pub rate: f64,
    /// How long.
    pub seconds: f64,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Answers per second.
    pub per_second: f64,
    /// Half of the answers came within this many microseconds,
    pub p50_us: f64,
    /// and 99 of 100 within this many.
    pub p99_us: f64,
}

/// A number that belongs to this one and looks random.
pub fn mix(x: u64) -> u64 {
    Random::new(x).next()
}

/// From 0 to 1, neither included.
pub fn uniform(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    input: Vec<u8>,
    outstanding: VecDeque<(u64, Instant)>,
}

/// Connects, for up to a minute: the server may still be starting.
///
/// # Panics
/// When it does not answer within that.
pub fn connect(address: SocketAddr) -> TcpStream {
    try_connect(address).unwrap_or_else(|reason| panic!("{reason}"))
}

/// The same of a server that may be too busy to answer.
///
/// # Errors
/// It does not answer within that.
pub fn try_connect(address: SocketAddr) -> Result<TcpStream, String> {
    let begun = Instant::now();
    loop {
        match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            Ok(stream) => return Ok(stream),
            Err(error) if begun.elapsed() > Duration::from_secs(60) => {
                return Err(format!("{address} does not answer: {error}"));
            }
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Open connections to a server.
pub struct Generator {
    connections: Vec<Connection>,
    random: u64,
}

impl Generator {
    /// Opens them.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn new(address: SocketAddr, connections: usize) -> Self {
        let connections = (0..connections).map(|_| {
            let stream = connect(address);
            stream.set_nodelay(true).expect("a TCP socket");
            stream.set_nonblocking(true).expect("a socket");
            Connection {
                stream,
                out: Vec::new(),
                input: Vec::new(),
                outstanding: VecDeque::new(),
            }
        });
        Self {
            connections: connections.collect(),
            random: 88_172_645_463_325_252,
        }
    }

    /// Presses for a while, waits for the last answers, and says how it went. `requests` ends it earlier.
    ///
    /// # Panics
    /// When the server closes a connection.
    pub fn run(&mut self, load: Load, requests: Option<u64>, p: &mut dyn Protocol) -> Figures {
        let begun = Instant::now();
        let end = begun + Duration::from_secs_f64(load.seconds);
        let mut left = requests.unwrap_or(u64::MAX);
        let mut due = begun;
        let mut turn = 0;
        let mut latencies: Vec<f32> = Vec::new();
        let mut finished = None;
        loop {
            let now = Instant::now();
            if now >= end || left == 0 {
                finished.get_or_insert(now);
                if self.connections.iter().all(|c| c.outstanding.is_empty()) {
                    break;
                }
            } else {
                for _ in 0..self.connections.len() {
                    let count = self.connections.len();
                    let connection = &mut self.connections[turn % count];
                    turn += 1;
                    while connection.outstanding.len() < load.depth && left > 0 {
                        let at = if load.rate > 0.0 { due } else { now };
                        if at > now {
                            break;
                        }
                        let note = p.request(&mut connection.out);
                        connection.outstanding.push_back((note, at));
                        left -= 1;
                        if load.rate > 0.0 {
                            self.random = mix(self.random);
                            let wait = -uniform(self.random).ln() / load.rate;
                            due += Duration::from_secs_f64(wait);
                            // Spread over the connections.
                            break;
                        }
                    }
                }
            }
            self.exchange(if load.rate > 0.0 { due } else { end }, p, &mut latencies);
        }
        let elapsed = (finished.unwrap_or(end) - begun).as_secs_f64();
        latencies.sort_by(f32::total_cmp);
        let at = |part: usize| {
            let value = latencies.get((latencies.len().max(1) - 1) * part / 100);
            f64::from(value.copied().unwrap_or(0.0)) * 1e6
        };
        Figures {
            per_second: latencies.len() as f64 / elapsed,
            p50_us: at(50),
            p99_us: at(99),
        }
    }

    /// Sends what waits, sleeps until something comes or `until`, and takes what has come.
    fn exchange(&mut self, until: Instant, p: &mut dyn Protocol, latencies: &mut Vec<f32>) {
        let mut waits = Vec::with_capacity(self.connections.len());
        for connection in &mut self.connections {
            if !connection.out.is_empty() {
                match connection.stream.write(&connection.out) {
                    Ok(count) => drop(connection.out.drain(..count)),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
                }
            }
            let write = if connection.out.is_empty() {
                0
            } else {
                libc::POLLOUT
            };
            waits.push(libc::pollfd {
                fd: connection.stream.as_raw_fd(),
                events: libc::POLLIN | write,
                revents: 0,
            });
        }
        let wait = until
            .saturating_duration_since(Instant::now())
            .min(Duration::from_millis(1));
        let wait = libc::timespec {
            tv_sec: 0,
            tv_nsec: wait.subsec_nanos().into(),
        };
        // SAFETY: an array of that many descriptors that are open, a time, and no signal mask.
        unsafe {
            libc::ppoll(
                waits.as_mut_ptr(),
                waits.len() as u64,
                &wait,
                std::ptr::null(),
            );
        }
        for (connection, wait) in self.connections.iter_mut().zip(&waits) {
            if wait.revents & !libc::POLLOUT == 0 {
                continue;
            }
            let mut buffer = [0; 64 << 10];
            match connection.stream.read(&mut buffer) {
                Ok(count) => {
                    assert!(count > 0, "the server closed a connection");
                    connection.input.extend_from_slice(&buffer[..count]);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
            let (mut used, now) = (0, Instant::now());
            while let Some((note, at)) = connection.outstanding.front() {
                let Some(len) = p.answer(&connection.input[used..], *note) else {
                    break;
                };
                used += len;
                latencies.push(now.saturating_duration_since(*at).as_secs_f32());
                connection.outstanding.pop_front();
            }
            connection.input.drain(..used);
        }
    }
}
