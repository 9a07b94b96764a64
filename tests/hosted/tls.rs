//! TLS on the hosted platform: with the programs that people use, with clients that mean harm, and with itself.

use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use ebb_net::http::{Client, Limits, Request, Response};
use ebb_tls::{
    Acceptor, Certificates, ClientSettings, Connector, Error, Identity, SelfSigned, ServerSettings,
    http::HTTP_1_1, self_signed,
};
use hosted_tests::beside;
use test_support::{client::connect, needs, scratch};

async fn handler(request: &mut Request<'_>) -> Response {
    match (request.method(), request.path()) {
        ("GET", "/") => Response::text("hello over TLS\n"),
        ("POST", "/echo") => match request.bytes_up_to(64 << 20).await {
            Ok(bytes) => Response::new(200).body(bytes),
            Err(error) => Response::error(error.status().unwrap_or(400), error),
        },
        _ => Response::error(404, "nothing here"),
    }
}

/// A certificate for `name`, in a file.
struct Made {
    signed: SelfSigned,
    file: String,
}

fn made(name: &'static str) -> Made {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).expect("later");
    let signed = self_signed(&[name, "127.0.0.1"], now).expect("names");
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let file = scratch(&format!("tls-{}-{number}.pem", std::process::id()));
    fs::write(&file, &signed.certificate).expect("a folder to write to");
    let file = file.to_str().expect("plain").into();
    Made { signed, file }
}

impl Made {
    fn identity(&self) -> Identity {
        let pem = self.signed.pem.as_bytes();
        Identity::from_pem(pem, pem).expect("made here")
    }
}

/// What the client of a test is given.
struct Served {
    address: SocketAddr,
    /// The first one's certificate, which every client trusts.
    first: Made,
    second: Made,
    certificates: Certificates,
}

impl Served {
    fn port(&self) -> String {
        self.address.port().to_string()
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }
}

/// Runs `client` against a server for `localhost` and `second.test`.
fn with_server(
    change: impl FnOnce(&mut ServerSettings) + Send + 'static,
    client: impl FnOnce(Served) + Send + 'static,
) {
    let (give, take) = std::sync::mpsc::channel();
    let start = async move || {
        let (first, second) = (made("localhost"), made("second.test"));
        let certificates = Certificates::new(vec![first.identity(), second.identity()]);
        let mut settings = ServerSettings::new(certificates.clone());
        settings.alpn = vec![HTTP_1_1.to_vec()];
        change(&mut settings);
        let acceptor = Acceptor::new(settings).expect("TLS 1.3");
        let at = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = ebb_tls::http::listen(at, acceptor, Limits::default(), handler).await;
        let server = server.expect("a free port");
        let address = server.local_addr();
        let served = Served {
            address,
            first,
            second,
            certificates,
        };
        give.send(served).expect("the client waits");
        (address, server)
    };
    beside(start, move |_| {
        client(take.recv().expect("it was sent before"))
    });
}

