//! What an idle connection keeps on the heap of the side that was called.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicIsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use ebb_distributed::{
    Key, Limits, NodeId,
    channel::Channel,
    connection::{Connection, Event, Request},
    frame::Payload,
    hash,
};

use crate::ebb_side::{KEY, serve};

/// Counts what is allocated by threads that say so.
pub struct Counting;

thread_local! {
    static COUNTS: std::cell::Cell<bool> = const { std::cell::Cell::new(true) };
}
static HELD: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: isize) {
    if COUNTS.try_with(std::cell::Cell::get).unwrap_or(false) {
        HELD.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: everything is the system's allocator's; what is counted beside it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

/// A caller without a machine around it: a socket, the protocol.
struct Caller {
    stream: TcpStream,
    channel: Channel,
    connection: Connection,
    begun: Instant,
    answered: bool,
}

impl Caller {
    fn new(address: SocketAddr, node: u64) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nonblocking(true).expect("a TCP socket");
        Self {
            stream,
            channel: Channel::connecting(&Key::new(KEY)),
            connection: Connection::new(Limits::default(), node, 1, 0),
            begun: Instant::now(),
            answered: false,
        }
    }

    fn turn(&mut self) {
        let now_ns = self.begun.elapsed().as_nanos() as u64;
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => panic!("the connection has ended"),
            Ok(count) => {
                let connection = &mut self.connection;
                let sink = |plain: &[u8]| connection.receive(now_ns, plain);
                let received = self.channel.receive(&bytes[..count], sink);
                received.expect("it has the key");
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        self.connection.tick(now_ns);
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Ready { .. } => {
                    let request = Request {
                        ebb: hash("span.Echo"),
                        method: hash("give(u32)->Blob"),
                        flags: 0,
                        deadline_ns: None,
                        payload: ebb_distributed::to_payload(&(64_u32,)).expect("a number"),
                    };
                    self.connection.call(now_ns, request).expect("it is idle");
                }
                Event::Answered { result, .. } => {
                    let Payload { blobs, .. } = result.expect("an answer");
                    assert_eq!(blobs[0].len(), 64);
                    self.answered = true;
                }
                _ => {}
            }
        }
        let mut out: Vec<_> = self.channel.poll_handshake().into_iter().collect();
        if self.channel.is_open() {
            while let Some(part) = self.connection.poll_output() {
                self.channel.seal(&part, &mut out).expect("it is open");
            }
        }
        for record in out {
            self.stream.write_all(&record).expect("room for little");
        }
    }
}

/// Bytes of the heap for each of so many connections, after a call and a while of silence with its pings.
pub fn bytes_of_a_connection(connections: u64) -> f64 {
    let address = serve(0);
    thread::sleep(Duration::from_millis(100));
    COUNTS.with(|counts| counts.set(false));
    let mut callers = Vec::new();
    // A core keeps received bytes in buffers that all its connections share: the first ones make them.
    connect(&mut callers, address, 64);
    idle(&mut callers);
    let (first, before) = (callers.len(), HELD.load(Ordering::Relaxed));
    connect(&mut callers, address, first + connections as usize);
    idle(&mut callers);
    let held = HELD.load(Ordering::Relaxed) - before;
    COUNTS.with(|counts| counts.set(true));
    held as f64 / (callers.len() - first) as f64
}

/// Adds connections, each with a call, until there are so many.
fn connect(callers: &mut Vec<Caller>, address: SocketAddr, count: usize) {
    while callers.len() < count {
        // Fewer than the strangers that a core has at a time.
        for _ in 0..32 {
            callers.push(Caller::new(address, NodeId(callers.len() as u64 + 9).0));
        }
        while callers.iter().any(|caller| !caller.answered) {
            callers.iter_mut().for_each(Caller::turn);
        }
    }
}

/// Nothing but pings, for a while.
fn idle(callers: &mut [Caller]) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        callers.iter_mut().for_each(Caller::turn);
        thread::sleep(Duration::from_millis(5));
    }
}
