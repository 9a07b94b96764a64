//! Many connections that are opened and then left alone.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use crate::sides::SOURCES;

/// Connections that are left alone until this is dropped.
pub struct Held(Option<mpsc::Sender<()>>, Option<thread::JoinHandle<()>>);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.take());
        let ended = self.1.take().map(thread::JoinHandle::join);
        assert!(ended.is_none_or(|result| result.is_ok()));
    }
}

/// Opens connections, and does `first` with each before it is left alone. A thread with a table of descriptors of its own holds each part of
/// them: a process may often have no more than 20,000. Parts come from addresses of their own, as each has some 28,000 ports.
///
/// # Panics
/// When the server does not answer, or not so many files may be open.
pub fn hold(address: SocketAddr, count: usize, first: fn(&mut TcpStream)) -> Vec<Held> {
    const PART: usize = 10_000;
    let parts = (0..count).step_by(PART).map(|from| {
        let (done, wait) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let thread = thread::spawn(move || {
            // SAFETY: concerns this thread alone.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_FILES) }, 0);
            let part = PART.min(count - from);
            let source = Ipv4Addr::new(10, 0, 2, SOURCES[from / PART % SOURCES.len()]);
            let held: Vec<_> = (0..part)
                .map(|_| {
                    let mut stream = connect_from(source, address);
                    first(&mut stream);
                    stream
                })
                .collect();
            held.iter().for_each(reset_at_close);
            let _ = done.send(());
            // Never a message, only its end.
            let _ = ended.recv();
        });
        (wait, Held(Some(end), Some(thread)))
    });
    let parts: Vec<_> = parts.collect();
    let connected = parts.into_iter().map(|(wait, held)| {
        let _: () = wait.recv().expect("connected; enough files may be open");
        held
    });
    connected.collect()
}

/// Closed, it leaves nothing behind on either side: the next ones need the same ports.
fn reset_at_close(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    socket
        .set_linger(Some(Duration::ZERO))
        .expect("an open socket");
}

/// Connects from one of this network's addresses.
fn connect_from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("enough files may be open");
    let source = SocketAddr::from((source, 0));
    socket.bind(&source.into()).expect("this machine's address");
    let limit = Duration::from_secs(60);
    if let Err(error) = socket.connect_timeout(&address.into(), limit) {
        panic!("{address} does not answer {source}: {error}");
    }
    socket.into()
}
