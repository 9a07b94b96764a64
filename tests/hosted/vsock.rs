//! vsock of a Linux process, as far as the kernel has it: with its loopback (`modprobe vsock_loopback`) every byte both ways, without it
//! errors that say so.

use std::{sync::mpsc, time::Duration};

use ebb::{net::tcp::Shutdown, spawn, time::timeout};
use ebb_net::{
    Error,
    vsock::{self, Address, HOST, VsockListener, VsockStream},
};
use test_support::tools;

/// This machine itself (vsock(7)).
const LOCAL: u32 = 1;
/// Ports that nobody else's program has.
const PORT: u32 = 0x0065_6262;
const LIMIT: Duration = Duration::from_secs(20);

fn run(test: impl AsyncFnOnce() + Send + 'static) {
    run_or_skip(async || {
        test().await;
        Ok(())
    });
}

/// Runs a test that says why it cannot go on.
fn run_or_skip(test: impl AsyncFnOnce() -> Result<(), &'static str> + Send + 'static) {
    let config = ebb_hosted::Config {
        cores: 1,
        pin: false,
    };
    let (sender, said) = mpsc::channel();
    ebb_hosted::run(&config, move || async move {
        sender.send(test().await).expect("it is waited for");
    });
    if let Err(why) = said.recv().expect("it has ended") {
        tools::skip_allowed(why);
    }
}

fn is_absence(error: Error) -> bool {
    matches!(error, Error::Unsupported | Error::NoDevice)
}

#[test]
fn a_port_that_nobody_listens_at_is_an_error_that_says_so() {
    run(async || {
        let to = Address {
            cid: HOST,
            port: PORT,
        };
        let error = timeout(LIMIT, VsockStream::connect(to)).await;
        let error = error.expect("the kernel gives up").expect_err("nobody");
        let is_told =
            is_absence(error) || matches!(error, Error::ConnectionRefused | Error::TimedOut);
        assert!(is_told, "{error:?}");
        match vsock::cid() {
            Ok(cid) => assert!(cid >= LOCAL),
            Err(error) => assert!(is_absence(error), "{error:?}"),
        }
    });
}

#[test]
fn a_listener_has_its_port_alone() {
    run(async || match VsockListener::bind(PORT + 1) {
        Ok(first) => {
            assert_eq!(first.port(), PORT + 1);
            let second = VsockListener::bind(PORT + 1);
            assert_eq!(second.err(), Some(Error::AddressInUse));
            assert_eq!(first.try_accept().err(), Some(Error::WouldBlock));
            drop(first);
            assert!(VsockListener::bind(PORT + 1).is_ok());
        }
        Err(error) => assert!(is_absence(error), "{error:?}"),
    });
}

#[test]
fn bytes_go_both_ways_and_a_half_close_leaves_the_other_half() {
    run_or_skip(async || {
        let to = Address {
            cid: LOCAL,
            port: PORT + 2,
        };
        let Ok(listener) = VsockListener::bind(to.port) else {
            return Err("this kernel has no vsock");
        };
        let Ok(Ok(client)) = timeout(Duration::from_secs(3), VsockStream::connect(to)).await else {
            return Err("this kernel has no vsock loopback");
        };
        let (server, peer) = listener.accept().await.unwrap();
        assert_eq!((client.peer_addr(), peer.cid), (Ok(to), LOCAL));
        let sent: Vec<u8> = (0..1 << 20)
            .map(|n: u32| ((n * 31) ^ (n >> 8)) as u8)
            .collect();
        let expected = sent.clone();
        let writing = spawn(async move {
            client.write_all(&sent).await.unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut answer = [0; 2];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(client.read(&mut [0]).await, Ok(0));
            answer
        });
        let mut received = Vec::new();
        while let Some(()) = server
            .recv_with(|bytes| {
                received.extend_from_slice(bytes);
                (bytes.len(), ())
            })
            .await
            .unwrap()
        {}
        assert!(received == expected, "other bytes came");
        server.write_all(b"ok").await.unwrap();
        drop(server);
        assert_eq!(&writing.await.unwrap(), b"ok");
        Ok(())
    });
}