/// Runs a program with `input`, whose pieces between bars come one after another; gives all that it said.
fn run(program: &str, arguments: &[&str], input: &[u8]) -> (bool, String) {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("it is there");
    let mut stdin = child.stdin.take().expect("a pipe");
    // s_client takes what it reads at once for one command, and ends with its input.
    let pieces: Vec<Vec<u8>> = input.split(|b| *b == b'|').map(Vec::from).collect();
    let writer = std::thread::spawn(move || {
        for piece in pieces {
            let _ = stdin.write_all(&piece);
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn curl_trusts_the_certificate_and_moves_megabytes_both_ways() {
    needs!("curl");
    with_server(
        |_| {},
        |served| {
            let (good, said) = run(
                "curl",
                &[
                    "-sv",
                    "--http1.1",
                    "--cacert",
                    &served.first.file,
                    &served.url("/"),
                ],
                b"",
            );
            assert!(good && said.contains("hello over TLS"), "{said}");
            assert!(
                said.contains("TLSv1.3") && said.contains("accepted http/1.1")
                    || said.contains("accepted to use http/1.1"),
                "{said}"
            );
            let sent: Vec<u8> = (0..9_000_000u32)
                .map(|n| (n.wrapping_mul(n) >> 7) as u8)
                .collect();
            let (file, back) = (scratch("tls-sent"), scratch("tls-back"));
            fs::write(&file, &sent).expect("a folder to write to");
            let data = format!("@{}", file.display());
            let back_name = back.to_str().expect("plain");
            let (good, said) = run(
                "curl",
                &[
                    "-sS",
                    "--cacert",
                    &served.first.file,
                    "--data-binary",
                    &data,
                    "-o",
                    back_name,
                    &served.url("/echo"),
                ],
                b"",
            );
            assert!(good, "{said}");
            assert!(fs::read(&back).expect("curl wrote it") == sent);
            // Nobody else is trusted.
            let (good, said) = run(
                "curl",
                &["-sS", "--cacert", &served.second.file, &served.url("/")],
                b"",
            );
            assert!(!good && said.contains("certificate"), "{said}");
        },
    );
}

#[test]
fn openssl_goes_on_with_sessions_asks_for_names_and_changes_keys() {
    needs!("openssl");
    with_server(
        |_| {},
        |served| {
            let (at, session) = (
                format!("127.0.0.1:{}", served.port()),
                scratch("tls-session"),
            );
            let session = session.to_str().expect("plain").to_owned();
            let get = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
            let client = |more: &[&str], input: &[u8]| {
                let mut arguments = vec![
                    "s_client",
                    "-connect",
                    &at,
                    "-CAfile",
                    &served.first.file,
                    "-alpn",
                    "http/1.1",
                ];
                arguments.extend(more);
                run("openssl", &arguments, input).1
            };
            let said = client(&["-servername", "localhost", "-sess_out", &session], get);
            assert!(
                said.contains("New, TLSv1.3") && said.contains("hello over TLS"),
                "{said}"
            );
            assert!(
                said.contains("ALPN protocol: http/1.1") && said.contains("Verify return code: 0"),
                "{said}"
            );
            let said = client(&["-servername", "localhost", "-sess_in", &session], get);
            assert!(
                said.contains("Reused, TLSv1.3") && said.contains("hello over TLS"),
                "{said}"
            );
            // By name, whatever its case.
            let said = client(&["-servername", "SECOND.test"], get);
            assert!(said.contains("subject=CN = second.test"), "{said}");
            // A name that nobody has gets the first.
            let said = client(&["-servername", "other.test"], get);
            assert!(said.contains("subject=CN = localhost"), "{said}");
            // `K` changes the keys of both directions, `k` of one.
            let said = client(
                &["-servername", "localhost"],
                &[b"K\n|k\n|", &get[..]].concat(),
            );
            assert!(
                said.contains("KEYUPDATE") && said.contains("hello over TLS"),
                "{said}"
            );
            // Nothing older, and no protocol that nobody here speaks.
            let said = client(&["-tls1_2"], b"");
            assert!(said.contains("protocol version"), "{said}");
            let (_, said) = run(
                "openssl",
                &["s_client", "-connect", &at, "-alpn", "h2"],
                b"",
            );
            assert!(said.contains("no application protocol"), "{said}");
        },
    );
}

#[test]
fn node_and_python_speak_to_it() {
    needs!("node", "/usr/bin/python3");
    with_server(
        |_| {},
        |served| {
            let script = "const [,url,ca]=process.argv;require('https').get(url,{ca:require('fs').readFileSync(ca)},\
                 r=>{console.log(r.socket.getProtocol(),r.statusCode);r.pipe(process.stdout)})";
            let (good, said) = run(
                "node",
                &["-e", script, &served.url("/"), &served.first.file],
                b"",
            );
            assert!(
                good && said.contains("TLSv1.3 200") && said.contains("hello over TLS"),
                "{said}"
            );
            let script = "import ssl,sys,urllib.request as u\nc=ssl.create_default_context(cafile=sys.argv[2])\n\
                 print(u.urlopen(sys.argv[1],context=c).read().decode())";
            let (good, said) = run(
                "/usr/bin/python3",
                &["-c", script, &served.url("/"), &served.first.file],
                b"",
            );
            assert!(good && said.contains("hello over TLS"), "{said}");
        },
    );
}

#[test]
fn certificates_change_while_connections_go_on() {
    needs!("curl", "openssl");
    with_server(
        |_| {},
        |served| {
            let get = |ca: &str| run("curl", &["-sS", "--cacert", ca, &served.url("/")], b"");
            assert!(get(&served.first.file).0);
            let at = format!("127.0.0.1:{}", served.port());
            let mut open = Command::new("openssl")
                .args([
                    "s_client",
                    "-quiet",
                    "-connect",
                    &at,
                    "-servername",
                    "localhost",
                ])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("it is there");
            std::thread::sleep(Duration::from_millis(300));
            let newer = made("localhost");
            // Both files have one name; the certificate that the client trusts now is the new one.
            served.certificates.replace(vec![newer.identity()]);
            let (good, said) = get(&newer.file);
            assert!(good, "{said}");
            assert_eq!(served.certificates.names(), ["localhost"]);
            let mut stdin = open.stdin.take().expect("a pipe");
            let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            stdin.write_all(request).expect("it reads");
            let mut said = String::new();
            let mut stdout = open.stdout.take().expect("a pipe");
            stdout.read_to_string(&mut said).expect("text");
            assert!(said.contains("hello over TLS"), "{said}");
            drop(stdin);
            open.wait().expect("it ends");
        },
    );
}

/// A ClientHello of openssl's, as bytes.
fn hello() -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("bound").to_string();
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &at, "-servername", "localhost"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is there");
    let (mut stream, _) = listener.accept().expect("it connects");
    let mut bytes = vec![0; 4096];
    let n = stream.read(&mut bytes).expect("it says hello");
    bytes.truncate(n);
    let _ = child.kill();
    child.wait().expect("it ends");
    bytes
}

/// What a server answers to `bytes` until it closes, and whether it does so within `limit`.
fn answer(address: SocketAddr, bytes: &[u8], limit: Duration) -> Vec<u8> {
    let mut stream = connect(address);
    let began = Instant::now();
    let _ = stream.write_all(bytes);
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    assert!(
        began.elapsed() < limit,
        "closed after {:?}",
        began.elapsed()
    );
    got
}

#[test]
fn broken_records_are_answered_by_an_alert_and_an_end() {
    needs!("openssl", "curl");
    with_server(
        |settings| settings.handshake_time = Duration::from_secs(2),
        |served| {
            let hello = hello();
            let soon = Duration::from_secs(1);
            let alert = |bytes: &[u8]| {
                let got = answer(served.address, bytes, soon);
                let shown = &bytes[..bytes.len().min(16)];
                assert!(got.len() >= 7, "{got:x?} to {shown:x?}");
                let at = got.len() - 7;
                assert_eq!(got[at], 21, "{got:x?}");
                got[got.len() - 1]
            };
            // A record longer than one may be; rustls says decode_error or record_overflow.
            let oversized = [&[22, 3, 1, 0xff, 0xff][..], &[1; 0x5000]].concat();
            assert!(matches!(alert(&oversized), 22 | 50 | 10));
            assert!(matches!(
                alert(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
                10 | 50 | 70 | 22
            ));
            // A handshake message of 16 MB, announced. rustls ends without a word.
            let huge = [22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff];
            assert!(answer(served.address, &huge, soon).len() <= 7);
            // Application data before there are keys.
            assert!(matches!(alert(&[23, 3, 3, 0, 1, 0]), 10 | 50));
            // A second hello where the client's end of the handshake belongs: what renegotiation would be.
            let twice = [&hello[..], &hello].concat();
            let got = answer(served.address, &twice, soon);
            assert!(!got.is_empty());
            // Cut within the hello: closed, and nothing said that is not an alert.
            let mut cut = connect(served.address);
            cut.write_all(&hello[..hello.len() / 2]).expect("it reads");
            cut.shutdown(std::net::Shutdown::Write).expect("open");
            let mut got = Vec::new();
            let _ = cut.read_to_end(&mut got);
            assert!(got.len() <= 7, "{got:x?}");
            // Every byte of a hello changed, one at a time: an end each time, and the server goes on.
            for at in (0..hello.len()).step_by(7) {
                let mut changed = hello.clone();
                changed[at] ^= 0x55;
                let mut stream = connect(served.address);
                let _ = stream.write_all(&changed);
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            }
            let url = served.url("/");
            let (good, said) = run("curl", &["-sS", "--cacert", &served.first.file, &url], b"");
            assert!(good, "{said}");
        },
    );
}

#[test]
fn thousands_of_slow_handshakes_lose_their_own_places() {
    needs!("openssl", "curl");
    with_server(
        |settings| {
            settings.handshakes = 100;
            settings.handshake_time = Duration::from_secs(3);
        },
        |served| {
            let hello = hello();
            let mut slow = Vec::new();
            for n in 0..2000 {
                let mut stream = connect(served.address);
                stream.write_all(&hello[..n % hello.len()]).expect("room");
                slow.push(stream);
            }
            // A good client is served at once, amid them.
            let began = Instant::now();
            let url = served.url("/");
            let (good, said) = run("curl", &["-sS", "--cacert", &served.first.file, &url], b"");
            assert!(good, "{said}");
            assert!(
                began.elapsed() < Duration::from_secs(2),
                "{:?}",
                began.elapsed()
            );
            // At most 100 on each of the two cores are left, and those end with their time.
            let is_open = |stream: &mut std::net::TcpStream| {
                stream.set_nonblocking(true).expect("a socket");
                let got = stream.read(&mut [0; 64]);
                matches!(got, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
            };
            let open = slow
                .iter_mut()
                .filter_map(|s| is_open(s).then_some(()))
                .count();
            assert!(open <= 200, "{open}");
            std::thread::sleep(Duration::from_secs(4));
            let open = slow
                .iter_mut()
                .filter_map(|s| is_open(s).then_some(()))
                .count();
            assert_eq!(open, 0);
        },
    );
}

/// Runs `client` on a core, against a server that is there for it.
fn with_both(client: impl AsyncFnOnce(SocketAddr, &Made, Acceptor) + Send + 'static) {
    let config = ebb_hosted::Config {
        cores: 1,
        pin: false,
    };
    ebb_hosted::run(&config, move || async move {
        let first = made("both.test");
        let mut settings = ServerSettings::new(Certificates::new(vec![first.identity()]));
        settings.alpn = vec![b"other".to_vec(), HTTP_1_1.to_vec()];
        let acceptor = Acceptor::new(settings).expect("TLS 1.3");
        let at = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = ebb_tls::http::listen(at, acceptor.clone(), Limits::default(), handler).await;
        let server = server.expect("a free port");
        client(server.local_addr(), &first, acceptor).await;
    });
}

fn connector(roots: &str) -> Connector {
    let mut settings = ClientSettings::new(roots.as_bytes());
    settings.alpn = vec![HTTP_1_1.to_vec()];
    Connector::new(settings).expect("a certificate")
}

#[test]
fn its_own_client_goes_on_with_sessions_and_trusts_no_other() {
    with_both(async |address, first, _| {
        let connector = connector(&first.signed.certificate);
        for resumed in [false, true, true] {
            let stream = connector
                .connect(address, "both.test")
                .await
                .expect("trusted");
            assert_eq!(stream.is_resumed(), resumed);
            assert_eq!(stream.alpn(), Some(HTTP_1_1));
            let mut client = Client::over(stream, "both.test", Limits::default());
            let answer = client
                .request("GET", "/", &[], b"")
                .await
                .expect("an answer");
            assert_eq!(answer.body, b"hello over TLS\n");
            let sent = vec![7; 900_000];
            let answer = client
                .request("POST", "/echo", &[], &sent)
                .await
                .expect("an answer");
            assert_eq!(answer.body, sent);
        }
        let wrong_name = connector.connect(address, "else.test").await;
        assert!(matches!(wrong_name, Err(Error::Tls(_))), "{wrong_name:?}");
        let stranger = made("stranger.test");
        let other = self::connector(&stranger.signed.certificate);
        let untrusted = other.connect(address, "both.test").await;
        assert!(matches!(untrusted, Err(Error::Tls(_))), "{untrusted:?}");
        let by_address = connector.connect(address, "127.0.0.1").await;
        assert!(by_address.is_ok(), "{by_address:?}");
    });
}

#[test]
fn a_stream_that_is_cut_is_no_stream_that_ended() {
    with_both(async |_, first, acceptor| {
        let listener = ebb_net::tcp::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .expect("a free port");
        let address = listener.local_addr();
        let server = ebb::spawn(async move {
            let mut ends = Vec::new();
            for _ in 0..2 {
                let (tcp, _) = listener.accept().await.expect("a client");
                let stream = acceptor.accept(tcp).await.expect("it shakes hands");
                let mut bytes = [0; 5];
                assert_eq!(stream.read(&mut bytes).await, Ok(5));
                ends.push(stream.read(&mut bytes).await);
            }
            ends
        });
        let connector = connector(&first.signed.certificate);
        let good = connector
            .connect(address, "both.test")
            .await
            .expect("trusted");
        good.write_all(b"hello").await.expect("open");
        drop(good);
        let cut = connector
            .connect(address, "both.test")
            .await
            .expect("trusted");
        cut.write_all(b"hello").await.expect("open");
        // TCP's end without TLS': what somebody on the way can do.
        cut.tcp()
            .expect("it is over TCP")
            .shutdown(ebb_net::tcp::Shutdown::Write)
            .expect("open");
        let ends = server.await.expect("it ends");
        assert_eq!(ends, [Ok(0), Err(ebb_net::Error::UnexpectedEof)]);
    });
}
