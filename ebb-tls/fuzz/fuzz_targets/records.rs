//! Whole connections to an HTTPS server over the loopback interface, by a client whose records are spoilt on their way: the server
//! answers rightly or ends the connection, and serves the next client. The input: how the bytes are cut, then changes of three
//! bytes each, where and to what; a place beyond what is sent adds bytes there.
#![no_main]

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, LazyLock, mpsc},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ebb_net::http::{Limits, Request, Response};
use ebb_tls::{Acceptor, Certificates, Identity, ServerSettings, self_signed};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// A connection ends by then.
const END: Duration = Duration::from_secs(30);
const BODY: &str = "what the server says";

static SERVER: LazyLock<(SocketAddr, Arc<ClientConfig>)> = LazyLock::new(|| {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let config = ebb_hosted::Config {
            cores: 1,
            pin: false,
        };
        ebb_hosted::run(&config, move || async move {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later");
            let made = self_signed(&["localhost"], now).expect("a name");
            let pem = made.pem.as_bytes();
            let identity = Identity::from_pem(pem, pem).expect("made here");
            let settings = ServerSettings::new(Certificates::new(vec![identity]));
            let acceptor = Acceptor::new(settings).expect("TLS 1.3");
            let at = SocketAddr::from(([127, 0, 0, 1], 0));
            let answer = async |_: &mut Request<'_>| Response::text(BODY);
            let server = ebb_tls::http::listen(at, acceptor, Limits::default(), answer).await;
            let server = server.expect("a free port");
            tell.send((server.local_addr(), made.certificate))
                .expect("it waits");
            let _ = server.failed().await;
        });
    });
    let (address, certificate) = told.recv().expect("it starts");
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("made here");
    roots.add(certificate).expect("made here");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has it");
    (
        address,
        Arc::new(config.with_root_certificates(roots).with_no_client_auth()),
    )
});

/// Asks; gives the answer, as far as it came.
fn ask(cut: usize, changes: &[u8]) -> Vec<u8> {
    let (address, config) = &*SERVER;
    let mut tcp = TcpStream::connect(address).expect("it listens");
    // What was spoilt may have the server wait for more, which then does not come.
    let patience = if changes.is_empty() {
        END
    } else {
        Duration::from_millis(30)
    };
    tcp.set_read_timeout(Some(patience)).expect("above zero");
    let _ = tcp.set_nodelay(true);
    let name = "localhost".try_into().expect("a name");
    let mut tls = ClientConnection::new(Arc::clone(config), name).expect("a configuration");
    tls.writer()
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .expect("into memory");
    let (mut sent, mut answer, mut ended, mut given_up) = (0, Vec::new(), false, false);
    loop {
        let mut out = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut out).expect("into memory");
        }
        let end = sent + out.len();
        for change in changes.chunks_exact(3) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]]));
            if (sent..end).contains(&at) {
                out[at - sent] = change[2];
            } else if at >= 0x8000 && at & 0x7fff >= sent && at & 0x7fff < end {
                out.extend(std::iter::repeat_n(change[2], usize::from(change[2])));
            }
        }
        sent = end;
        for piece in out.chunks(cut) {
            // It may have had enough.
            ended |= tcp.write_all(piece).is_err();
        }
        let mut received = [0; 4096];
        match tcp.read(&mut received) {
            Ok(0) => break,
            Ok(n) => {
                let mut received = &received[..n];
                while !received.is_empty() && !ended {
                    ended =
                        tls.read_tls(&mut received).is_err() || tls.process_new_packets().is_err();
                }
                if ended {
                    let _ = tcp.shutdown(Shutdown::Write);
                }
                let _ = tls.reader().read_to_end(&mut answer);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error)
                if error.kind() == ErrorKind::WouldBlock && !changes.is_empty() && !given_up =>
            {
                given_up = true;
                let _ = tcp.shutdown(Shutdown::Write);
                tcp.set_read_timeout(Some(END)).expect("above zero");
            }
            Err(error) => panic!("no end: {error}"),
        }
    }
    answer
}

/// Whether it is the whole answer.
fn is_right(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(BODY.as_bytes())
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((cut, changes)) = data.split_first() else {
        return;
    };
    let answer = ask(usize::from(*cut).max(1), changes);
    // Nothing that was changed is taken for what was said; the next client is served.
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 200 "));
    assert!(is_right(&ask(1 << 14, &[])));
});
