//! What an idle connection holds. This program counts what it allocates, and does nothing else meanwhile.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use ebb_net::http::{Limits, Request, Response};
use ebb_tls::{Acceptor, Certificates, Identity, ServerSettings, self_signed};
use hosted_tests::beside;
use test_support::needs;

/// The system's allocator, and how many bytes it has given out.
struct Counted;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Connections between two looks.
const BATCH: usize = 200;

/// Opens a batch for each line that it reads, asks each connection once, and says a line.
const CLIENT: &str = "
import socket, ssl, sys
port, batch = int(sys.argv[1]), int(sys.argv[2])
context = ssl._create_unverified_context()
def idle():
    stream = context.wrap_socket(socket.create_connection(('127.0.0.1', port)), server_hostname='localhost')
    stream.sendall(b'GET / HTTP/1.1\\r\\nhost: localhost\\r\\n\\r\\n')
    assert stream.recv(1000).startswith(b'HTTP/1.1 200')
    return stream
everyone = []
for _ in sys.stdin:
    everyone += [idle() for _ in range(batch)]
    print('open', flush=True)
";

/// Serves HTTPS.
async fn start() -> (SocketAddr, ebb_net::tcp::Server) {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).expect("later");
    let made = self_signed(&["localhost"], now).expect("a name");
    let pem = made.pem.as_bytes();
    let identity = Identity::from_pem(pem, pem).expect("made here");
    let acceptor = Acceptor::new(ServerSettings::new(Certificates::new(vec![identity])));
    let server = ebb_tls::http::listen(
        SocketAddr::from(([127, 0, 0, 1], 0)),
        acceptor.expect("TLS 1.3"),
        Limits::default(),
        async |_: &mut Request<'_>| Response::text("hello\n"),
    );
    let server = server.await.expect("a free port");
    (server.local_addr(), server)
}

#[test]
fn an_idle_connection_of_https_holds_less_than_five_kilobytes() {
    needs!("python3");
    beside(start, |address| {
        let mut client = Command::new("python3")
            .args(["-c", CLIENT, &address.port().to_string()])
            .arg(BATCH.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it is there");
        let mut asks = client.stdin.take().expect("piped");
        let mut lines = BufReader::new(client.stdout.take().expect("piped")).lines();
        let mut open = || {
            asks.write_all(b"\n").expect("it reads");
            lines.next().expect("it goes on").expect("text");
            // What was said last is handled.
            thread::sleep(Duration::from_millis(200));
            LIVE.load(Ordering::Relaxed)
        };
        // The first ones make what all share. Tables that all are in grow in steps, so the smallest is what one holds.
        let live = [(); 4].map(|()| open());
        let grown = live
            .windows(2)
            .map(|pair| pair[1].saturating_sub(pair[0]) / BATCH);
        let each = grown.min().expect("three");
        println!("{each} bytes");
        assert!((1000..5000).contains(&each), "{each} bytes");
        drop(asks);
        client.wait().expect("it has ended");
    });
}
