//! A server on the hosted platform, and its client beside it in the same process.

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    thread,
};

/// Starts a server on two cores of the hosted platform, and runs `client` on a thread of its own against the address. What
/// `start` gives besides lives as long as the client.
///
/// # Panics
/// When the client does.
pub fn beside<S: 'static>(
    start: impl AsyncFnOnce() -> (SocketAddr, S) + Send + 'static,
    client: impl FnOnce(SocketAddr) + Send + 'static,
) {
    let config = ebb_hosted::Config {
        cores: 2,
        pin: false,
    };
    ebb_hosted::run(&config, move || async move {
        let (address, _server) = start().await;
        let (done, wait) = ebb::sync::oneshot::channel();
        let thread = thread::spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| client(address)));
            let _ = done.send(result);
        });
        let result = wait.await.expect("the thread answers");
        thread.join().expect("its panics were caught");
        if let Err(payload) = result {
            resume_unwind(payload);
        }
    });
}
