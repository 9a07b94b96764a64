//! A whole HTTP connection over the loopback interface: whatever a client sends, it gets answers or the end, and the next
//! client is served. The first byte says how the rest is cut.
#![no_main]

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{LazyLock, mpsc},
    thread,
    time::Duration,
};

use ebb_net::http::{self, Limits, Request, Response};

static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
    let (tell, address) = mpsc::channel();
    thread::spawn(move || {
        let config = ebb_hosted::Config {
            cores: 1,
            pin: false,
        };
        ebb_hosted::run(&config, move || async move {
            let limits = Limits {
                head: 4096,
                body: 64 << 10,
                ..Limits::default()
            };
            let server = http::listen(SocketAddr::from(([127, 0, 0, 1], 0)), limits, answer)
                .await
                .expect("a free port");
            tell.send(server.local_addr()).expect("it waits");
            let _ = server.failed().await;
        });
    });
    address.recv().expect("it starts")
});

async fn answer(request: &mut Request<'_>) -> Response {
    let query = request.query().len();
    match request.method() {
        "GET" => Response::text(format!("{query}")).with("x", request.path().to_owned()),
        "POST" => match request.bytes().await {
            Ok(bytes) => Response::new(200).body(bytes),
            Err(error) => Response::error(error.status().unwrap_or(400), error),
        },
        "PUT" => {
            let mut count = 0;
            while let Ok(true) = request.piece(|piece| count += piece.len()).await {}
            Response::text(format!("{count}"))
        }
        _ => Response::new(204),
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((cut, data)) = data.split_first() else {
        return;
    };
    let mut stream = TcpStream::connect(*SERVER).expect("it listens");
    let limit = Some(Duration::from_secs(30));
    stream.set_read_timeout(limit).expect("above zero");
    let _ = stream.set_nodelay(true);
    for piece in data.chunks(usize::from(*cut).max(1) * 16) {
        // It may have had enough.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    match stream.read_to_end(&mut answers) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("no end: {error}"),
    }
    assert!(answers.is_empty() || answers.starts_with(b"HTTP/1.1 "));
});
